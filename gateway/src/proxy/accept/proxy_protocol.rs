//! The PROXY protocol, versions 1 and 2 (haproxy.org/download/3.2/doc/proxy-protocol.txt): the header
//! that a load balancer writes before a connection's first byte. Strict, bounded, and of no memory:
//! any first bytes of a header give the same answer or none yet. Knows no socket.

mod binary;

mod line;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;

/// No header is longer, in either version.
pub const HEADER_BYTES_MAX: usize = binary::BYTES_MAX;

/// A whole header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whose connection it was. None: the sender's own (LOCAL), or of no IP (UNKNOWN, UNSPEC, unix).
    pub source: Option<SocketAddr>,
    /// What it takes; behind it are the client's bytes.
    pub bytes: usize,
}

/// Why the first bytes are no header that we take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoHeader {
    #[error("the connection begins with something else")]
    Missing,
    #[error("the header is malformed")]
    Malformed,
    #[error("the header is longer than allowed")]
    TooLong,
}

/// The header that `bytes` begin with; None: more bytes must come.
pub fn parse(bytes: &[u8]) -> Result<Option<Header>, NoHeader> {
    if begins(bytes, line::SIGNATURE) {
        line::parse(bytes)
    } else if begins(bytes, binary::SIGNATURE) {
        binary::parse(bytes)
    } else {
        Err(NoHeader::Missing)
    }
}

/// Whether `bytes` are the signature's, as far as they go.
fn begins(bytes: &[u8], signature: &[u8]) -> bool {
    bytes.iter().zip(signature).all(|(byte, wanted)| byte == wanted)
}
