//! One request from its head to its answer: identify, charge, check, dispatch, filter, answer.

use std::ops::ControlFlow;
use std::rc::Rc;

use hyper::header::{HOST, HeaderValue, UPGRADE};
use hyper::{Request, Response};

use super::accept::Worker;
use super::body::{Body, RequestBody, Source};
use super::client::{Identified, identify};
use super::connection::{Connection, Peer};
use super::dispatch::normalise;
use super::filter::Facts;
use super::forward::{Forward, Hop, to_upstream};
use super::head;
use super::http1::{Pace, asks_websocket};
use super::respond::{Rejection, fault, reject};
use super::snapshot::{ServedAnswer, ServedApi, Snapshot};
use crate::model::ClientKey;
use crate::plane::now_ns;

/// Answers a request that came over a connection.
pub(super) async fn exchange(
    worker: Rc<Worker>,
    over: Rc<Connection>,
    request: Request<Source>,
) -> Response<Body> {
    let snapshot = worker.shared.snapshot.load_full();
    let now_ns = now_ns();
    let from = identify(over.peer, request.headers(), &snapshot.trusted_proxies);
    if from.malformed {
        worker.shared.metrics.malformed("forwarded").inc();
    }
    let mut request = request;
    let passed = charge(&worker, &snapshot, &from, now_ns)
        .and_then(|()| dispatch(&snapshot, &request))
        .and_then(|served| filter(&worker, served, &from, &mut request, now_ns));
    let served = match passed {
        Ok(served) => served,
        Err(rejection) => return refuse(&worker, &rejection),
    };
    let response = answer(&worker, &snapshot, served, &from, &over, request, now_ns).await;
    served.metrics.count(response.status().as_u16(), now_ns, crate::plane::now_ns());
    response
}

/// A malformed head never becomes a request; its peer is charged all the same.
pub(super) fn charge_malformed(worker: &Worker, peer: Peer) {
    let snapshot = worker.shared.snapshot.load();
    let from = identify(peer, &hyper::HeaderMap::new(), &snapshot.trusted_proxies);
    // What the charge answers changes nothing: the connection is over, and a refusal was counted.
    match charge(worker, &snapshot, &from, now_ns()) {
        Ok(()) | Err(_) => {}
    }
}

/// The client's own limit, before anything else is done for it.
fn charge(worker: &Worker, snapshot: &Snapshot, from: &Identified, now_ns: u64) -> Result<(), Rejection> {
    let Some(limit) = &snapshot.client_limit else { return Ok(()) };
    if snapshot.allow.contains(from.address) {
        return Ok(());
    }
    let shared = &worker.shared;
    let charged =
        limit.charge(&shared.plane, &worker.denied, &shared.shedder, from.client, from.address, now_ns);
    charged.map_err(|refusal| {
        snapshot.client_refusals.inc();
        if refusal.shed {
            shared.metrics.sheds.inc();
        }
        Rejection::Limited(Box::new(refusal))
    })
}

/// The API that serves the request's host and path.
fn dispatch<'a>(snapshot: &'a Snapshot, request: &Request<Source>) -> Result<&'a ServedApi, Rejection> {
    let host = match head::check(request, &snapshot.bounds) {
        ControlFlow::Continue(host) => host,
        ControlFlow::Break(rejection) => return Err(rejection),
    };
    let path = normalise(request.uri().path());
    let idx = snapshot.routes.find(host, &path).ok_or(Rejection::NoApi)?;
    snapshot.api(idx).ok_or(Rejection::NoApi)
}

/// The API's chain: who presents what credential, and what its limits say.
fn filter<'a>(
    worker: &Worker,
    served: &'a ServedApi,
    from: &Identified,
    request: &mut Request<Source>,
    now_ns: u64,
) -> Result<&'a ServedApi, Rejection> {
    let client: ClientKey = from.client.key;
    let facts = Facts { client, table: &worker.shared.rows, hasher: &worker.shared.hasher, now_ns };
    match served.chain.run(&facts, request.headers_mut()) {
        ControlFlow::Continue(()) => Ok(served),
        ControlFlow::Break(rejection) => {
            let response_class = reject(&rejection).status().as_u16();
            served.metrics.count(response_class, now_ns, now_ns);
            Err(rejection)
        }
    }
}

async fn answer(
    worker: &Worker,
    snapshot: &Snapshot,
    served: &ServedApi,
    from: &Identified,
    over: &Connection,
    request: Request<Source>,
    now_ns: u64,
) -> Response<Body> {
    let balance = match &served.answer {
        ServedAnswer::Respond(prepared) => return prepared.respond(),
        ServedAnswer::Forward(balance) => balance,
    };
    let (mut head, source) = request.into_parts();
    let websocket = asks_websocket(&head);
    if let Some(named) = head.uri.authority().and_then(|named| HeaderValue::from_str(named.as_str()).ok()) {
        // RFC 9112 section 3.2.2: it takes the place of what Host said.
        head.headers.insert(HOST, named);
    }
    let key = balance.key(&head.headers, from.client.key);
    head.version = hyper::Version::HTTP_11;
    let hop = Hop { over, peer_is_trusted: from.peer_is_trusted, client: from.address };
    to_upstream(&mut head.headers, &hop);
    if websocket {
        head.headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    }
    let pace = Pace::new(snapshot.timeouts.request_body_idle, snapshot.bounds.client_bytes_a_second);
    let body = RequestBody::new(source, snapshot.bounds.body_bytes, pace);
    let forward = Forward {
        api: &served.api,
        balance,
        pools: &worker.pools,
        timeouts: &snapshot.timeouts,
        metrics: &served.metrics,
    };
    let sent = forward.send(key, Request::from_parts(head, body), now_ns).await;
    sent.unwrap_or_else(fault)
}

fn refuse(worker: &Worker, rejection: &Rejection) -> Response<Body> {
    count(worker, rejection);
    reject(rejection)
}

/// Counts what is no request by what is wrong with it.
pub(super) fn count(worker: &Worker, rejection: &Rejection) {
    let reason = match rejection {
        Rejection::Malformed(reason) => reason,
        Rejection::UriTooLong => "uri_too_long",
        Rejection::HeadTooLarge => "head_too_large",
        Rejection::Version => "version",
        Rejection::Coding => "coding",
        Rejection::Connect
        | Rejection::BodyTooLarge
        | Rejection::Expectation
        | Rejection::NoApi
        | Rejection::Unauthorized
        | Rejection::Limited(_) => return,
    };
    worker.shared.metrics.malformed(reason).inc();
}
