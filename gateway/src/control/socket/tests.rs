use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream as StdStream;
use std::sync::atomic::{AtomicBool, AtomicU64};

use arc_swap::ArcSwap;

use super::*;
use crate::config;
use crate::control::{Guarding, Publish, Reloader, Trial, ask};
use crate::kernel::{Confinement, Facts, Names, Part};
use crate::limit::Shedder;
use crate::model::PrefixSet;
use crate::plane::{Added, Bans, Plane, now_ns};
use crate::proxy::{Shared, SharedParts, Snapshot, Upstreams};
use crate::telemetry::metrics::Metrics;

/// A control socket over the process table, on a thread of its own.
struct Control {
    folder: tempfile::TempDir,
    drain: watch::Sender<bool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Control {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let (drain, draining) = watch::channel(false);
        let file = folder.path().join("weir.toml");
        let text = "[[listener]]\naddress = \"127.0.0.1:0\"\n[kernel]\nmanagement = [\"192.0.2.0/24\"]\n[limit.client]\nrequests = { rate = \"1/s\", burst = 5 }\n";
        std::fs::write(&file, text).unwrap();
        let (listening, started) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = listen(&path).unwrap();
                listening.send(()).unwrap();
                serve(listener, Arc::new(parts(&file)), draining).await;
            });
        });
        started.recv().unwrap();
        Self { folder, drain, thread: Some(thread) }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("control.sock")
    }

    fn raw(&self, line: &[u8]) -> String {
        let mut stream = StdStream::connect(self.path()).unwrap();
        stream.write_all(line).unwrap_or(());
        stream.shutdown(std::net::Shutdown::Write).unwrap_or(());
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).map(drop).unwrap_or(());
        answer
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.drain.send_replace(true);
        self.thread.take().map(std::thread::JoinHandle::join).transpose().unwrap();
    }
}

fn parts(file: &Path) -> Parts {
    let config = config::load(file, Path::new("s")).unwrap();
    let metrics = Metrics::default();
    let (offenders, _) = tokio::sync::mpsc::channel(1);
    let upstreams = Arc::new(Upstreams::default());
    let auth = Arc::<crate::proxy::KeptByAuth>::default();
    let shared = Shared::new(SharedParts {
        snapshot: Snapshot::build(
            &config.catalog,
            &config.proxy,
            PrefixSet::default(),
            &config.limit,
            &upstreams,
            &auth,
            &metrics,
        ),
        plane: Arc::new(Plane::new(None, 4_096)),
        bans: Arc::new(Bans::in_process(8)),
        shedder: Arc::new(Shedder::new(config.limit.shed.clone(), offenders)),
        upstreams,
        auth,
        access_log: None,
        metrics,
        ledger: None,
        prove_by_accept: false,
    });
    let publish = Publish {
        rules: Box::new(|_, _, _| Ok(())),
        data: Box::new(|_, _| ()),
        lease: Box::new(|_| Ok(())),
        capacities: Box::new(|| Ok(false)),
    };
    let guard = config::find_guard(&config, &[], &[], &mut Names::default()).unwrap();
    let reloader = Reloader::new(file, Path::new("s"), Box::new(|_| ()), publish);
    Parts {
        store: None,
        fleet: None,
        shared: Arc::new(shared),
        maps: None,
        confinement: Confinement { seccomp: Part::On, landlock: Part::On },
        facts: ArcSwap::from_pointee(Facts::off("a test")),
        config: ArcSwap::from_pointee(config),
        reloader,
        guarding: Guarding::new(guard, Vec::new(), Names::default()),
        trial: Trial::default(),
        added: Arc::new(Added::in_process()),
        ceiling_bytes: AtomicU64::new(1 << 30),
        started_ns: now_ns(),
        census: ArcSwap::from_pointee(None),
        ready: AtomicBool::new(true),
        news: broadcast::Sender::new(8),
    }
}

#[test]
fn commands_are_answered() {
    let control = Control::start();
    let ask = |request: &Request| ask(&control.path(), request);
    let status = ask(&Request::Status).unwrap();
    assert_eq!(
        (&status["kernel"]["mode"], &status["memory"]["ceiling_bytes"]),
        (&"off".into(), &(1_u64 << 30).into())
    );
    assert_eq!(status["store"]["up"], serde_json::Value::Null);
    let add = |address: &str, seconds| ask(&Request::BansAdd { address: address.to_owned(), seconds });
    assert_eq!(add("::ffff:198.51.100.7", Some(60)).unwrap()["client"], "198.51.100.7");
    assert_eq!(add("2001:db8::1", None).unwrap()["client"], "2001:db8::/64");
    let rows = ask(&Request::BansList).unwrap();
    assert_eq!(rows.as_array().unwrap().len(), 2);
    assert_eq!(rows[1]["ends_in_seconds"], serde_json::Value::Null);
    let explained = ask(&Request::Explain { address: "198.51.100.7".to_owned() }).unwrap();
    assert!(explained["conclusion"].as_str().unwrap().contains("banned by an operator"));
    let listed = ask(&Request::Explain { address: "192.0.2.7".to_owned() }).unwrap();
    assert_eq!(listed["lists"][0], "[kernel] management");
    let remove =
        || ask(&Request::BansRemove { address: "2001:db8::/64".to_owned(), grace_seconds: 1 }).unwrap();
    assert_eq!((remove(), remove()), (true.into(), false.into()));
    assert_eq!(
        ask(&Request::Reload { sessions: vec!["203.0.113.7".parse().unwrap()] }).unwrap()["changed"],
        false
    );
}

#[test]
fn what_makes_no_sense_is_refused_in_words() {
    let control = Control::start();
    let refused = |request: &Request| ask(&control.path(), request).unwrap_err().to_string();
    let explain = |address: &str| Request::Explain { address: address.to_owned() };
    assert!(refused(&explain("nonsense")).contains("no address"));
    assert!(refused(&explain("10.0.0.0/64")).contains("no address"));
    let ban = Request::BansAdd { address: "192.0.2.7".to_owned(), seconds: None };
    assert!(refused(&ban).contains("[kernel] management"));
    for (line, part) in [
        (&b"nonsense\n"[..], "no such request"),
        (b"{\"command\":\"dance\"}\n", "no such request"),
        (b"{\"command\":\"status\"", "a line of at most"),
        (&[b'x'; 1_100_000], "a line of at most"),
    ] {
        let answer = control.raw(line);
        assert!(answer.contains(part), "{answer}");
    }
}

#[test]
fn the_socket_is_its_owners_and_has_one_listener() {
    let control = Control::start();
    let mode = std::fs::metadata(control.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(matches!(listen(&control.path()), Err(SocketError::Alive(_))));
    let path = control.folder.path().join("stale.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    assert!(listen(&path).is_ok(), "a dead process's socket is replaced");
    let nowhere = ask(&control.folder.path().join("none.sock"), &Request::Status).unwrap_err().to_string();
    assert!(nowhere.contains("is it running?"), "{nowhere}");
}
