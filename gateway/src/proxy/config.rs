//! `trusted_proxies`, `[[listener]]`, `[timeouts]`, `[bounds]`, `[auth]`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::tls::{CertificateFacts, Tls};
use crate::model::AuthBounds;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Whose X-Forwarded-For, Forwarded and PROXY headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// What this gateway is called in Via; None: it adds none.
    pub via: Option<Arc<str>>,
    /// In the order in which their sockets are opened.
    pub listeners: Vec<Listener>,
    pub timeouts: Timeouts,
    pub bounds: Bounds,
    pub auth: AuthBounds,
}

/// A socket that accepts clients, and what is spoken there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Port 0 takes a free one, printed at start.
    pub address: SocketAddr,
    /// None: plain.
    pub tls: Option<Arc<Tls>>,
    /// Connections begin with a PROXY header, before TLS.
    pub proxy_protocol: bool,
    /// Whether a plain one takes HTTP/2 by prior knowledge, beside HTTP/1.
    pub h2c: bool,
}

impl Config {
    /// Certificates of all listeners, each once.
    pub fn certificates(&self) -> Vec<&CertificateFacts> {
        let tls = self.listeners.iter().filter_map(|listener| listener.tls.as_ref());
        let mut all: Vec<_> = tls.flat_map(|tls| tls.certificates()).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all.dedup_by(|a, b| a.name == b.name);
        all
    }
}

impl Listener {
    /// The listeners that are open, with what `fresh` says of their addresses; who is not named there stays
    /// as it is until the next start.
    pub fn taking_over(present: &[Self], fresh: &[Self]) -> Vec<Self> {
        let mut fresh: Vec<_> = fresh.iter().map(Some).collect();
        let mut successor = |present: &Self| {
            let same = |slot: &&mut Option<&Self>| slot.is_some_and(|one| one.address == present.address);
            let fresh = fresh.iter_mut().find(same).and_then(Option::take)?;
            let tls = match (&fresh.tls, &present.tls) {
                (Some(fresh), Some(present)) => Some(Arc::new(fresh.taking_tickets_of(present))),
                (fresh, _) => fresh.clone(),
            };
            Some(Self { tls, ..fresh.clone() })
        };
        present.iter().map(|one| successor(one).unwrap_or_else(|| one.clone())).collect()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Of TLS, and of the PROXY header before it, whatever comes meanwhile.
    pub handshake: Duration,
    /// From a connection's first byte, or the end of the last response, to a whole request head.
    pub request_head: Duration,
    /// From a request's head to the end of its answer, tunnels and event streams spared; None: no bound.
    pub request_total: Option<Duration>,
    /// Between two pieces of a request body.
    pub request_body_idle: Duration,
    /// Without a byte of the response taken by the client.
    pub response_write_idle: Duration,
    /// An idle kept-alive connection.
    pub keep_alive: Duration,
    pub upstream_connect: Duration,
    pub upstream_response_head: Duration,
    /// Without a byte of an upstream's answer, once its head came; either way in a tunnel (WebSocket).
    pub upstream_response_idle: Duration,
    /// From TERM to the end of the last exchange.
    pub drain: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(5),
            request_head: Duration::from_secs(10),
            request_total: None,
            request_body_idle: Duration::from_secs(30),
            response_write_idle: Duration::from_secs(30),
            keep_alive: Duration::from_secs(75),
            upstream_connect: Duration::from_secs(5),
            upstream_response_head: Duration::from_secs(60),
            upstream_response_idle: Duration::from_secs(300),
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
    /// Open at once on a connection of HTTP/2.
    pub streams: u32,
    /// Open at once on all of them, over all workers.
    pub all_streams: u32,
    /// Bytes of a request body, streamed; None is unlimited.
    pub body_bytes: Option<u64>,
    /// Of a body sent or an answer taken, over all the time that a client was waited for beyond the idle
    /// times: slower is closed. 0: no floor.
    pub client_bytes_a_second: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: 16_384,
            connections_per_client: 1_024,
            header_bytes: 64 * 1024,
            headers: 100,
            uri_bytes: 16 * 1024,
            streams: 100,
            all_streams: 16_384,
            body_bytes: None,
            client_bytes_a_second: 500,
        }
    }
}
