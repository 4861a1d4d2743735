//! An upstream of HTTP/1 that answers everything alike, after a while, and keeps what it was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

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
        Self::start_over(answer, after, None)
    }

    /// The same over TLS.
    pub fn start_tls(answer: impl Into<Vec<u8>>, tls: ServerConfig) -> Result<Self> {
        Self::start_over(answer, Duration::ZERO, Some(Arc::new(tls)))
    }

    fn start_over(
        answer: impl Into<Vec<u8>>,
        after: Duration,
        tls: Option<Arc<ServerConfig>>,
    ) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let (kept, answer): (_, Arc<[u8]>) = (Arc::clone(&heads), answer.into().into());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (kept, answer, tls) = (Arc::clone(&kept), Arc::clone(&answer), tls.clone());
                std::thread::spawn(move || match tls.map(ServerConnection::new) {
                    None => converse(stream, &kept, &answer, after),
                    Some(Ok(tls)) => converse(StreamOwned::new(tls, stream), &kept, &answer, after),
                    Some(Err(error)) => eprintln!("recorder: {error}"),
                });
            }
        });
        Ok(Self { port, heads })
    }

    /// Heads of requests, in lower case.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn converse(stream: impl Read + Write, kept: &Mutex<Vec<String>>, answer: &[u8], after: Duration) {
    let mut reader = BufReader::new(stream);
    while let Some(head) = read_head(&mut reader) {
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
        let mut heads = kept.lock().unwrap_or_else(PoisonError::into_inner);
        if heads.len() < KEPT {
            heads.push(head);
        }
        drop(heads);
        let came = std::io::copy(&mut reader.by_ref().take(length.unwrap_or(0)), &mut std::io::sink());
        let_pass(after);
        if came.is_err() || reader.get_mut().write_all(answer).is_err() || reader.get_mut().flush().is_err() {
            return;
        }
    }
}

fn read_head(reader: &mut impl BufRead) -> Option<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    Some(head.to_ascii_lowercase())
}
