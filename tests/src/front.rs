//! What a proxy in front of an upstream is asked to be: the same for every peer that can be.

use std::net::SocketAddr;
use std::path::Path;

/// A proxy's job.
#[derive(Clone, Copy, Debug)]
pub struct Front<'a> {
    pub upstream: SocketAddr,
    pub entrance: Entrance<'a>,
    pub way: Way,
    pub limit: Option<RequestLimit>,
}

/// How clients come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entrance<'a> {
    /// HTTP/1 without TLS.
    Plain,
    /// HTTP/1 or HTTP/2 by ALPN, with `server.crt` and `server.key` of the folder.
    Tls { certificates: &'a Path },
    /// HTTP/2 without TLS, by prior knowledge.
    Http2,
}

/// How it speaks to the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Http1,
    /// HTTP/1, and tunnels behind an upgrade.
    WebSocket,
    /// HTTP/2 without TLS, trailers passed on.
    Grpc,
}

/// Requests by client address.
#[derive(Clone, Copy, Debug)]
pub struct RequestLimit {
    pub per_second: u32,
    pub burst: u32,
}

impl<'a> Front<'a> {
    /// Plain HTTP/1 on both sides, nobody limited.
    pub fn of(upstream: SocketAddr) -> Front<'a> {
        Self { upstream, entrance: Entrance::Plain, way: Way::Http1, limit: None }
    }
}
