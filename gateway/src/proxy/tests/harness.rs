//! A worker on a thread, clients and upstreams of plain std sockets.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::config::{self, Config};
use crate::limit::{Offender, Shedder};
use crate::model;
use crate::model::PrefixSet;
use crate::plane::{BanReason, Bans, Plane, now_ns};
use crate::proxy::{KeptByAuth, Shared, SharedParts, Snapshot, Upstreams, check_upstreams, worker};
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::metrics::Metrics;

/// Beyond it a test has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// SHA-256 of the keys `one` and `two`.
const KEYS: &str = "[[key]]\nname = \"first\"\nsha256 = \"7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed\"\n[[key]]\nname = \"second\"\nsha256 = \"3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3\"\n";

pub struct Gateway {
    port: u16,
    pub shared: Arc<Shared>,
    bans: Arc<Bans>,
    offenders: Mutex<mpsc::Receiver<Offender>>,
    drain: watch::Sender<bool>,
    thread: Option<JoinHandle<std::io::Result<()>>>,
}

impl Gateway {
    /// One worker with the process table, under the rest of a weir.toml.
    pub fn start(text: &str) -> Self {
        Self::start_under("", text)
    }

    /// With what stands above the first table, too. `text` begins inside `[[listener]]`.
    pub fn start_under(top: &str, text: &str) -> Self {
        Self::start_logging(top, text, None)
    }

    pub fn start_logging(top: &str, text: &str, access_log: Option<AccessLog>) -> Self {
        let config = config(top, text);
        let metrics = Metrics::default();
        let upstreams = Arc::new(Upstreams::default());
        let auth = Arc::<KeptByAuth>::default();
        auth.start(now_ns).unwrap();
        let bans = Arc::new(Bans::in_process(64));
        let (sender, offenders) = mpsc::channel(16);
        let shared = Arc::new(Shared::new(SharedParts {
            snapshot: snapshot(&config, &upstreams, &auth, &metrics),
            plane: Arc::new(Plane::new(None, 4_096)),
            bans: Arc::clone(&bans),
            shedder: Arc::new(Shedder::new(config.limit.shed.clone(), sender)),
            upstreams,
            auth,
            access_log,
            metrics,
            ledger: None,
            prove_by_accept: false,
        }));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (drain, draining) = watch::channel(false);
        let served = Arc::clone(&shared);
        let thread = std::thread::spawn(move || worker(vec![listener], served, draining));
        Self { port, shared, bans, offenders: Mutex::new(offenders), drain, thread: Some(thread) }
    }

    /// Runs the control side's checks, until the test ends.
    pub fn check_upstreams(&self) {
        let (shared, mut draining) = (Arc::clone(&self.shared), self.drain.subscribe());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! {
                    () = check_upstreams(shared) => {}
                    _ = draining.wait_for(|drain| *drain) => {}
                }
            });
        });
    }

    /// Publishes another configuration, as a reload does.
    pub fn reload(&self, text: &str) {
        self.reload_under("", text);
    }

    pub fn reload_under(&self, top: &str, text: &str) {
        let config = config(top, text);
        let shared = &self.shared;
        shared.publish(snapshot(&config, &shared.upstreams, &shared.auth, &shared.metrics));
    }

    pub fn connect(&self) -> Option<TcpStream> {
        TcpStream::connect(("127.0.0.1", self.port)).ok()
    }

    /// Sends bytes and reads until the other end closes.
    pub fn ask(&self, request: &str) -> String {
        self.begin(request).finish()
    }

    pub fn ask_once(&self) -> String {
        self.ask("GET /a HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n")
    }

    pub fn begin(&self, request: &str) -> Running {
        let mut stream = self.connect().expect("the gateway listens");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // A refused connection may be gone before the request is out.
        stream.write_all(request.as_bytes()).unwrap_or(());
        Running(stream)
    }

    pub fn offender(&self) -> Offender {
        self.offenders.lock().unwrap().blocking_recv().expect("the gateway lives")
    }

    pub fn no_offender(&self) -> bool {
        self.offenders.lock().unwrap().try_recv().is_err()
    }

    /// Connections that were closed for `reason`.
    pub fn closed(&self, reason: &'static str) -> u64 {
        self.shared.metrics.closed(reason).get()
    }

    /// Open tunnels of the API `a`.
    pub fn tunnels(&self) -> i64 {
        self.shared.metrics.api("a").tunnels.get()
    }

    pub fn malformed(&self, reason: &'static str) -> u64 {
        self.shared.metrics.malformed(reason).get()
    }

    pub fn ban(&self, offender: &Offender) {
        let key: model::ClientKey = offender.key;
        self.bans.add(key, BanReason::Shed, offender.level, Some(offender.length), now_ns()).unwrap();
    }

    pub fn drain(&self) {
        self.drain.send_replace(true);
    }

    pub fn until(&self, what: &str, condition: impl Fn() -> bool) {
        let deadline_ns = now_ns() + u64::try_from(PATIENCE.as_nanos()).unwrap();
        while !condition() {
            assert!(now_ns() < deadline_ns, "{what}: not in time");
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    pub fn ended(&mut self) {
        self.thread.take().unwrap().join().unwrap().unwrap();
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.drain();
    }
}

/// The rest of a weir.toml behind a listener; top-level tables may stand in any order.
fn config(top: &str, text: &str) -> Config {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("keys.toml"), KEYS).unwrap();
    // The listener is opened by us.
    let text = format!("{top}[[listener]]\naddress = \"127.0.0.1:0\"\n{text}");
    config::parse(&text, &folder.path().join("weir.toml"), Path::new("s")).unwrap()
}

fn snapshot(config: &Config, upstreams: &Upstreams, auth: &Arc<KeptByAuth>, metrics: &Metrics) -> Snapshot {
    let allow = PrefixSet::of(config.kernel.allowed());
    Snapshot::build(&config.catalog, &config.proxy, allow, &config.limit, upstreams, auth, metrics)
}

pub struct Running(TcpStream);

impl Running {
    /// Closes our half, and reads what comes until the other end closes or goes quiet.
    pub fn finish(mut self) -> String {
        let mut answer = Vec::new();
        // A reset after an answer is an end too.
        self.0.read_to_end(&mut answer).map(drop).unwrap_or(());
        String::from_utf8_lossy(&answer).into_owned()
    }
}

/// What an upstream does with a connection.
#[derive(Clone)]
enum Manner {
    KeepAlive(String),
    AnswerAndClose(String),
    Silent,
    EchoLength,
    Gated(String, Arc<Mutex<Receiver<()>>>),
}

pub struct Upstream {
    pub port: u16,
    heads: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
    seen: Mutex<Receiver<()>>,
    gate: Sender<()>,
}

impl Upstream {
    pub fn answering(answer: &str) -> Self {
        Self::start(|_| Manner::KeepAlive(answer.to_owned()))
    }

    pub fn answering_and_closing(answer: &str) -> Self {
        Self::start(|_| Manner::AnswerAndClose(answer.to_owned()))
    }

    /// Looks kept alive, but each connection ends with its first answer.
    pub fn closing_after_each(answer: &str) -> Self {
        Self::answering_and_closing(answer)
    }

    pub fn silent() -> Self {
        Self::start(|_| Manner::Silent)
    }

    pub fn echoing_length() -> Self {
        Self::start(|_| Manner::EchoLength)
    }

    pub fn gated(answer: &str) -> Self {
        Self::start(|gate| Manner::Gated(answer.to_owned(), gate))
    }

    fn start(manner: impl FnOnce(Arc<Mutex<Receiver<()>>>) -> Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (heads, connections) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<AtomicUsize>::default());
        let (told, seen) = channel();
        let (gate, gated) = channel();
        let manner = manner(Arc::new(Mutex::new(gated)));
        let (heads2, connections2) = (Arc::clone(&heads), Arc::clone(&connections));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                connections2.fetch_add(1, Ordering::SeqCst);
                let (manner, heads, told) = (manner.clone(), Arc::clone(&heads2), told.clone());
                std::thread::spawn(move || converse(stream, &manner, &heads, &told));
            }
        });
        Self { port, heads, connections, seen: Mutex::new(seen), gate }
    }

    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub fn wait_for_head(&self) {
        self.seen.lock().unwrap().recv_timeout(PATIENCE).expect("a request in time");
    }

    pub fn open_gate(&self) {
        self.gate.send(()).unwrap();
    }
}

fn converse(mut stream: TcpStream, manner: &Manner, heads: &Mutex<Vec<String>>, told: &Sender<()>) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut pending = Vec::new();
    while let Some(head) = read_head(&mut stream, &mut pending) {
        heads.lock().unwrap().push(head.clone());
        told.send(()).unwrap_or(());
        let answer = match manner {
            Manner::KeepAlive(answer) | Manner::AnswerAndClose(answer) => answer.clone(),
            Manner::Silent => {
                // Until the other end gives up.
                stream.read(&mut [0; 64]).map(drop).unwrap_or(());
                return;
            }
            Manner::EchoLength => {
                let length = read_body(&mut stream, &mut pending, &head).to_string();
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{length}", length.len())
            }
            Manner::Gated(answer, gate) => {
                gate.lock().unwrap().recv_timeout(PATIENCE).expect("the gate opens");
                answer.clone()
            }
        };
        if stream.write_all(answer.as_bytes()).is_err() || matches!(manner, Manner::AnswerAndClose(_)) {
            return;
        }
    }
}

fn read_head(stream: &mut TcpStream, pending: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(end) = pending.windows(4).position(|window| window == b"\r\n\r\n") {
            let rest = pending.split_off(end + 4);
            let head = std::mem::replace(pending, rest);
            return Some(String::from_utf8_lossy(&head).into_owned());
        }
        read_more(stream, pending)?;
    }
}

/// Bytes of the body, by length or by chunks.
fn read_body(stream: &mut TcpStream, pending: &mut Vec<u8>, head: &str) -> usize {
    let head = head.to_ascii_lowercase();
    if let Some(length) = head.split("content-length: ").nth(1) {
        let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
        while pending.len() < length && read_more(stream, pending).is_some() {}
        return pending.drain(..length.min(pending.len())).count();
    }
    while !pending.ends_with(b"0\r\n\r\n") && read_more(stream, pending).is_some() {}
    let text = String::from_utf8_lossy(pending).into_owned();
    pending.clear();
    text.split("\r\n").filter(|line| line.starts_with('x')).map(str::len).sum()
}

fn read_more(stream: &mut TcpStream, pending: &mut Vec<u8>) -> Option<()> {
    let mut buffer = [0; 8_192];
    match stream.read(&mut buffer) {
        Ok(0) | Err(_) => None,
        Ok(read) => {
            pending.extend_from_slice(&buffer[..read]);
            Some(())
        }
    }
}

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
