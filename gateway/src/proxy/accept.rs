//! A worker: one thread, one runtime, its own listeners, pools and counters. Accepts connections,
//! serves them, and on drain lets them finish.

mod http2;

pub mod proxy_protocol;

mod proxied;

mod tls;

mod shared;

mod place;

mod serve;

pub use self::http2::{CONNECTION_BYTES as HTTP2_CONNECTION_BYTES, HEADS as HTTP2_HEADS};
pub use self::shared::{Shared, SharedParts};
pub(super) use self::tls::Metered;
pub use self::tls::WRITE_BYTES as TLS_WRITE_BYTES;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::LocalSet;
use tokio::time::{sleep, timeout};

use self::place::Place;
use self::serve::connection;
use super::config::Bounds;
use super::forward::Pools;
use super::http1::{Date, HeadBounds, Scratch};
use super::snapshot::ListenerIdx;
use crate::limit::Denied;

/// After an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// After the order to end, clients that are about to speak may: a connection that was just accepted, a
/// handshake under way, a request that is on its way over a kept connection.
pub(super) const PARTING: Duration = Duration::from_millis(500);
/// Between two looks at idle connections to upstreams.
const SWEEP: Duration = Duration::from_secs(5);

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

/// Ready [`PARTING`] after the order to end.
pub(super) async fn parted(mut drain: watch::Receiver<bool>) {
    match drain.wait_for(|drain| *drain).await {
        Ok(_) | Err(_) => {}
    }
    sleep(PARTING).await;
}

/// The client went before it was accepted: nothing of ours is short.
fn is_the_clients(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::ConnectionAborted | std::io::ErrorKind::ConnectionReset)
}

impl Worker {
    async fn all_closed(&self) {
        while self.open.get() > 0 {
            self.closed.notified().await;
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
