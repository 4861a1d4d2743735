//! WebSocket (RFC 6455) as far as a load and its echo need it: one frame a message, none larger than 125
//! bytes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use anyhow::{Context, Result, ensure};

use crate::http::PATIENCE;

/// Of a message, the most that the second octet alone can say.
pub const MESSAGE_BYTES: usize = 125;
const MASK: [u8; 4] = [0x5a, 0xa5, 0x0f, 0xf0];
/// FIN and binary.
const BINARY: u8 = 0x82;
const MASKED: u8 = 0x80;
const HEAD_BYTES_MAX: usize = 4_096;

/// A client's end whose handshake is done.
pub struct Connection(TcpStream);

impl Connection {
    pub fn open(server: SocketAddr) -> Result<Self> {
        let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let request = format!(
            "GET / HTTP/1.1\r\nHost: {server}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes())?;
        let head = head(&mut stream)?;
        ensure!(head.starts_with("HTTP/1.1 101"), "no upgrade: {head}");
        Ok(Self(stream))
    }

    /// Sends a message and reads it back.
    pub fn echo(&mut self, message: &[u8; MESSAGE_BYTES]) -> Result<()> {
        let mut frame = vec![BINARY, MASKED | MESSAGE_BYTES as u8];
        frame.extend(MASK);
        frame.extend(message.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        self.0.write_all(&frame)?;
        let mut answer = [0; 2 + MESSAGE_BYTES];
        self.0.read_exact(&mut answer).context("reading a message")?;
        let back = answer.get(2..).unwrap_or_default();
        ensure!(back == message.as_slice(), "another message came back");
        Ok(())
    }
}

/// An upstream that sends every message back; ends with the process. The port that it listens on.
pub fn start_echo() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                if let Err(error) = converse(stream) {
                    eprintln!("echo: {error:#}");
                }
            });
        }
    });
    Ok(address)
}

fn converse(mut stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    // Whoever only looks whether somebody listens says nothing.
    let Ok(asked) = head(&mut stream) else { return Ok(()) };
    ensure!(asked.to_ascii_lowercase().contains("upgrade: websocket"), "no upgrade was asked for: {asked}");
    // Of the nonce that every client here sends (RFC 6455 section 1.3).
    let answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                  Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    stream.write_all(answer.as_bytes())?;
    let mut frame = [0; 2 + 4 + MESSAGE_BYTES];
    while stream.read_exact(&mut frame).is_ok() {
        let (head, payload) = frame.split_at(6);
        let mask = head.get(2..).unwrap_or_default();
        let mut back = vec![BINARY, MESSAGE_BYTES as u8];
        back.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        stream.write_all(&back)?;
    }
    Ok(())
}

/// Up to the empty line, byte by byte: what follows is not HTTP.
fn head(stream: &mut TcpStream) -> Result<String> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        ensure!(head.len() < HEAD_BYTES_MAX, "a head without an end");
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}
