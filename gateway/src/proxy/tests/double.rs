//! An upstream that changes its manners while it runs, dies, and counts what it was asked.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);

/// What it does with a request's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    Answer(&'static str),
    AnswerAndClose(&'static str),
    /// Closes without a word.
    Close,
    /// Answers when told, by [`Double::answer_one`].
    Hold,
}

pub const OK: Manner = Manner::Answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");

pub struct Double {
    pub address: SocketAddr,
    inner: Arc<Inner>,
    answers: Sender<()>,
}

struct Inner {
    manner: Mutex<Manner>,
    heads: Mutex<Vec<String>>,
    connections: Mutex<Vec<TcpStream>>,
    accepted: AtomicUsize,
    answers: Mutex<Receiver<()>>,
    listener: TcpListener,
}

impl Double {
    pub fn new(manner: Manner) -> Self {
        Self::at("127.0.0.1", 0, manner).expect("a free port")
    }

    /// None: the port is taken there.
    pub fn at(address: &str, port: u16, manner: Manner) -> Option<Self> {
        let listener = TcpListener::bind((address, port)).ok()?;
        let address = listener.local_addr().unwrap();
        let (sender, answers) = channel();
        let inner = Arc::new(Inner {
            manner: Mutex::new(manner),
            heads: Mutex::default(),
            connections: Mutex::default(),
            accepted: AtomicUsize::new(0),
            answers: Mutex::new(answers),
            listener,
        });
        let accepting = Arc::clone(&inner);
        std::thread::spawn(move || {
            while let Ok((stream, _)) = accepting.listener.accept() {
                accepting.accepted.fetch_add(1, Ordering::SeqCst);
                accepting.connections.lock().unwrap().push(stream.try_clone().unwrap());
                let inner = Arc::clone(&accepting);
                std::thread::spawn(move || inner.converse(stream));
            }
        });
        Some(Self { address, inner, answers: sender })
    }

    /// At several addresses of loopback with one port.
    pub fn at_one_port<const N: usize>(addresses: [&str; N]) -> [Self; N] {
        let all = |port| addresses.iter().map(|address| Self::at(address, port, OK)).collect();
        let found: Option<Vec<Self>> = (0..64).find_map(|_| all(super::harness::free_port()));
        found.and_then(|found| found.try_into().ok()).expect("a port that is free at each address")
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn becomes(&self, manner: Manner) {
        *self.inner.manner.lock().unwrap() = manner;
    }

    /// Refuses connections and ends those that are open.
    pub fn die(&self) {
        // It may be dead already.
        socket2::SockRef::from(&self.inner.listener).shutdown(Shutdown::Both).unwrap_or(());
        for connection in self.inner.connections.lock().unwrap().drain(..) {
            connection.shutdown(Shutdown::Both).unwrap_or(());
        }
    }

    /// Lets one held request have its answer.
    pub fn answer_one(&self) {
        self.answers.send(()).unwrap();
    }

    /// Requests that came.
    pub fn asked(&self) -> usize {
        self.inner.heads.lock().unwrap().len()
    }

    pub fn connections(&self) -> usize {
        self.inner.accepted.load(Ordering::SeqCst)
    }

    pub fn heads(&self) -> Vec<String> {
        self.inner.heads.lock().unwrap().clone()
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        self.die();
    }
}

impl Inner {
    fn converse(&self, mut stream: TcpStream) {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let (mut pending, mut buffer) = (Vec::new(), [0; 4_096]);
        loop {
            while let Some(end) = pending.windows(4).position(|window| window == b"\r\n\r\n") {
                let head: Vec<u8> = pending.drain(..end + 4).collect();
                self.heads.lock().unwrap().push(String::from_utf8_lossy(&head).into_owned());
                let manner = *self.manner.lock().unwrap();
                let answer = match manner {
                    Manner::Answer(answer) => answer,
                    Manner::AnswerAndClose(answer) => {
                        stream.write_all(answer.as_bytes()).unwrap_or(());
                        stream.shutdown(Shutdown::Both).unwrap_or(());
                        return;
                    }
                    Manner::Close => {
                        stream.shutdown(Shutdown::Both).unwrap_or(());
                        return;
                    }
                    Manner::Hold => {
                        if self.answers.lock().unwrap().recv_timeout(PATIENCE).is_err() {
                            return;
                        }
                        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nheld"
                    }
                };
                if stream.write_all(answer.as_bytes()).is_err() {
                    return;
                }
            }
            match stream.read(&mut buffer) {
                Ok(0) | Err(_) => return,
                Ok(read) => pending.extend_from_slice(&buffer[..read]),
            }
        }
    }
}
