//! What is asked of every subject, and what stands behind and around them.

use std::net::SocketAddr;

use anyhow::Result;
use tempfile::TempDir;

use super::load::{self, Resumes};
use crate::front::{Entrance, Front, RequestLimit, Way};
use crate::h2_echo::Echo;
use crate::nginx::{Nginx, Role};
use crate::pki::Authority;
use crate::ports::free_address;
use crate::websocket::start_echo;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    Plain,
    /// A limit by client that nobody reaches.
    Limit,
    /// A limit by client that refuses nearly everything.
    Refused,
    /// Answers of 10 KiB.
    Body10k,
    /// Answers of 1 MiB.
    Body1m,
    /// Requests over kept connections with TLS.
    Tls,
    /// A connection and its handshake a request.
    TlsNew,
    /// The same with tickets.
    TlsResumed,
    /// HTTP/2 from clients, HTTP/1 to the upstream.
    Http2,
    /// HTTP/2 on both sides, bodies and trailers.
    Grpc,
    /// Messages over kept tunnels.
    WebSocket,
}

pub const SCENARIOS: [(Scenario, &str); 11] = [
    (Scenario::Plain, "plain"),
    (Scenario::Limit, "limit"),
    (Scenario::Refused, "refused"),
    (Scenario::Body10k, "body10k"),
    (Scenario::Body1m, "body1m"),
    (Scenario::Tls, "tls"),
    (Scenario::TlsNew, "tls-new"),
    (Scenario::TlsResumed, "tls-resumed"),
    (Scenario::Http2, "http2"),
    (Scenario::Grpc, "grpc"),
    (Scenario::WebSocket, "websocket"),
];

/// Upstreams, certificates and a folder.
pub struct Ground {
    pub folder: TempDir,
    pub authority: Authority,
    upstream: Nginx,
    grpc: Echo,
    websocket: SocketAddr,
}

impl Ground {
    /// On the core of the calling thread.
    pub fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let authority = Authority::new("bench")?;
        authority.issue(&["bench.example"])?.write(folder.path(), "server")?;
        let upstream = Nginx::start("upstream", free_address()?, &Role::Upstream, folder.path())?;
        std::fs::write(folder.path().join("message"), [0; 1_024])?;
        Ok(Self { folder, authority, upstream, grpc: Echo::start()?, websocket: start_echo()? })
    }
}

impl Scenario {
    pub fn front(self, ground: &Ground) -> Front<'_> {
        let mut front = Front::of(ground.upstream.address);
        match self {
            Self::Plain | Self::Body10k | Self::Body1m => {}
            Self::Limit => front.limit = Some(RequestLimit { per_second: 1_000_000, burst: 100_000 }),
            Self::Refused => front.limit = Some(RequestLimit { per_second: 1, burst: 1 }),
            Self::Tls | Self::TlsNew | Self::TlsResumed => {
                front.entrance = Entrance::Tls { certificates: ground.folder.path() };
            }
            Self::Http2 => front.entrance = Entrance::Http2,
            Self::Grpc => {
                front.entrance = Entrance::Http2;
                front.way = Way::Grpc;
                front.upstream.set_port(ground.grpc.port);
            }
            Self::WebSocket => {
                front.way = Way::WebSocket;
                front.upstream = ground.websocket;
            }
        }
        front
    }

    /// Requests that got the answers they should.
    pub fn load(self, to: SocketAddr, ground: &Ground, seconds: u32, connections: u32) -> Result<u64> {
        match self {
            Self::Plain | Self::Limit => load::wrk(&format!("http://{to}/"), 200, seconds, connections),
            Self::Refused => load::wrk(&format!("http://{to}/"), 429, seconds, connections),
            Self::Body10k => load::wrk(&format!("http://{to}/10k"), 200, seconds, connections),
            Self::Body1m => load::wrk(&format!("http://{to}/1m"), 200, seconds, connections),
            Self::Tls => load::wrk(&format!("https://{to}/"), 200, seconds, connections),
            Self::TlsNew => load::handshakes(to, &ground.authority, Resumes::No, seconds),
            Self::TlsResumed => load::handshakes(to, &ground.authority, Resumes::Yes, seconds),
            Self::Http2 => load::h2load(to, None, seconds, connections),
            Self::Grpc => load::h2load(to, Some(&ground.folder.path().join("message")), seconds, connections),
            Self::WebSocket => load::messages(to, seconds),
        }
    }
}
