//! A link that runs on a thread of its own, as it does on the control side.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use weir::plane::now_ns;
use weir::store::redis::{
    Call, Config, Fault, Link, Script, State, Status, Tag, Timeouts, Topology, Url, Value,
};
use weir_tests::wait::wait_for;

/// To an answer or its end, and then some.
pub const ANSWER_MAX: Duration = Duration::from_millis(2_600);

pub struct Linked {
    pub link: Link,
    handle: Handle,
    end: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
    script: Script,
}

/// As `[store]` says it.
pub fn config(urls: &[String], topology: Topology) -> Config {
    let urls: Vec<_> = urls.iter().map(|url| Url::parse(url, 6379).unwrap()).collect();
    Config {
        topology,
        addresses: urls.iter().map(|url| url.address.clone()).collect(),
        tls: None,
        database: 0,
        user: None,
        password_file: None,
        sentinel_user: None,
        sentinel_password_file: None,
        prefix: "weir".to_owned(),
        tags: 16,
        timeouts: Timeouts::default(),
    }
}

impl Linked {
    pub fn standalone(url: String) -> Self {
        Self::start(config(&[url], Topology::Standalone))
    }

    pub fn start(config: Config) -> Self {
        let link = Link::new(config).unwrap();
        let (end, ended) = oneshot::channel();
        let (handles, handle) = std::sync::mpsc::channel();
        let running = link.clone();
        let thread = std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            handles.send(runtime.handle().clone()).unwrap();
            runtime.block_on(async {
                tokio::select! {
                    () = running.run() => {}
                    _ = ended => {}
                }
            });
        });
        let script = Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1])");
        Self { link, handle: handle.recv().unwrap(), end: Some(end), thread: Some(thread), script }
    }

    pub fn first_tag(&self) -> Tag {
        self.link.tags().next().unwrap()
    }

    /// Adds one to a key of a tag by a script.
    pub fn push(&self, tag: Tag) -> Result<i64, Fault> {
        let keys = [self.link.key(tag, "c:test")];
        let arguments = [b"1".to_vec()];
        let call = Call { script: &self.script, keys: &keys, arguments: &arguments };
        match self.handle.block_on(self.link.eval(tag, call))? {
            Value::Int(sum) => Ok(sum),
            other => panic!("{other:?}"),
        }
    }

    /// How many of `n` pushes at once were done; none may take longer than an answer may.
    pub fn push_many(&self, n: usize) -> usize {
        let (done, began) = (Arc::new(AtomicUsize::new(0)), now_ns());
        let tag = self.first_tag();
        let (keys, arguments) = ([self.link.key(tag, "c:test")], [b"1".to_vec()]);
        let (link, script) = (self.link.clone(), self.script.clone());
        let counted = Arc::clone(&done);
        let all = async move {
            let mut running = tokio::task::JoinSet::new();
            for _ in 0..n {
                let (link, script, counted) = (link.clone(), script.clone(), Arc::clone(&counted));
                let (keys, arguments) = (keys.clone(), arguments.clone());
                running.spawn(async move {
                    let call = Call { script: &script, keys: &keys, arguments: &arguments };
                    if link.eval(tag, call).await.is_ok() {
                        counted.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            while running.join_next().await.is_some() {}
        };
        self.handle.block_on(self.handle.spawn(all)).unwrap();
        let took = Duration::from_nanos(now_ns() - began);
        assert!(took < ANSWER_MAX, "{n} pushes waited {took:?}");
        done.load(Ordering::Relaxed)
    }

    pub fn command(&self, tag: Tag, words: &[&[u8]]) -> Result<Value, Fault> {
        self.handle.block_on(self.link.command(tag, words))
    }

    pub fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        self.handle.block_on(work)
    }

    pub fn status(&self) -> Status {
        self.link.status()
    }

    /// Waits for a state, whose reason says `part`.
    #[track_caller]
    pub fn wait(&self, state: State, part: &str, deadline: Duration) {
        let found = wait_for(format!("{state:?} for {part:?}"), deadline, || {
            let status = self.status();
            (status.state == state && status.reason.unwrap_or_default().contains(part)).then_some(())
        });
        found.with_context(|| format!("{:?}", self.status())).unwrap();
    }

    /// Up, and it does its work.
    #[track_caller]
    pub fn wait_well(&self, deadline: Duration) {
        let until = format!("pushes are taken: {:?}", self.status());
        wait_for(until, deadline, || self.push(self.first_tag()).ok()).unwrap();
        self.wait(State::Up, "", deadline);
    }
}

impl Drop for Linked {
    fn drop(&mut self) {
        if let Some(end) = self.end.take() {
            end.send(()).unwrap_or(());
        }
        drop(self.thread.take().map(std::thread::JoinHandle::join));
    }
}
