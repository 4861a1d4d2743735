//! Abuse over real connections: a few addresses that ask as fast as answers come, many requests in one
//! write, and connect again when they are cut off.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use socket2::{Domain, Socket, Type};
use weir::plane::now_ns;

use super::people::fresh;
use crate::bench::Family;
use crate::wait::pass_until;

const ABUSERS: usize = 8;
const CONNECTIONS_EACH: usize = 4;
/// Requests in one write.
const PIPELINE: usize = 32;
const PATIENCE: Duration = Duration::from_millis(300);

/// What abusers did and got.
#[derive(Debug, Default)]
pub struct Abuse {
    sent: AtomicU64,
    served: AtomicU64,
    refused: AtomicU64,
}

/// As [`Abuse`], at the end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Abused {
    pub sent: u64,
    pub served: u64,
    pub refused: u64,
}

/// Abuses until the span's end, from addresses that nobody used before.
pub fn abuse(server: SocketAddr, end_ns: u64) -> Abused {
    let abuse = Abuse::default();
    std::thread::scope(|scope| {
        for _ in 0..ABUSERS {
            let source = fresh(Family::V4);
            for _ in 0..CONNECTIONS_EACH {
                let abuse = &abuse;
                scope.spawn(move || {
                    while now_ns() < end_ns {
                        if abuse.connection(source, server, end_ns).is_err() {
                            pass_until((now_ns() + 10_000_000).min(end_ns));
                        }
                    }
                });
            }
        }
    });
    let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
    Abused { sent: read(&abuse.sent), served: read(&abuse.served), refused: read(&abuse.refused) }
}

impl Abuse {
    /// One connection's life.
    fn connection(&self, source: IpAddr, server: SocketAddr, end_ns: u64) -> Result<()> {
        let socket = Socket::new(Domain::for_address(server), Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(source, 0).into())?;
        socket.connect_timeout(&server.into(), PATIENCE)?;
        let mut stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let batch = "GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(PIPELINE);
        while now_ns() < end_ns {
            stream.write_all(batch.as_bytes())?;
            self.sent.fetch_add(PIPELINE as u64, Ordering::Relaxed);
            self.answers(&mut stream)?;
        }
        Ok(())
    }

    /// Reads until a whole batch is answered.
    fn answers(&self, stream: &mut TcpStream) -> Result<()> {
        const STATUS: &[u8] = b"HTTP/1.1 ";
        const STATUS_LINE: usize = STATUS.len() + 3;
        let (mut seen, mut bytes, mut buffer) = (0, Vec::new(), [0; 16 * 1_024]);
        while seen < PIPELINE {
            let read = stream.read(&mut buffer)?;
            ensure!(read > 0, "cut off");
            bytes.extend_from_slice(buffer.get(..read).unwrap_or_default());
            let mut from = 0;
            for (at, line) in bytes.windows(STATUS_LINE).enumerate() {
                if line.starts_with(STATUS) {
                    seen += 1;
                    from = at + STATUS_LINE;
                    let count = if line.ends_with(b"200") { &self.served } else { &self.refused };
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
            // What may be the beginning of a status line stays.
            let keep = bytes.len().saturating_sub(STATUS_LINE - 1).max(from);
            bytes.drain(..keep.min(bytes.len()));
        }
        Ok(())
    }
}
