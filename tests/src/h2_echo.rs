//! An upstream of HTTP/2 that sends a body back as it comes, and trailers behind it.

use std::io::Read as _;
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;

use crate::h2::{
    ACK, Connection, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PREFACE, SETTINGS, WINDOW_UPDATE, block,
    frame,
};

/// Connections, and requests.
type Seen = (usize, usize);

/// Ends with the process of the test.
pub struct Echo {
    pub port: u16,
    seen: Arc<Mutex<Seen>>,
}

impl Echo {
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let seen = Arc::<Mutex<Seen>>::default();
        let counted = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let counted = Arc::clone(&counted);
                counted.lock().unwrap_or_else(PoisonError::into_inner).0 += 1;
                std::thread::spawn(move || {
                    if let Err(error) = converse(stream, &counted) {
                        eprintln!("echo: {error:#}");
                    }
                });
            }
        });
        Ok(Self { port, seen })
    }

    /// Connections, and requests.
    pub fn seen(&self) -> Seen {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn converse(mut stream: TcpStream, seen: &Mutex<Seen>) -> Result<()> {
    stream.set_nodelay(true)?;
    stream.read_exact(&mut vec![0; PREFACE.len()])?;
    let mut connection = Connection { stream };
    connection.send(&frame(SETTINGS, 0, 0, &[]))?;
    let trailers = block(&[("grpc-status", "0")]);
    while let Some(came) = connection.read()? {
        let ends = came.ends_stream();
        match came.kind {
            HEADERS => {
                seen.lock().unwrap_or_else(PoisonError::into_inner).1 += 1;
                let head = block(&[(":status", "200"), ("content-type", "application/grpc")]);
                connection.send(&frame(HEADERS, END_HEADERS, came.stream, &head))?;
            }
            DATA if !came.payload.is_empty() => {
                let window = u32::try_from(came.payload.len())?.to_be_bytes();
                let windows =
                    [0, came.stream].map(|stream| frame(WINDOW_UPDATE, 0, stream, &window)).concat();
                connection.send(&[frame(DATA, 0, came.stream, &came.payload), windows].concat())?;
            }
            SETTINGS if came.flags & ACK == 0 => connection.send(&frame(SETTINGS, ACK, 0, &[]))?,
            PING if came.flags & ACK == 0 => connection.send(&frame(PING, ACK, 0, &came.payload))?,
            _ => {}
        }
        if ends {
            connection.send(&frame(HEADERS, END_HEADERS | END_STREAM, came.stream, &trailers))?;
        }
    }
    Ok(())
}
