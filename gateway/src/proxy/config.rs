//! `trusted_proxies`, `[timeouts]`, `[bounds]`.

use std::time::Duration;

use ipnet::IpNet;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Whose X-Forwarded-For and Forwarded are believed.
    pub trusted_proxies: Vec<IpNet>,
    pub timeouts: Timeouts,
    pub bounds: Bounds,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From a connection's first byte, or the end of the last response, to a whole request head.
    pub request_head: Duration,
    /// Between two pieces of a request body.
    pub request_body_idle: Duration,
    /// Without a byte of the response taken by the client.
    pub response_write_idle: Duration,
    /// An idle kept-alive connection.
    pub keep_alive: Duration,
    pub upstream_connect: Duration,
    pub upstream_response_head: Duration,
    /// From TERM to the end of the last exchange.
    pub drain: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            request_head: Duration::from_secs(10),
            request_body_idle: Duration::from_secs(30),
            response_write_idle: Duration::from_secs(30),
            keep_alive: Duration::from_secs(75),
            upstream_connect: Duration::from_secs(5),
            upstream_response_head: Duration::from_secs(60),
            drain: Duration::from_secs(30),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Open client connections over all workers.
    pub connections: u32,
    /// Of one client address; trusted proxies do not count.
    pub connections_per_client: u32,
    /// Bytes of a request head, and of an upstream's response head.
    pub header_bytes: u32,
    /// Header fields of a request.
    pub headers: u32,
    pub uri_bytes: u32,
    /// Bytes of a request body, streamed; None is unlimited.
    pub body_bytes: Option<u64>,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: 16_384,
            connections_per_client: 1_024,
            header_bytes: 64 * 1024,
            headers: 100,
            uri_bytes: 16 * 1024,
            body_bytes: None,
        }
    }
}
