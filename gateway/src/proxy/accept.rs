//! A worker: one thread, one runtime, its own listeners, pools and counters. Accepts connections,
//! serves them, and on drain lets them finish.

mod http2;

pub mod proxy_protocol;

mod proxied;

mod tls;

pub use self::http2::{CONNECTION_BYTES as HTTP2_CONNECTION_BYTES, HEADS as HTTP2_HEADS};
pub(super) use self::tls::Metered;
pub use self::tls::WRITE_BYTES as TLS_WRITE_BYTES;

use std::cell::Cell;
use std::hash::RandomState;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use hyper::Request;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::LocalSet;
use tokio::time::{sleep, timeout};

use self::http2::{Beginning, beginning, http2};
use self::proxied::Failed;
use self::tls::{Secured, Speaks, handshake};
use super::body::Source;
use super::client::is_in;
use super::config::{Bounds, Listener};
use super::connection::{Connection, Peer, Scheme};
use super::exchange::{charge_malformed, count, exchange};
use super::forward::{Addresses, Pools, Upstreams};
use super::http1::{Date, Ended, HeadBounds, Received, Scratch, Server, Settings};
use super::snapshot::{ListenerIdx, Snapshot};
use super::stream::Stream;
use crate::limit::{Denied, Shedder, TABLE_ENTRIES};
use crate::model::ClientKey;
use crate::plane::{Bans, Plane, Table, now_ns};
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::metrics::Metrics;

/// After an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Between two looks at idle connections to upstreams.
const SWEEP: Duration = Duration::from_secs(5);

/// What all workers share.
pub struct Shared {
    pub snapshot: ArcSwap<Snapshot>,
    pub plane: Arc<Plane>,
    pub bans: Arc<Bans>,
    pub shedder: Arc<Shedder>,
    pub upstreams: Arc<Upstreams>,
    pub access_log: Option<AccessLog>,
    pub metrics: Metrics,
    /// Words of the APIs' limits.
    pub(super) rows: Table,
    pub(super) hasher: RandomState,
    prove_by_accept: bool,
    /// Bumped by who lifts denials early; see [`Denied`].
    generation: Arc<AtomicU64>,
    connections: AtomicU32,
    connections_by_client: Table,
}

/// What a [`Shared`] is made of.
pub struct SharedParts {
    pub snapshot: Snapshot,
    pub plane: Arc<Plane>,
    pub bans: Arc<Bans>,
    pub shedder: Arc<Shedder>,
    pub upstreams: Arc<Upstreams>,
    pub access_log: Option<AccessLog>,
    pub metrics: Metrics,
    /// The kernel plane has no other way to see handshakes.
    pub prove_by_accept: bool,
}

impl Shared {
    pub fn new(parts: SharedParts) -> Self {
        let SharedParts { snapshot, plane, bans, shedder, upstreams, access_log, metrics, prove_by_accept } =
            parts;
        Self {
            snapshot: ArcSwap::from_pointee(snapshot),
            plane,
            bans,
            shedder,
            upstreams,
            access_log,
            metrics,
            rows: Table::new(TABLE_ENTRIES),
            hasher: RandomState::new(),
            prove_by_accept,
            generation: Arc::new(AtomicU64::new(1)),
            connections: AtomicU32::new(0),
            connections_by_client: Table::new(TABLE_ENTRIES),
        }
    }

    /// Serves by another snapshot from the next request on.
    pub fn publish(&self, snapshot: Snapshot) {
        self.snapshot.store(Arc::new(snapshot));
        self.forget_denials();
    }

    /// Forwards to what upstreams' names stand for now; a name that is not among them keeps its addresses.
    pub fn learn(&self, addresses: Addresses) {
        self.upstreams.learn(addresses);
        self.snapshot.load().renew(&self.upstreams);
    }

    /// Workers ask the plane again about every client.
    pub fn forget_denials(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    pub fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }
}

/// One worker's own.
pub(super) struct Worker {
    pub shared: Arc<Shared>,
    pub denied: Denied,
    pub pools: Rc<Pools>,
    scratch: Scratch,
    pub date: Date,
    open: Cell<usize>,
    closed: Notify,
}

/// Runs a worker on this thread until it is drained: `drain` turns true, the listeners close, open
/// connections finish within `timeouts.drain`.
pub fn worker(
    listeners: Vec<std::net::TcpListener>,
    shared: Arc<Shared>,
    drain: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let denied = Denied::new(Arc::clone(&shared.generation));
    let scratch = Scratch::new();
    let pools = Rc::new(Pools::new(Scratch::clone(&scratch), head_bounds(&shared.snapshot.load().bounds)));
    let (open, closed) = (Cell::new(0), Notify::new());
    let worker = Rc::new(Worker { shared, denied, pools, scratch, date: Date::new(), open, closed });
    LocalSet::new().block_on(&runtime, async {
        let sweeping = tokio::task::spawn_local(sweep(Rc::clone(&worker.pools)));
        let mut accepting = Vec::new();
        for (position, listener) in listeners.into_iter().enumerate() {
            let listener = TcpListener::from_std(listener)?;
            let idx = worker.shared.snapshot.load().listener_idx(listener.local_addr()?, position);
            let socket = Socket { listener, idx };
            accepting.push(tokio::task::spawn_local(accept(Rc::clone(&worker), socket, drain.clone())));
        }
        for task in accepting {
            task.await.map_err(std::io::Error::other)?;
        }
        let until = worker.shared.snapshot.load().timeouts.drain;
        if timeout(until, worker.all_closed()).await.is_err() {
            tracing::warn!(connections = worker.open.get(), "not drained in time, closing");
        }
        sweeping.abort();
        Ok(())
    })
}

/// Runs a connection to an upstream, or a body on its way there, beside the requests that use it. It ends
/// when they do, or with the worker.
pub(super) fn drive(task: impl Future<Output = ()> + 'static) {
    tokio::task::spawn_local(task);
}

async fn sweep(pools: Rc<Pools>) {
    loop {
        sleep(SWEEP).await;
        pools.sweep();
    }
}

/// An open listener, and where the snapshot says what it speaks. None: the file was changed, and the
/// sockets are still the old file's.
struct Socket {
    listener: TcpListener,
    idx: Option<ListenerIdx>,
}

async fn accept(worker: Rc<Worker>, socket: Socket, mut drain: watch::Receiver<bool>) {
    loop {
        let accepted = tokio::select! {
            accepted = socket.listener.accept() => accepted,
            _ = drain.wait_for(|drain| *drain) => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let Some(place) = Place::take(&worker, peer) else { continue };
                let snapshot = worker.shared.snapshot.load_full();
                let Some(listener) = socket.idx.and_then(|idx| snapshot.listener(idx)).cloned() else {
                    worker.shared.metrics.closed("listener").inc();
                    continue;
                };
                tokio::task::spawn_local(connection(place, stream, listener, drain.clone()));
            }
            Err(error) if is_the_clients(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The client went before it was accepted: nothing of ours is short.
fn is_the_clients(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::ConnectionAborted | std::io::ErrorKind::ConnectionReset)
}

/// A connection's place among those that are open; given back when dropped.
struct Place {
    worker: Rc<Worker>,
    peer: IpAddr,
    /// Where the client's own are counted; None for a trusted proxy.
    counted: Option<ClientKey>,
}

impl Place {
    /// None: refused, and counted by reason.
    fn take(worker: &Rc<Worker>, peer: SocketAddr) -> Option<Self> {
        let shared = &worker.shared;
        let snapshot = shared.snapshot.load();
        let peer = peer.ip().to_canonical();
        let key = ClientKey::of(peer);
        let refuse = |reason| {
            shared.metrics.closed(reason).inc();
            None
        };
        if shared.bans.closes(key, now_ns()) {
            return refuse("banned");
        }
        if shared.connections.fetch_add(1, Ordering::AcqRel) >= snapshot.bounds.connections {
            shared.connections.fetch_sub(1, Ordering::AcqRel);
            return refuse("connections");
        }
        let counted = (!is_in(&snapshot.trusted_proxies, peer)).then_some(key);
        let most = snapshot.bounds.connections_per_client;
        let fits = counted.is_none_or(|key| is_one_more(shared, key, most));
        if !fits {
            shared.connections.fetch_sub(1, Ordering::AcqRel);
            return refuse("connections_per_client");
        }
        if shared.prove_by_accept
            && let Err(error) = shared.plane.prove(key)
        {
            tracing::debug!(%error, "client not proved");
        }
        shared.metrics.connections_accepted.inc();
        shared.metrics.connections.inc();
        worker.open.set(worker.open.get() + 1);
        Some(Self { worker: Rc::clone(worker), peer, counted })
    }
}

impl Place {
    /// Whom the PROXY header in front names, where a trusted proxy wrote it; None: the connection is over,
    /// and counted.
    async fn named(&mut self, stream: &mut TcpStream) -> Option<Peer> {
        let snapshot = self.worker.shared.snapshot.load_full();
        let is_trusted = is_in(&snapshot.trusted_proxies, self.peer);
        let closed = |reason| self.worker.shared.metrics.closed(reason).inc();
        let header = match timeout(snapshot.timeouts.handshake, proxied::header(stream)).await {
            Ok(Ok(header)) => header,
            Ok(Err(Failed::Gone(_))) => return None,
            Ok(Err(Failed::NoHeader(error))) => {
                tracing::debug!(%error, "no PROXY header");
                closed("proxy_protocol");
                if !is_trusted {
                    charge_malformed(&self.worker, Peer::of_socket(self.peer));
                }
                return None;
            }
            Err(_) => {
                closed("proxy_protocol_timeout");
                return None;
            }
        };
        match header.source {
            Some(source) if is_trusted => self.count(source.ip(), snapshot.bounds.connections_per_client),
            Some(_) => {
                // A stranger speaks for nobody: it stays the client.
                self.worker.shared.metrics.malformed("proxy_protocol_untrusted").inc();
                Some(Peer::of_socket(self.peer))
            }
            None => Some(Peer::of_socket(self.peer)),
        }
    }

    /// Counts the connection for the client that came to a trusted proxy with it.
    fn count(&mut self, address: IpAddr, most: u32) -> Option<Peer> {
        let peer = Peer::forwarded(address);
        let shared = &self.worker.shared;
        let key = ClientKey::of(peer.address);
        if !is_one_more(shared, key, most) {
            shared.metrics.closed("connections_per_client").inc();
            return None;
        }
        self.counted = Some(key);
        Some(peer)
    }
}

/// Whether the client may have another connection, which is counted then.
fn is_one_more(shared: &Shared, key: ClientKey, most: u32) -> bool {
    let most = u64::from(most);
    let one_more = |open| if open < most { (Some(open + 1), true) } else { (None, false) };
    shared.connections_by_client.update(key.0, 0, one_more)
}

impl Drop for Place {
    fn drop(&mut self) {
        let shared = &self.worker.shared;
        if let Some(key) = self.counted {
            shared.connections_by_client.update(key.0, 0, |open| (Some(open.saturating_sub(1)), ()));
        }
        shared.connections.fetch_sub(1, Ordering::AcqRel);
        shared.metrics.connections.dec();
        self.worker.open.set(self.worker.open.get() - 1);
        self.worker.closed.notify_waiters();
    }
}

impl Worker {
    async fn all_closed(&self) {
        while self.open.get() > 0 {
            self.closed.notified().await;
        }
    }
}

/// Serves one connection to its end.
async fn connection(
    mut place: Place,
    mut stream: TcpStream,
    listener: Listener,
    mut drain: watch::Receiver<bool>,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "no TCP_NODELAY");
    }
    let mut peer = Peer::of_socket(place.peer);
    if listener.proxy_protocol {
        let named = tokio::select! {
            named = Box::pin(place.named(&mut stream)) => named,
            _ = drain.wait_for(|drain| *drain) => return,
        };
        let Some(named) = named else { return };
        peer = named;
    }
    let worker = &place.worker;
    let Some(tls) = &listener.tls else {
        let Some((speaks, stream)) = plain(worker, peer, stream, &listener, &mut drain).await else {
            return;
        };
        let over = Connection::new(peer, Scheme::Http, None);
        return http(worker, speaks, stream, over, drain).await;
    };
    let timeouts = worker.shared.snapshot.load().timeouts;
    let secured = tokio::select! {
        secured = Box::pin(handshake(stream, tls, &timeouts)) => secured,
        _ = drain.wait_for(|drain| *drain) => return,
    };
    match secured {
        Ok(Secured { stream, speaks, certificate }) => {
            let over = Connection::new(peer, Scheme::Https, certificate);
            http(worker, speaks, stream, over, drain).await;
        }
        Err(Some(reason)) => {
            worker.shared.metrics.closed(reason).inc();
            charge_malformed(worker, peer);
        }
        Err(None) => {}
    }
}

/// What a plain connection speaks, where the listener lets it choose.
async fn plain(
    worker: &Rc<Worker>,
    peer: Peer,
    mut stream: TcpStream,
    listener: &Listener,
    drain: &mut watch::Receiver<bool>,
) -> Option<(Speaks, Stream)> {
    if !listener.h2c {
        return Some((Speaks::Http1, Stream::Plain(stream)));
    }
    let patience = worker.shared.snapshot.load().timeouts.request_head;
    let looked = tokio::select! {
        looked = timeout(patience, beginning(&mut stream)) => looked,
        _ = drain.wait_for(|drain| *drain) => return None,
    };
    let plain = |speaks, ahead| Some((speaks, Stream::Begun { stream, ahead }));
    match looked {
        Ok(Ok(Beginning::Http1(ahead))) => plain(Speaks::Http1, ahead),
        Ok(Ok(Beginning::Http2(ahead))) => plain(Speaks::Http2, ahead),
        Ok(Ok(Beginning::Neither)) => {
            worker.shared.metrics.malformed("preface").inc();
            charge_malformed(worker, peer);
            None
        }
        Ok(Ok(Beginning::Ended) | Err(_)) => None,
        Err(_) => {
            worker.shared.metrics.closed("request_head").inc();
            None
        }
    }
}

/// Boxed, so that a connection takes the memory of what it speaks only.
async fn http(
    worker: &Rc<Worker>,
    speaks: Speaks,
    stream: Stream,
    over: Connection,
    drain: watch::Receiver<bool>,
) {
    match speaks {
        Speaks::Http1 => Box::pin(http1(worker, stream, over, drain)).await,
        Speaks::Http2 => Box::pin(http2(worker, stream, over, drain)).await,
    }
}

async fn http1(worker: &Rc<Worker>, stream: Stream, over: Connection, mut drain: watch::Receiver<bool>) {
    let settings = Settings::of(&worker.shared.snapshot.load());
    let over = Rc::new(over);
    let server = Server::new(stream, Scratch::clone(&worker.scratch), &settings, &worker.date);
    let service = |request: Request<Received>| {
        exchange(Rc::clone(worker), Rc::clone(&over), request.map(Source::Http1))
    };
    let drained = async move {
        match drain.wait_for(|drain| *drain).await {
            Ok(_) | Err(_) => {}
        }
    };
    match server.serve(service, drained).await {
        Ended::Closed => {}
        Ended::Malformed(rejection) => {
            count(worker, &rejection);
            charge_malformed(worker, over.peer);
        }
        Ended::TimedOut(reason) => {
            worker.shared.metrics.closed(reason).inc();
            if reason != "keep_alive" {
                charge_malformed(worker, over.peer);
            }
        }
    }
}

impl Settings {
    fn of(snapshot: &Snapshot) -> Self {
        let Snapshot { bounds, timeouts, .. } = snapshot;
        Self {
            head: head_bounds(bounds),
            request_head: timeouts.request_head,
            keep_alive: timeouts.keep_alive,
            response_write_idle: timeouts.response_write_idle,
            bytes_a_second: bounds.client_bytes_a_second,
            tunnel_idle: timeouts.upstream_response_idle,
        }
    }
}

fn head_bounds(bounds: &Bounds) -> HeadBounds {
    HeadBounds {
        bytes: bounds.header_bytes as usize,
        fields: bounds.headers as usize,
        target: bounds.uri_bytes as usize,
    }
}
