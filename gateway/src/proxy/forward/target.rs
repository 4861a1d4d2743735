//! One address of an upstream, ready to connect, and what is counted of it. The counts outlive the
//! snapshot: a reload that leaves the address where it is finds them as they were.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use hyper::header::HeaderValue;
use tokio::net::TcpStream;

use super::group::Group;
use super::health::Health;
use super::secure::Security;
use crate::model::{Speaks, Upstream};
use crate::proxy::stream::Stream;

/// Where a request can go.
pub(in crate::proxy) struct Target {
    /// Authority and address, as logs name it.
    pub name: Arc<str>,
    /// As it is written.
    pub upstream: Arc<str>,
    pub address: SocketAddr,
    pub host: HeaderValue,
    pub path: Arc<str>,
    /// At least 1.
    pub weight: u32,
    pub state: Arc<TargetState>,
    pub(super) group: Arc<Group>,
}

/// What is counted of one address of one API's upstream, by all workers.
pub(in crate::proxy) struct TargetState {
    /// Unique in the process.
    pub id: u64,
    pub(super) health: Health,
    in_flight: AtomicU32,
    connections: AtomicU32,
    security: Security,
    pub speaks: Speaks,
}

/// A connection, as long as it is open.
pub(in crate::proxy) struct Open(Arc<TargetState>);

/// A request's place at its target: from the choice to the end of the answer's body.
pub(in crate::proxy) struct Pending(Arc<Target>);

impl Target {
    pub(super) fn new(
        upstream: &Upstream,
        address: SocketAddr,
        state: Arc<TargetState>,
        group: Arc<Group>,
    ) -> Self {
        Self {
            name: format!("{}/{address}", upstream.authority).into(),
            upstream: Arc::clone(&upstream.authority),
            address,
            host: HeaderValue::from_str(host(upstream)).unwrap_or(HeaderValue::from_static("")),
            path: Arc::clone(&upstream.path),
            weight: upstream.weight,
            state,
            group,
        }
    }

    /// Connects, and shakes hands where it is TLS.
    pub async fn connect(&self) -> io::Result<Stream> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        self.state.security.over(stream).await
    }

    pub fn is_tls(&self) -> bool {
        !matches!(self.state.security, Security::Plain)
    }

    /// A place, unless all `most` are taken.
    pub fn take(self: &Arc<Self>, most: u32) -> Option<Pending> {
        if self.state.in_flight.fetch_add(1, Ordering::SeqCst) >= most {
            self.state.in_flight.fetch_sub(1, Ordering::SeqCst);
            return None;
        }
        Some(Pending(Arc::clone(self)))
    }

    pub fn in_flight(&self) -> u32 {
        self.state.in_flight.load(Ordering::SeqCst)
    }
}

impl TargetState {
    pub(super) fn new(id: u64, health: Health, security: Security, speaks: Speaks) -> Self {
        Self { id, health, in_flight: AtomicU32::new(0), connections: AtomicU32::new(0), security, speaks }
    }

    /// Open connections of all workers, idle ones too.
    pub fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Open {
    pub fn new(state: &Arc<TargetState>) -> Self {
        state.connections.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(state))
    }

    pub fn id(&self) -> u64 {
        self.0.id
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pending {
    pub fn target(&self) -> &Arc<Target> {
        &self.0
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.state.in_flight.fetch_sub(1, Ordering::SeqCst);
        self.0.group.queue.one_left();
    }
}

/// As a client would write it: without the scheme's own port, which configuration adds to `https`.
fn host(upstream: &Upstream) -> &str {
    let bare = upstream.tls.as_ref().and_then(|_| upstream.authority.strip_suffix(":443"));
    bare.unwrap_or(&upstream.authority)
}

/// Of plain HTTP.
const PORT: u16 = 80;

/// Host and port of an authority as it is written; the host without brackets.
pub(super) fn host_and_port(authority: &str) -> (&str, u16) {
    let split = authority.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    let (host, port) = split.unwrap_or((authority, PORT));
    (host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host), port)
}
