//! One request from its head to its answer: identify, charge, check, dispatch, filter, answer.

use std::ops::ControlFlow;
use std::rc::Rc;

use hyper::header::{CONTENT_TYPE, HOST, HeaderValue, UPGRADE};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Request, Response, Version};
use tokio::time::timeout_at;

use super::accept::Worker;
use super::body::{Body, RequestBody, Source};
use super::client::{Identified, identify};
use super::compress;
use super::connection::{Connection, Peer};
use super::dispatch::normalise;
use super::filter::{Asked, Facts, Presented, Seen, Session};
use super::forward::{Forward, Hop, count_hop, to_upstream, upstream_uri};
use super::head;
use super::http1::{Fields, asks_websocket};
use super::respond::{Fault, Rejection, fault, reject};
use super::timer::{Deadline, Pace};

use super::snapshot::{ServedAnswer, ServedApi, Snapshot};
use super::told::Told;
use crate::plane::{now_ns as clock_ns, unix_s};
use crate::telemetry::metrics::ApiMetrics;

/// Answers a request that came over a connection.
pub(super) async fn exchange(
    worker: Rc<Worker>,
    over: Rc<Connection>,
    request: Request<Source>,
) -> Response<Body> {
    let snapshot = worker.shared.snapshot.load_full();
    let now_ns = clock_ns();
    let from = identify(over.peer, request.headers(), &snapshot.trusted_proxies);
    if from.malformed {
        worker.shared.metrics.malformed("forwarded").inc();
    }
    let told = Told::of(worker.shared.access_log.as_ref(), &request, from.address, now_ns);
    let response = dispatch_and_answer(&worker, &snapshot, &from, &over, request, now_ns, &told).await;
    told.answered(&response);
    response
}

async fn dispatch_and_answer(
    worker: &Worker,
    snapshot: &Snapshot,
    from: &Identified,
    over: &Connection,
    request: Request<Source>,
    now_ns: u64,
    told: &Told<'_>,
) -> Response<Body> {
    let served = match admit(worker, snapshot, from, &request, now_ns) {
        Ok(served) => served,
        Err(rejection) => return refuse(worker, &rejection, told),
    };
    let (mut head, source) = request.into_parts();
    let asked = Asked {
        method: &head.method,
        uri: &head.uri,
        headers: &head.headers,
        over,
        peer_is_trusted: from.peer_is_trusted,
    };
    let seen = served.chain.see(&asked);
    let wanted = compress::wanted(&served.api, asked.headers);
    told.api(&served.api.name, &seen);
    let unanswered = Unanswered(Some(&served.metrics));
    let exchange = Exchange { worker, snapshot, served, over, now_ns, told };
    let passed = match served.chain.before_auth(&asked) {
        ControlFlow::Continue(()) => exchange.filter(from, &mut head).await,
        ControlFlow::Break(rejection) => ControlFlow::Break(exchange.charged(from, rejection)),
    };
    let method = head.method.clone();
    let mut response = match passed {
        ControlFlow::Continue(session) => exchange.answer(from, &seen, &session, head, source).await,
        ControlFlow::Break(rejection) => refuse(worker, &rejection, told),
    };
    if let Some(compress) = &served.api.shaping.compress {
        let places = &worker.shared.compressing;
        response = compress::compress(compress, wanted, &method, places, response);
    }
    served.chain.on_answer(&seen, response.headers_mut());
    unanswered.answered(response.status().as_u16(), now_ns);
    response
}

/// Counts a request once: answered, or given up by its client.
struct Unanswered<'a>(Option<&'a ApiMetrics>);

impl Unanswered<'_> {
    fn answered(mut self, status: u16, began_ns: u64) {
        if let Some(metrics) = self.0.take() {
            metrics.count(status, began_ns, clock_ns());
        }
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if let Some(metrics) = self.0 {
            metrics.abandoned.inc();
        }
    }
}

/// Charges the client and finds the API. Where that lifts the client's limit from who passes its auth, the
/// charge waits for what auth says.
fn admit<'a>(
    worker: &Worker,
    snapshot: &'a Snapshot,
    from: &Identified,
    request: &Request<Source>,
    now_ns: u64,
) -> Result<&'a ServedApi, Rejection> {
    if snapshot.any_lifts
        && let Ok(served) = dispatch(snapshot, request)
        && served.lifts_client_limit()
    {
        return Ok(served);
    }
    charge(worker, snapshot, from, now_ns).and_then(|()| dispatch(snapshot, request))
}

/// A malformed head never becomes a request; its peer is charged all the same.
pub(super) fn charge_malformed(worker: &Worker, peer: Peer) {
    let snapshot = worker.shared.snapshot.load();
    let from = identify(peer, &HeaderMap::new(), &snapshot.trusted_proxies);
    // What the charge answers changes nothing: the connection is over, and a refusal was counted.
    match charge(worker, &snapshot, &from, clock_ns()) {
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
        limit.charge(&shared.held(), &worker.denied, &shared.shedder, from.client, from.address, now_ns);
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
    let served = snapshot.api(idx).ok_or(Rejection::NoApi)?;
    match served.api.body.within(snapshot.bounds.body_bytes) {
        Some(bound) if request.body().size_hint().lower() > bound => Err(Rejection::BodyTooLarge),
        Some(_) | None => Ok(served),
    }
}

/// A request that has an API.
struct Exchange<'a> {
    worker: &'a Worker,
    snapshot: &'a Snapshot,
    served: &'a ServedApi,
    over: &'a Connection,
    now_ns: u64,
    told: &'a Told<'a>,
}

impl Exchange<'_> {
    /// The API's chain: who presents what credential, and what its limits say.
    async fn filter(&self, from: &Identified, head: &mut Parts) -> ControlFlow<Rejection, Session> {
        let Self { worker, served, over, now_ns, told, .. } = *self;
        let client = from.client.key;
        let mut presented = Presented {
            method: &head.method,
            uri: &mut head.uri,
            headers: &mut head.headers,
            over,
            now_ns,
            unix_s: unix_s(),
        };
        let session = match served.chain.authenticate(&mut presented).await {
            ControlFlow::Continue(session) => session,
            ControlFlow::Break(rejection) => {
                let rejection = self.charged(from, rejection);
                self.refused(from, &rejection);
                return ControlFlow::Break(rejection);
            }
        };
        told.session(&session);
        let facts =
            Facts { method: &head.method, uri: &head.uri, client, words: &worker.shared.rows, now_ns };
        match served.chain.after_auth(&facts, &session) {
            ControlFlow::Continue(()) => ControlFlow::Continue(session),
            ControlFlow::Break(rejection) => {
                self.refused(from, &rejection);
                ControlFlow::Break(rejection)
            }
        }
    }

    /// The charge that waited for auth, for who did not pass it: the client's limit may have the last word.
    fn charged(&self, from: &Identified, rejection: Rejection) -> Rejection {
        if !self.served.lifts_client_limit() {
            return rejection;
        }
        charge(self.worker, self.snapshot, from, self.now_ns).err().unwrap_or(rejection)
    }

    /// A refused credential costs its client more than a request: who guesses is soon over its limit.
    fn refused(&self, from: &Identified, rejection: &Rejection) {
        let Rejection::Auth(refusal) = rejection else { return };
        let shared = &self.worker.shared;
        let api = &self.served.api.name;
        shared.metrics.auth_refused(api, refusal.scheme, refusal.reason.name()).inc();
        if !refusal.reason.is_guess() || self.snapshot.allow.contains(from.address) {
            return;
        }
        if let Some(limit) = &self.snapshot.client_limit {
            let weight = self.snapshot.refused_weight;
            limit.debit(&shared.held(), from.client, from.address, weight, self.now_ns);
        }
    }

    async fn answer(
        &self,
        from: &Identified,
        seen: &Seen,
        session: &Session,
        mut head: Parts,
        source: Source,
    ) -> Response<Body> {
        let Self { worker, snapshot, served, over, now_ns, told } = *self;
        let balance = match &served.answer {
            ServedAnswer::Respond(prepared) => return prepared.respond(),
            ServedAnswer::Redirect(moved) => {
                return moved.respond(&upstream_uri(&served.api, "", &head.uri));
            }
            ServedAnswer::Forward(balance) => balance,
        };
        if let ControlFlow::Break(rejection) = self.onward(&mut head) {
            return refuse(worker, &rejection, told);
        }
        // A body would be the upgraded protocol's first bytes (RFC 9110 section 7.8): nobody sends one.
        let websocket = source.size_hint().exact() == Some(0) && asks_websocket(&head);
        if let Some(named) = head.uri.authority().and_then(|named| HeaderValue::from_str(named.as_str()).ok())
        {
            // RFC 9112 section 3.2.2: it takes the place of what Host said.
            head.headers.insert(HOST, named);
        }
        let key = balance.key(&head.headers, from.client.key);
        let fields = self.fields(head.version);
        head.version = Version::HTTP_11;
        let hop = Hop { over, peer_is_trusted: from.peer_is_trusted, client: from.address };
        to_upstream(&mut head.headers, &hop);
        if websocket {
            head.headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        }
        served.chain.to_upstream(seen, session, &mut head.headers);
        let pace = Pace::new(snapshot.timeouts.request_body_idle, snapshot.bounds.client_bytes_a_second);
        let body = RequestBody::new(source, served.api.body.within(snapshot.bounds.body_bytes), pace);
        let forward = Forward {
            api: &served.api,
            balance,
            pools: &worker.pools,
            timeouts: &snapshot.timeouts,
            metrics: &served.metrics,
            fields,
            told,
        };
        let sent = self.in_time(&forward, forward.send(key, Request::from_parts(head, body), now_ns)).await;
        sent.unwrap_or_else(|failed| {
            told.failed(failed);
            if failed == Fault::RequestTooSlow {
                worker.shared.metrics.closed(failed.name()).inc();
                charge_malformed(worker, over.peer);
            }
            fault(failed)
        })
    }
}

impl Exchange<'_> {
    /// Whether anybody here reads the fields of an upstream's answer; `version` is the client's.
    fn fields(&self, version: Version) -> Fields {
        let Self { snapshot, served, .. } = *self;
        let is_timed = served.api.request_total.is_none() && snapshot.timeouts.request_total.is_some();
        let is_packed = served.api.shaping.compress.is_some();
        let is_read = version > Version::HTTP_11 || served.chain.reads_answers() || is_timed || is_packed;
        if is_read { Fields::Read } else { Fields::SentOn }
    }

    /// Whether it may go further; the hop leaves its mark.
    fn onward(&self, head: &mut Parts) -> ControlFlow<Rejection> {
        count_hop(&head.method, &mut head.headers)?;
        match &self.snapshot.via {
            Some(via) => via.add(head.version, &mut head.headers),
            None => ControlFlow::Continue(()),
        }
    }

    /// `request_total` of the API, which holds for everything, or of all, which spares what lasts by its
    /// nature: tunnels and event streams.
    async fn in_time(
        &self,
        forward: &Forward<'_>,
        sending: impl Future<Output = Result<Response<Body>, Fault>>,
    ) -> Result<Response<Body>, Fault> {
        let own = self.served.api.request_total;
        let Some(total) = own.or(self.snapshot.timeouts.request_total) else { return sending.await };
        let until = Deadline::within(total);
        let Ok(sent) = timeout_at(until.0, sending).await else {
            forward.count(Fault::Late);
            return Err(Fault::Late);
        };
        let response = sent?;
        let lasts = response.body().is_tunnel() || is_event_stream(response.headers());
        if own.is_none() && lasts {
            return Ok(response);
        }
        Ok(response.map(|body| body.until(until, &self.served.metrics.late)))
    }
}

/// Server-sent events, as the HTML standard names them.
fn is_event_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(|kind| kind.as_bytes().trim_ascii_start());
    kind.and_then(|kind| kind.get(..EVENT_STREAM.len()))
        .is_some_and(|kind| kind.eq_ignore_ascii_case(EVENT_STREAM))
}

const EVENT_STREAM: &[u8] = b"text/event-stream";

fn refuse(worker: &Worker, rejection: &Rejection, told: &Told<'_>) -> Response<Body> {
    count(worker, rejection);
    told.refused(rejection);
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
        | Rejection::Protocol
        | Rejection::BodyTooLarge
        | Rejection::Expectation
        | Rejection::NoApi
        | Rejection::Auth(_)
        | Rejection::Limited(_)
        | Rejection::HttpsOnly(_)
        | Rejection::Preflight(_)
        | Rejection::Origin
        | Rejection::NoCertificate
        | Rejection::LastOptions
        | Rejection::LastTrace
        | Rejection::Loop => return,
    };
    worker.shared.metrics.malformed(reason).inc();
}
