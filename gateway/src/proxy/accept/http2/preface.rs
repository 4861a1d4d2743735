//! Prior knowledge (RFC 9113 section 3.3): whether a plain connection begins with HTTP/2's preface.

use std::io;

use bytes::Bytes;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use super::frames::PREFACE;

/// A first line is looked at so far; a longer one is HTTP/1's to judge.
const LOOK_BYTES: usize = 1024;

/// What a connection begins with; what was read of HTTP is to be read again.
pub enum Beginning {
    Http1(Bytes),
    Http2(Bytes),
    /// A line that is neither's: nobody knows in which protocol to answer it.
    Neither,
    /// Nothing came, or not enough.
    Ended,
}

pub async fn beginning(stream: &mut TcpStream) -> io::Result<Beginning> {
    let mut read = Vec::with_capacity(PREFACE.len());
    loop {
        if read.starts_with(PREFACE) {
            return Ok(Beginning::Http2(read.into()));
        }
        if !PREFACE.starts_with(&read) {
            let line = read.iter().position(|byte| *byte == b'\n').and_then(|end| read.get(..end));
            match line {
                Some(line) if is_request_line(line) => return Ok(Beginning::Http1(read.into())),
                Some(_) => return Ok(Beginning::Neither),
                None if read.len() >= LOOK_BYTES => return Ok(Beginning::Http1(read.into())),
                None => {}
            }
        }
        let mut more = [0; LOOK_BYTES];
        match stream.read(&mut more).await? {
            0 if read.is_empty() => return Ok(Beginning::Ended),
            // Half a line: HTTP/1 says what is wrong with it.
            0 => return Ok(Beginning::Http1(read.into())),
            n => read.extend(more.iter().take(n)),
        }
    }
}

/// An empty line may go before it (RFC 9112 section 2.2).
fn is_request_line(line: &[u8]) -> bool {
    let line = line.trim_ascii();
    line.is_empty() || line.windows(5).any(|part| part == b"HTTP/")
}
