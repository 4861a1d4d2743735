//! Keep-alive HTTP load: some connections, a thread each, paced or as fast as answers come; counts
//! by status and a latency histogram, readable while it runs. Latency is from sending to the whole
//! answer; a connection that is late skips turns instead of catching up.

mod histogram;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;
use weir::plane::now_ns;

use crate::http::Connection;
use crate::wait::{after, pass_until};
pub use histogram::Histogram;

/// After a failed connect, so that a refused client does not become a connect flood.
const AFTER_FAILURE: Duration = Duration::from_millis(50);

/// What to send.
#[derive(Clone, Debug)]
pub struct Load {
    pub server: SocketAddr,
    pub path: String,
    /// Whole header lines with CRLF, on every request.
    pub headers: String,
    pub connections: u16,
    /// Requests a second of all connections together; None: as fast as answers come.
    pub per_second: Option<u32>,
    pub time: Duration,
    /// An answer later than this is a failure, and the connection is made anew.
    pub patience: Duration,
    pub from: Option<IpAddr>,
}

/// What came back.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    pub by_status: BTreeMap<u16, u64>,
    /// Connects refused or too late, connections that broke, answers too late.
    pub failures: u64,
    pub latency: Histogram,
}

/// A load that runs; ends by itself after its time, or when dropped.
pub struct Running {
    threads: Vec<JoinHandle<()>>,
    answers: Arc<Mutex<Answers>>,
    stop: Arc<AtomicBool>,
}

impl Load {
    /// A modest load on `/`.
    pub fn on(server: SocketAddr, time: Duration) -> Self {
        Self {
            server,
            path: "/".to_owned(),
            headers: String::new(),
            connections: 4,
            per_second: None,
            time,
            patience: Duration::from_secs(2),
            from: None,
        }
    }

    /// Starts it in the namespace and on the cores of the calling thread.
    pub fn start(&self) -> Running {
        let answers = Arc::new(Mutex::new(Answers::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let end_ns = after(self.time);
        let threads = (0..self.connections)
            .map(|number| {
                let (load, answers, stop) = (self.clone(), answers.clone(), stop.clone());
                std::thread::spawn(move || load.keep_asking(number, end_ns, &stop, &answers))
            })
            .collect();
        Running { threads, answers, stop }
    }

    /// Runs it to its end.
    pub fn run(&self) -> Answers {
        self.start().finish()
    }

    fn keep_asking(&self, number: u16, end_ns: u64, stop: &AtomicBool, answers: &Mutex<Answers>) {
        let connections = u64::from(self.connections.max(1));
        let turn_ns = self.per_second.map(|rate| connections * 1_000_000_000 / u64::from(rate.max(1)));
        let mut due_ns = now_ns() + turn_ns.unwrap_or(0) * u64::from(number) / connections;
        let mut connection = None;
        while now_ns() < end_ns && !stop.load(Ordering::Relaxed) {
            if let Some(turn_ns) = turn_ns {
                pass_until(due_ns.min(end_ns));
                due_ns = (due_ns + turn_ns).max(now_ns());
            }
            let sent_ns = now_ns();
            let outcome = self.ask(&mut connection);
            let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
            match outcome {
                Ok(status) => {
                    *answers.by_status.entry(status).or_default() += 1;
                    answers.latency.add(now_ns() - sent_ns);
                }
                Err(_) => {
                    answers.failures += 1;
                    drop(answers);
                    connection = None;
                    pass_until(after(AFTER_FAILURE).min(end_ns));
                }
            }
        }
    }

    fn ask(&self, kept: &mut Option<Connection>) -> Result<u16> {
        let mut connection = match (kept.take(), self.from) {
            (Some(connection), _) => connection,
            (None, Some(source)) => Connection::open_from_within(source, self.server, self.patience)?,
            (None, None) => Connection::open_within(self.server, self.patience)?,
        };
        let response = connection.get(&self.path, &self.headers)?;
        let closes = response.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        *kept = (!closes).then_some(connection);
        Ok(response.status)
    }
}

impl Running {
    /// What came back so far.
    pub fn so_far(&self) -> Answers {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What came back since the last call of this.
    pub fn take(&self) -> Answers {
        std::mem::take(&mut *self.answers.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits for its end.
    pub fn finish(mut self) -> Answers {
        self.join();
        self.so_far()
    }

    /// Ends it now.
    pub fn stop(self) -> Answers {
        self.stop.store(true, Ordering::Relaxed);
        self.finish()
    }

    fn join(&mut self) {
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                eprintln!("a load's thread panicked: its figures are not whole");
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.join();
    }
}

impl Answers {
    pub fn of(&self, status: u16) -> u64 {
        self.by_status.get(&status).copied().unwrap_or_default()
    }

    pub fn total(&self) -> u64 {
        self.by_status.values().sum()
    }
}
