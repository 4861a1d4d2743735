//! A server of key sets that counts who asks, and behaves as it is told: well, slowly, endlessly, not at
//! all.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What the next request meets.
#[derive(Clone, Debug)]
pub enum Behaviour {
    /// A document and further lines of the head, each with its CRLF.
    Serve(String, String),
    Fail(u16),
    /// Takes the request and says nothing, until something else is told.
    Hang,
    /// A byte now and then, for ever.
    Drip,
    /// So many bytes of a document that has no end.
    Huge(usize),
    Redirect(String),
}

/// Ends with the value.
pub struct Issuer {
    pub port: u16,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    behaviour: Mutex<Behaviour>,
    asked: AtomicUsize,
    /// At the same time, at most.
    most: AtomicUsize,
    open: AtomicUsize,
    sent: AtomicUsize,
    paths: Mutex<Vec<String>>,
    ends: AtomicBool,
    tls: Option<Arc<ServerConfig>>,
}

/// Connections at once; more is no test.
const OPEN_MAX: usize = 64;
const LOOK: Duration = Duration::from_millis(5);

impl Issuer {
    pub fn start(document: &str) -> Result<Self> {
        Self::start_with(Behaviour::Serve(document.to_owned(), String::new()), None)
    }

    pub fn start_tls(document: &str, tls: Arc<ServerConfig>) -> Result<Self> {
        Self::start_with(Behaviour::Serve(document.to_owned(), String::new()), Some(tls))
    }

    pub fn start_with(behaviour: Behaviour, tls: Option<Arc<ServerConfig>>) -> Result<Self> {
        Self::start_at(0, behaviour, tls)
    }

    /// Where another stood before.
    pub fn start_at(port: u16, behaviour: Behaviour, tls: Option<Arc<ServerConfig>>) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            behaviour: Mutex::new(behaviour),
            asked: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            sent: AtomicUsize::new(0),
            paths: Mutex::default(),
            ends: AtomicBool::new(false),
            tls,
        });
        let served = Arc::clone(&shared);
        let thread = std::thread::spawn(move || accept(&listener, &served));
        Ok(Self { port, shared, thread: Some(thread) })
    }

    pub fn url(&self) -> String {
        let scheme = if self.shared.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://localhost:{}/jwks.json", self.port)
    }

    pub fn behave(&self, behaviour: Behaviour) {
        *self.shared.behaviour.lock().unwrap_or_else(PoisonError::into_inner) = behaviour;
    }

    pub fn serve(&self, document: &str) {
        self.behave(Behaviour::Serve(document.to_owned(), String::new()));
    }

    /// Requests so far.
    pub fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::SeqCst)
    }

    /// Most requests at the same time.
    pub fn most(&self) -> usize {
        self.shared.most.load(Ordering::SeqCst)
    }

    /// Bytes of bodies that somebody took.
    pub fn sent(&self) -> usize {
        self.shared.sent.load(Ordering::SeqCst)
    }

    pub fn paths(&self) -> Vec<String> {
        self.shared.paths.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::SeqCst);
        // Wakes the accept.
        drop(std::net::TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))));
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap_or(());
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut threads = Vec::new();
    for stream in listener.incoming() {
        if shared.ends.load(Ordering::SeqCst) {
            break;
        }
        let Ok(stream) = stream else { continue };
        if shared.open.load(Ordering::SeqCst) >= OPEN_MAX {
            continue;
        }
        let shared = Arc::clone(shared);
        threads.push(std::thread::spawn(move || {
            stream.set_nodelay(true).unwrap_or(());
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap_or(());
            let tls = shared.tls.clone().map(ServerConnection::new);
            // A client that goes away is none of the server's mistakes.
            match tls {
                None => answer(stream, &shared).unwrap_or(()),
                Some(Ok(tls)) => answer(StreamOwned::new(tls, stream), &shared).unwrap_or(()),
                Some(Err(_)) => {}
            }
        }));
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap_or(()));
}

fn answer(stream: impl Read + Write, shared: &Shared) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    if path.is_empty() {
        return Ok(());
    }
    while line != "\r\n" {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            return Ok(());
        }
    }
    shared.paths.lock().unwrap_or_else(PoisonError::into_inner).push(path);
    shared.asked.fetch_add(1, Ordering::SeqCst);
    let open = shared.open.fetch_add(1, Ordering::SeqCst) + 1;
    shared.most.fetch_max(open, Ordering::SeqCst);
    let behaviour = shared.behaviour.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let done = behave(stream.get_mut(), &behaviour, shared);
    shared.open.fetch_sub(1, Ordering::SeqCst);
    done
}

fn behave(stream: &mut impl Write, behaviour: &Behaviour, shared: &Shared) -> std::io::Result<()> {
    let close = "Connection: close\r\n\r\n";
    match behaviour {
        Behaviour::Serve(document, lines) => {
            let length = document.len();
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n{lines}{close}{document}")?;
            shared.sent.fetch_add(length, Ordering::SeqCst);
        }
        Behaviour::Fail(status) => {
            write!(stream, "HTTP/1.1 {status} No\r\nContent-Length: 0\r\n{close}")?;
        }
        Behaviour::Hang => {
            let changed = || {
                !matches!(&*shared.behaviour.lock().unwrap_or_else(PoisonError::into_inner), Behaviour::Hang)
            };
            while !shared.ends.load(Ordering::SeqCst) && !changed() {
                std::thread::park_timeout(LOOK);
            }
        }
        Behaviour::Drip => {
            write!(stream, "HTTP/1.1 200 OK\r\n{close}{{\"keys\":[")?;
            while !shared.ends.load(Ordering::SeqCst) {
                stream.write_all(b" ")?;
                stream.flush()?;
                shared.sent.fetch_add(1, Ordering::SeqCst);
                std::thread::park_timeout(20 * LOOK);
            }
        }
        Behaviour::Huge(bytes) => {
            write!(stream, "HTTP/1.1 200 OK\r\n{close}{{\"keys\":[")?;
            let blanks = [b' '; 16 << 10];
            let mut left = *bytes;
            while left > 0 && !shared.ends.load(Ordering::SeqCst) {
                let piece = blanks.get(..left.min(blanks.len())).unwrap_or_default();
                stream.write_all(piece)?;
                shared.sent.fetch_add(piece.len(), Ordering::SeqCst);
                left -= piece.len();
            }
            stream.write_all(b"]}")?;
        }
        Behaviour::Redirect(to) => {
            write!(stream, "HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n{close}")?;
        }
    }
    stream.flush()
}
