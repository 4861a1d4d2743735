//! One connection from its first byte to its end: who is named in front, TLS, and which HTTP is spoken.

use std::pin::Pin;
use std::rc::Rc;

use hyper::Request;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use super::http2::{Beginning, beginning, http2};
use super::place::Place;
use super::tls::{Secured, Speaks, handshake};
use super::{PARTING, Worker, head_bounds, parted};
use crate::proxy::body::Source;
use crate::proxy::config::Listener;
use crate::proxy::connection::{Connection, Peer, Scheme};
use crate::proxy::exchange::{charge_malformed, count, exchange};
use crate::proxy::http1::{Ended, Received, Scratch, Server, Settings};
use crate::proxy::snapshot::Snapshot;
use crate::proxy::stream::Stream;

/// Serves one connection to its end. Each part is boxed, so that it takes the memory of the one that runs.
pub async fn connection(
    mut place: Place,
    stream: TcpStream,
    listener: Listener,
    drain: watch::Receiver<bool>,
) {
    let begun = Box::pin(begin(&mut place, stream, listener, drain.clone())).await;
    if let Some(begun) = begun {
        serve(&place.worker, begun, drain).await;
    }
}

/// A connection that HTTP can be spoken on.
struct Begun {
    speaks: Speaks,
    stream: Stream,
    over: Connection,
}

/// Who is named in front, and TLS. None: the connection is over, and counted.
async fn begin(
    place: &mut Place,
    mut stream: TcpStream,
    listener: Listener,
    drain: watch::Receiver<bool>,
) -> Option<Begun> {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "no TCP_NODELAY");
    }
    let mut peer = Peer::of_socket(place.peer);
    if listener.proxy_protocol {
        peer = tokio::select! {
            named = place.named(&mut stream) => named?,
            () = parted(drain.clone()) => return None,
        };
    }
    let worker = &place.worker;
    let Some(tls) = &listener.tls else {
        let (speaks, stream) = plain(worker, peer, stream, &listener, &drain).await?;
        return Some(Begun { speaks, stream, over: Connection::new(peer, Scheme::Http, None) });
    };
    let timeouts = worker.shared.snapshot.load().timeouts;
    let secured = tokio::select! {
        secured = handshake(stream, tls, &timeouts) => secured,
        () = parted(drain.clone()) => return None,
    };
    match secured {
        Ok(Secured { stream, speaks, certificate }) => {
            Some(Begun { speaks, stream, over: Connection::new(peer, Scheme::Https, certificate) })
        }
        Err(Some(reason)) => {
            worker.shared.metrics.closed(reason).inc();
            charge_malformed(worker, peer);
            None
        }
        Err(None) => None,
    }
}

/// What a plain connection speaks, where the listener lets it choose.
async fn plain(
    worker: &Rc<Worker>,
    peer: Peer,
    mut stream: TcpStream,
    listener: &Listener,
    drain: &watch::Receiver<bool>,
) -> Option<(Speaks, Stream)> {
    if !listener.h2c {
        return Some((Speaks::Http1, Stream::Plain(stream)));
    }
    let patience = worker.shared.snapshot.load().timeouts.request_head;
    let looked = tokio::select! {
        looked = timeout(patience, beginning(&mut stream)) => looked,
        () = parted(drain.clone()) => return None,
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

fn serve(
    worker: &Rc<Worker>,
    begun: Begun,
    drain: watch::Receiver<bool>,
) -> Pin<Box<dyn Future<Output = ()> + '_>> {
    let Begun { speaks, stream, over } = begun;
    match speaks {
        Speaks::Http1 => Box::pin(http1(worker, stream, over, drain)),
        Speaks::Http2 => Box::pin(http2(worker, stream, over, drain)),
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
        Ended::Gone => {
            worker.shared.metrics.closed("client_gone").inc();
        }
        Ended::Malformed(rejection) => {
            count(worker, &rejection);
            charge_malformed(worker, over.peer);
        }
        Ended::TimedOut(reason) => {
            worker.shared.metrics.closed(reason).inc();
            if !matches!(reason, "keep_alive" | "request_total") {
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
            parting: PARTING,
        }
    }
}
