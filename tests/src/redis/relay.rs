//! A relay between a client and a server that can be told to delay, to swallow, to close by half.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;

use crate::wait::{after, pass_until};

/// Pieces of a direction that wait to be sent on.
const PIECES: usize = 4_096;
const NOTICE: Duration = Duration::from_millis(20);

/// What it does with bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    Pass,
    /// Answers come so much later.
    Delay(Duration),
    /// Nothing goes through, either way, and nobody is told.
    Drop,
    /// Requests go through, answers do not.
    Swallow,
    /// It closes its half towards the client, of old connections and new ones.
    HalfClose,
}

/// Ends with its owner.
pub struct Relay {
    pub port: u16,
    told: Arc<Told>,
}

struct Told {
    mood: Mutex<Mood>,
    is_over: AtomicBool,
    accepted: AtomicU64,
    clients: Mutex<Vec<TcpStream>>,
}

impl Relay {
    pub fn to(server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let told = Arc::new(Told {
            mood: Mutex::new(Mood::Pass),
            is_over: AtomicBool::new(false),
            accepted: AtomicU64::new(0),
            clients: Mutex::default(),
        });
        let shared = Arc::clone(&told);
        std::thread::spawn(move || accept(&listener, server, &shared));
        Ok(Self { port, told })
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn set(&self, mood: Mood) {
        *lock(&self.told.mood) = mood;
        if mood == Mood::HalfClose {
            lock(&self.told.clients).iter().for_each(|client| drop(client.shutdown(Shutdown::Write)));
        }
    }

    /// Connections so far.
    pub fn accepted(&self) -> u64 {
        self.told.accepted.load(Ordering::Relaxed)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.told.is_over.store(true, Ordering::Relaxed);
        lock(&self.told.clients).iter().for_each(|client| drop(client.shutdown(Shutdown::Both)));
        // The listener waits for one more.
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accept(listener: &TcpListener, server: SocketAddr, told: &Arc<Told>) {
    for client in listener.incoming() {
        if told.is_over.load(Ordering::Relaxed) {
            return;
        }
        let Ok(client) = client else { continue };
        told.accepted.fetch_add(1, Ordering::Relaxed);
        let mut clients = lock(&told.clients);
        clients.retain(|client| client.peer_addr().is_ok());
        clients.extend(client.try_clone());
        drop(clients);
        if *lock(&told.mood) == Mood::HalfClose {
            drop(client.shutdown(Shutdown::Write));
        }
        let told = Arc::clone(told);
        std::thread::spawn(move || drop(join(client, server, &told)));
    }
}

/// Both directions of a connection.
fn join(client: TcpStream, server: SocketAddr, told: &Arc<Told>) -> Result<()> {
    let server = TcpStream::connect(server)?;
    for stream in [&client, &server] {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(NOTICE))?;
    }
    let (up_from, up_to) = (client.try_clone()?, server.try_clone()?);
    let shared = Arc::clone(told);
    std::thread::spawn(move || carry(up_from, up_to, &shared, Way::Requests));
    carry(server, client, told, Way::Answers);
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Requests,
    Answers,
}

fn carry(mut from: TcpStream, to: TcpStream, told: &Told, way: Way) {
    let (pieces, waiting) = sync_channel::<(u64, Vec<u8>)>(PIECES);
    let writer = std::thread::spawn(move || write(to, &waiting));
    let mut buffer = vec![0; 64 << 10];
    while !told.is_over.load(Ordering::Relaxed) {
        let n = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(error)
                if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) =>
            {
                continue;
            }
            Err(_) => break,
        };
        let delay = match (*lock(&told.mood), way) {
            (Mood::Drop, _) | (Mood::Swallow, Way::Answers) => continue,
            (Mood::Delay(delay), Way::Answers) => delay,
            _ => Duration::ZERO,
        };
        let piece = buffer.get(..n).unwrap_or_default().to_vec();
        if pieces.send((after(delay), piece)).is_err() {
            break;
        }
    }
    drop(pieces);
    drop(writer.join());
}

fn write(mut to: TcpStream, waiting: &Receiver<(u64, Vec<u8>)>) {
    for (moment_ns, piece) in waiting {
        pass_until(moment_ns);
        if to.write_all(&piece).is_err() {
            break;
        }
    }
    drop(to.shutdown(Shutdown::Write));
}
