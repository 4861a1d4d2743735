//! HTTP/2 to upstreams that are written so (`h2c://`, `h2://`): connections carry many exchanges at once,
//! bodies and trailers stream both ways. A worker's own, as the pools are.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http_body::{Body as _, Frame, SizeHint};
use hyper::header::{CONTENT_LENGTH, HOST, HeaderValue, TE, UPGRADE};
use hyper::http::request;
use hyper::{Request, Response, Uri, Version};
use tokio::time::{Instant, timeout, timeout_at};

use super::judged::Judged;
use super::retry::Failed;
use super::target::{Open, Target};
use super::{Forward, is_idempotent, strip_hop_by_hop};
use crate::proxy::accept::drive;
use crate::proxy::body::{Body, BodyError, RequestBody, Stream};
use crate::proxy::respond::Fault;
use crate::proxy::timer::Timer;

/// Exchanges at once on a connection; beyond it another is opened. An upstream that allows fewer has the
/// rest wait.
const STREAMS_MAX: usize = 100;
/// What an upstream may send that its client has not taken, on a stream and on all.
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 256 << 10;
/// Of a request's body, handed on and not yet sent, by stream.
const SEND_BYTES: usize = 64 << 10;

/// The most that so many exchanges at one address take, on connections of so many workers: what has come
/// and was not taken, what is to be sent.
pub fn bytes_for(in_flight: u64, workers: u64) -> u64 {
    let connections = in_flight.div_ceil(STREAMS_MAX as u64) + workers;
    connections * (u64::from(CONNECTION_WINDOW) + (64 << 10)) + in_flight * SEND_BYTES as u64
}

/// A worker's connections, by the id of the address.
#[derive(Default)]
pub(in crate::proxy) struct Multiplexed {
    open: RefCell<HashMap<u64, Vec<Rc<Carrier>>>>,
}

/// A connection that carries exchanges; it closes once nobody has it.
struct Carrier {
    requests: SendRequest<Bytes>,
    n_streams: Cell<usize>,
    idle_since: Cell<Instant>,
    /// It ended, or its upstream said goodbye.
    over: Rc<Cell<bool>>,
    _open: Open,
}

/// An exchange's place on its connection.
struct Place(Rc<Carrier>);

impl Multiplexed {
    fn take(&self, target: &Target) -> Option<Place> {
        let open = self.open.borrow();
        let carriers = open.get(&target.state.id)?.iter();
        let free = |carrier: &&Rc<Carrier>| !carrier.over.get() && carrier.n_streams.get() < STREAMS_MAX;
        carriers.into_iter().find(free).map(Place::on)
    }

    async fn connect(&self, target: &Target, header_bytes: u32) -> io::Result<Place> {
        let stream = target.connect().await?;
        let (requests, connection) = Builder::new()
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(header_bytes)
            .max_send_buffer_size(SEND_BYTES)
            .handshake(stream)
            .await
            .map_err(io::Error::other)?;
        let over = Rc::new(Cell::new(false));
        let ended = Rc::clone(&over);
        drive(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "upstream's HTTP/2 connection ended");
            }
            ended.set(true);
        });
        let carrier = Rc::new(Carrier {
            requests,
            n_streams: Cell::new(0),
            idle_since: Cell::new(Instant::now()),
            over,
            _open: Open::new(&target.state),
        });
        let place = Place::on(&carrier);
        self.open.borrow_mut().entry(target.state.id).or_default().push(carrier);
        Ok(place)
    }

    /// Lets go of what ended, and of what has been idle for so long.
    pub fn sweep(&self, idle: Duration) {
        let rests = |one: &Carrier| one.n_streams.get() == 0 && one.idle_since.get().elapsed() >= idle;
        let mut open = self.open.borrow_mut();
        for carriers in open.values_mut() {
            carriers.retain(|one| !one.over.get() && !rests(one));
        }
        open.retain(|_, carriers| !carriers.is_empty());
    }
}

impl Place {
    fn on(carrier: &Rc<Carrier>) -> Self {
        carrier.n_streams.set(carrier.n_streams.get() + 1);
        Self(Rc::clone(carrier))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.n_streams.set(self.0.n_streams.get() - 1);
        self.0.idle_since.set(Instant::now());
    }
}

impl Forward<'_> {
    pub(super) async fn exchange_http2(
        &self,
        target: &Target,
        head: &request::Parts,
        body: RequestBody,
    ) -> Result<Response<Body>, Failed> {
        let multiplexed = &self.pools.multiplexed;
        let mut body = body;
        if let Some(place) = multiplexed.take(target) {
            match self.over_http2(target, place, head, body).await {
                // It may have ended just as it was taken.
                Err(Failed { fault: Fault::Broken, again: Some(again) }) => body = again,
                done => return done,
            }
        }
        let connecting = multiplexed.connect(target, self.pools.header_bytes());
        match timeout(self.timeouts.upstream_connect, connecting).await {
            Ok(Ok(place)) => self.over_http2(target, place, head, body).await,
            Ok(Err(error)) => {
                tracing::debug!(upstream = %target.name, %error, "cannot connect");
                Err(Failed { fault: Fault::ConnectFailed, again: Some(body) })
            }
            Err(_) => Err(Failed { fault: Fault::ConnectTimeout, again: Some(body) }),
        }
    }

    async fn over_http2(
        &self,
        target: &Target,
        place: Place,
        head: &request::Parts,
        body: RequestBody,
    ) -> Result<Response<Body>, Failed> {
        let Ok(mut request) = to_http2(head, target.is_tls()) else {
            return Err(Failed::for_good(Fault::Broken));
        };
        if let Some(length) = body.size_hint().exact().filter(|length| *length > 0) {
            request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        let again = body.again();
        let patience = self.timeouts.upstream_response_head;
        let mut requests = place.0.requests.clone();
        // An upstream that has as many streams as it wants lets us wait here.
        let ready = match timeout(patience, poll_fn(|cx| requests.poll_ready(cx))).await {
            Ok(ready) => ready,
            Err(_) => return Err(Failed::for_good(Fault::ResponseTimeout)),
        };
        let is_end = body.is_end_stream();
        let sent = ready.and_then(|()| requests.send_request(request, is_end));
        let (answer, sender) = match sent {
            Ok(sent) => sent,
            Err(error) => {
                tracing::debug!(upstream = %target.name, %error, "not sent");
                place.0.over.set(true);
                return Err(Failed { fault: Fault::Broken, again: Some(body) });
            }
        };
        let progress = Rc::new(Progress { at: Cell::new(Instant::now()), body_failed: Cell::new(None) });
        // HTTP/1's connection is read by one task: the exchange's own, which polls the pump too.
        let is_http1 = body.client().is_some();
        let mut pumping: Option<Pumping> = None;
        if !is_end {
            let pump = pump(sender, body, Rc::clone(&progress));
            if is_http1 {
                pumping = Some(Box::pin(pump));
            } else {
                drive(pump);
            }
        }
        match head_of(answer, &mut pumping, &progress, patience).await {
            Ok(answer) => {
                let (mut answer, recv) = answer.into_parts();
                answer.version = Version::HTTP_11;
                strip_hop_by_hop(&mut answer.headers);
                let announced = answer.headers.get(CONTENT_LENGTH);
                let left_bytes = announced.and_then(|length| length.to_str().ok()?.parse().ok());
                let idle = self.timeouts.upstream_response_idle;
                let body = Streamed {
                    stream: Stream::new(recv, left_bytes),
                    pumping,
                    idle,
                    timer: Timer::default(),
                    since: None,
                    _place: place,
                    pending: None,
                };
                Ok(Response::from_parts(answer, Body::Streamed(Box::new(body))))
            }
            Err(Unanswered { fault, is_unprocessed }) => {
                let safe = is_unprocessed || is_idempotent(&head.method);
                Err(Failed { fault, again: again.filter(|_| safe && fault == Fault::Broken) })
            }
        }
    }
}

/// The request's body on its way.
type Pumping = Pin<Box<dyn Future<Output = ()>>>;

fn poll_pump(pumping: &mut Option<Pumping>, cx: &mut Context<'_>) {
    if pumping.as_mut().is_some_and(|pump| pump.as_mut().poll(cx).is_ready()) {
        *pumping = None;
    }
}

/// How far it is.
struct Progress {
    at: Cell<Instant>,
    body_failed: Cell<Option<Fault>>,
}

struct Unanswered {
    fault: Fault,
    /// The upstream says that it did nothing with the request (RFC 9113 section 8.7).
    is_unprocessed: bool,
}

/// `patience` without progress is a fault.
async fn head_of(
    answer: ResponseFuture,
    pumping: &mut Option<Pumping>,
    progress: &Progress,
    patience: Duration,
) -> Result<Response<RecvStream>, Unanswered> {
    let mut answer = pin!(answer);
    loop {
        let due = progress.at.get() + patience;
        let answered = poll_fn(|cx| {
            poll_pump(pumping, cx);
            answer.as_mut().poll(cx)
        });
        match timeout_at(due, answered).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => {
                tracing::debug!(%error, "no answer");
                let fault = progress.body_failed.get().unwrap_or(Fault::Broken);
                let is_unprocessed = error.is_remote() && error.reason() == Some(Reason::REFUSED_STREAM);
                return Err(Unanswered { fault, is_unprocessed });
            }
            Err(_) if progress.at.get() + patience > due => {}
            Err(_) => return Err(Unanswered { fault: Fault::ResponseTimeout, is_unprocessed: false }),
        }
    }
}

/// RFC 9113 section 8.3.1; without what belongs to one hop, but with the one TE that is allowed.
fn to_http2(head: &request::Parts, is_tls: bool) -> Result<Request<()>, hyper::http::Error> {
    let mut request = Request::new(());
    let authority = head.headers.get(HOST).map(HeaderValue::as_bytes).unwrap_or_default();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = Uri::builder()
        .scheme(if is_tls { "https" } else { "http" })
        .authority(authority)
        .path_and_query(path)
        .build()?;
    *request.method_mut() = head.method.clone();
    *request.version_mut() = Version::HTTP_2;
    let headers = request.headers_mut();
    *headers = head.headers.clone();
    headers.remove(HOST);
    headers.remove(UPGRADE);
    headers.insert(TE, HeaderValue::from_static("trailers"));
    Ok(request)
}

/// Sends a body to its end, as far as windows allow; the answer may be there before.
async fn pump(mut sender: SendStream<Bytes>, body: RequestBody, progress: Rc<Progress>) {
    let mut body = pin!(body);
    loop {
        let Some(()) = window(&mut sender, 1).await.map(drop) else { return };
        let piece = poll_fn(|cx| match sender.poll_reset(cx) {
            Poll::Ready(_) => Poll::Ready(None),
            Poll::Pending => body.as_mut().poll_frame(cx).map(Some),
        });
        let Some(piece) = piece.await else { return };
        progress.at.set(Instant::now());
        let sent = match piece {
            None => sender.send_data(Bytes::new(), true),
            Some(Err(error)) => {
                progress.body_failed.set(Some(error.fault()));
                return sender.send_reset(Reason::CANCEL);
            }
            Some(Ok(frame)) => match frame.into_data() {
                Ok(chunk) => {
                    if send(&mut sender, chunk, &progress).await.is_none() {
                        return;
                    }
                    continue;
                }
                Err(frame) => match frame.into_trailers() {
                    Ok(trailers) => sender.send_trailers(trailers),
                    Err(_) => continue,
                },
            },
        };
        if let Err(error) = sent {
            tracing::debug!(%error, "the request's end was not sent");
        }
        return;
    }
}

/// None: nobody reads on.
async fn send(sender: &mut SendStream<Bytes>, mut chunk: Bytes, progress: &Progress) -> Option<()> {
    while !chunk.is_empty() {
        let window = window(sender, chunk.len()).await?;
        sender.send_data(chunk.split_to(window.min(chunk.len())), false).ok()?;
        progress.at.set(Instant::now());
    }
    Some(())
}

async fn window(sender: &mut SendStream<Bytes>, wanted: usize) -> Option<usize> {
    sender.reserve_capacity(wanted);
    while sender.capacity() == 0 {
        let opened = poll_fn(|cx| match sender.poll_reset(cx) {
            Poll::Ready(_) => Poll::Ready(None),
            Poll::Pending => sender.poll_capacity(cx),
        });
        opened.await?.ok()?;
    }
    Some(sender.capacity())
}

/// The body of an answer over HTTP/2.
pub(in crate::proxy) struct Streamed {
    stream: Stream,
    pumping: Option<Pumping>,
    idle: Duration,
    timer: Timer,
    /// Waiting for the upstream since.
    since: Option<Instant>,
    _place: Place,
    /// In flight until the body's end.
    pending: Option<Judged>,
}

impl Streamed {
    /// Counts as in flight until its end.
    pub fn counted(&mut self, judged: Judged) {
        if self.stream.is_end_stream() {
            judged.whole();
        } else {
            self.pending = Some(judged);
        }
    }

    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        poll_pump(&mut self.pumping, cx);
        let Poll::Ready(piece) = self.stream.poll_frame(cx) else {
            ready!(self.poll_idle(cx));
            self.broke(&BodyError::Idle);
            return Poll::Ready(Some(Err(BodyError::Idle)));
        };
        self.since = None;
        match &piece {
            // What we reset ourselves is the request's own failure.
            Some(Err(error)) if error.is_remote() || error.is_io() || error.is_library() => {
                self.broke(error);
            }
            Some(Err(_)) => self.pending = None,
            Some(Ok(_)) if !self.stream.is_end_stream() => {}
            Some(Ok(_)) | None => self.pending.take().map_or((), Judged::whole),
        }
        Poll::Ready(piece.map(|piece| piece.map_err(Into::into)))
    }

    fn broke(&mut self, why: &dyn std::fmt::Display) {
        if let Some(judged) = self.pending.take() {
            judged.broke(why);
        }
    }

    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let since = *self.since.get_or_insert_with(Instant::now);
        self.timer.poll(cx, since + self.idle)
    }

    pub fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    pub fn size_hint(&self) -> SizeHint {
        self.stream.size_hint()
    }
}
