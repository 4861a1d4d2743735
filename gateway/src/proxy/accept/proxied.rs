//! Reads a PROXY header off a socket, and not a byte of what is behind it.

use std::io;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use super::proxy_protocol::{HEADER_BYTES_MAX, Header, NoHeader, parse};

#[derive(Debug, thiserror::Error)]
pub enum Failed {
    #[error(transparent)]
    NoHeader(#[from] NoHeader),
    /// The other end went, or went in the middle.
    #[error(transparent)]
    Gone(#[from] io::Error),
}

/// The header that the connection begins with. The caller bounds it in time.
pub async fn header(stream: &mut TcpStream) -> Result<Header, Failed> {
    let mut bytes = [0; HEADER_BYTES_MAX];
    let mut taken = 0;
    loop {
        let space = bytes.get_mut(taken..).unwrap_or_default();
        // A peek, since more than the header may have come; what is surely of it is taken, so that the
        // next peek waits for more.
        let peeked = stream.peek(space).await?;
        if peeked == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let header = parse(bytes.get(..taken + peeked).unwrap_or_default())?;
        let end = header.map_or(taken + peeked, |header| header.bytes);
        stream.read_exact(bytes.get_mut(taken..end).unwrap_or_default()).await?;
        taken = end;
        if let Some(header) = header {
            return Ok(header);
        }
    }
}
