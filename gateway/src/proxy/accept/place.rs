//! A connection's place among those that are open: who may have one, and for whom it counts.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::atomic::Ordering;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::proxied::{self, Failed};
use super::{Shared, Worker};
use crate::model::ClientKey;
use crate::plane::now_ns;
use crate::proxy::client::is_in;
use crate::proxy::connection::Peer;
use crate::proxy::exchange::charge_malformed;

/// A connection's place among those that are open; given back when dropped.
pub struct Place {
    pub worker: Rc<Worker>,
    pub peer: IpAddr,
    /// Where the client's own are counted; None for a trusted proxy.
    counted: Option<ClientKey>,
}

impl Place {
    /// None: refused, and counted by reason.
    pub fn take(worker: &Rc<Worker>, peer: SocketAddr) -> Option<Self> {
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
    pub async fn named(&mut self, stream: &mut TcpStream) -> Option<Peer> {
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
