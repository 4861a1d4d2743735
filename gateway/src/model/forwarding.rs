//! How an API's requests reach its upstreams.

use std::sync::Arc;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forwarding {
    /// At least one.
    pub upstreams: Vec<Upstream>,
}

/// A backend: plain HTTP/1.1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// `host:port` as written, the Host that is sent and the pool's name.
    pub authority: Arc<str>,
    /// Path prefix put before the request's path; empty or without trailing '/'.
    pub path: Arc<str>,
    /// At least 1.
    pub weight: u32,
}
