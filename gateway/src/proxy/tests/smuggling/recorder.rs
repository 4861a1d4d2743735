//! An upstream that writes down what it was sent, and answers each whole request.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::wire::{Message, Read, Unframed, latin1, read};

const PATIENCE: Duration = Duration::from_secs(10);

/// What one connection brought, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Request(Message),
    /// The connection ended inside a request.
    Torn(String),
    Nonsense(&'static str, String),
}

pub struct Recorder {
    pub port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
    stopped: Arc<AtomicBool>,
    thread: JoinHandle<usize>,
}

impl Recorder {
    pub fn start(answer: &'static [u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (seen, stopped) = (Arc::<Mutex<Vec<Seen>>>::default(), Arc::<AtomicBool>::default());
        let (writing, until) = (Arc::clone(&seen), Arc::clone(&stopped));
        let thread = std::thread::spawn(move || {
            let mut conversations = Vec::new();
            for stream in listener.incoming().flatten() {
                if until.load(Ordering::SeqCst) {
                    break;
                }
                let writing = Arc::clone(&writing);
                conversations.push(std::thread::spawn(move || converse(stream, answer, &writing)));
            }
            let connections = conversations.len();
            for conversation in conversations {
                conversation.join().unwrap();
            }
            connections
        });
        Self { port, seen, stopped, thread }
    }

    /// Everything that came, and over how many connections; the gateway is gone already.
    pub fn finish(self) -> (Vec<Seen>, usize) {
        self.stopped.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(("127.0.0.1", self.port)));
        let connections = self.thread.join().unwrap();
        (std::mem::take(&mut *self.seen.lock().unwrap()), connections)
    }
}

fn converse(mut stream: TcpStream, answer: &[u8], seen: &Mutex<Vec<Seen>>) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut pending = Vec::new();
    let mut buffer = [0; 16_384];
    loop {
        match read(&pending, Unframed::AtTheHead) {
            Read::Whole(message, length) => {
                seen.lock().unwrap().push(Seen::Request(message));
                pending.drain(..length);
                // Who does not want the answer has gone.
                if stream.write_all(answer).is_err() {
                    return;
                }
                continue;
            }
            Read::Nonsense(why) => {
                seen.lock().unwrap().push(Seen::Nonsense(why, latin1(&pending)));
                return;
            }
            Read::Short => {}
        }
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(length) => pending.extend_from_slice(&buffer[..length]),
        }
    }
    if !pending.is_empty() {
        seen.lock().unwrap().push(Seen::Torn(latin1(&pending)));
    }
}
