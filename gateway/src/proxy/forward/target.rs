//! One address of an upstream, ready to connect, and what is counted of it. The counts outlive the
//! snapshot: a reload that leaves the address where it is finds them as they were.

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::header::HeaderValue;

use crate::model::Upstream;

/// Where a request can go.
pub(in crate::proxy) struct Target {
    /// Authority and address, the name of its connections' pool.
    pub pool: Arc<str>,
    pub address: SocketAddr,
    pub host: HeaderValue,
    pub path: Arc<str>,
    /// At least 1.
    pub weight: u32,
    pub state: Arc<TargetState>,
}

/// What is counted of one address of one API's upstream, by all workers.
#[derive(Debug)]
pub(in crate::proxy) struct TargetState {
    /// Unique in the process.
    pub id: u64,
}

impl Target {
    pub fn new(upstream: &Upstream, address: SocketAddr, state: Arc<TargetState>) -> Self {
        Self {
            pool: format!("{}/{address}", upstream.authority).into(),
            address,
            host: HeaderValue::from_str(&upstream.authority).unwrap_or(HeaderValue::from_static("")),
            path: Arc::clone(&upstream.path),
            weight: upstream.weight,
            state,
        }
    }
}

/// Of plain HTTP.
const PORT: u16 = 80;

/// Host and port of an authority as it is written; the host without brackets.
pub(super) fn host_and_port(authority: &str) -> (&str, u16) {
    let split = authority.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    let (host, port) = split.unwrap_or((authority, PORT));
    (host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host), port)
}
