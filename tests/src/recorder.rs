//! An upstream of HTTP/1 that answers everything alike, after a while, and keeps what it was asked.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;

use crate::wait::let_pass;

/// Heads that are kept.
const KEPT: usize = 10_000;

/// Ends with the process of the test.
pub struct Recorder {
    pub port: u16,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Recorder {
    /// `answer` is sent as it is, `after` a request's head and the body that its length announces.
    pub fn start(answer: impl Into<Vec<u8>>, after: Duration) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let (kept, answer): (_, Arc<[u8]>) = (Arc::clone(&heads), answer.into().into());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (kept, answer) = (Arc::clone(&kept), Arc::clone(&answer));
                std::thread::spawn(move || converse(&stream, &kept, &answer, after));
            }
        });
        Ok(Self { port, heads })
    }

    /// Heads of requests, in lower case.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn converse(stream: &TcpStream, kept: &Mutex<Vec<String>>, answer: &[u8], after: Duration) {
    let mut reader = BufReader::new(stream);
    while let Some(head) = read_head(&mut reader) {
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
        let mut heads = kept.lock().unwrap_or_else(PoisonError::into_inner);
        if heads.len() < KEPT {
            heads.push(head);
        }
        drop(heads);
        let body = reader.by_ref().take(length.unwrap_or(0));
        let came = std::io::copy(&mut { body }, &mut std::io::sink());
        let_pass(after);
        let mut socket = stream;
        if came.is_err() || socket.write_all(answer).is_err() {
            return;
        }
    }
}

fn read_head(reader: &mut BufReader<&TcpStream>) -> Option<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    Some(head.to_ascii_lowercase())
}
