//! One stream: its request made what HTTP/1's would be, the same exchange, and the answer pumped as far
//! as the client's window and the socket allow, with a floor on the pace.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use hyper::header::{CONNECTION, CONTENT_LENGTH, COOKIE, DATE, EXPECT, HOST, HeaderValue, TRANSFER_ENCODING};
use hyper::http::request;
use hyper::http::response::Parts;
use hyper::{HeaderMap, Method, Request, Response};
use tokio::time::timeout_at;

use super::StreamPlace;
use super::watch::Watch;
use super::websocket;
use crate::proxy::accept::Worker;
use crate::proxy::body::{self, Body, BodyError, Source};
use crate::proxy::connection::Connection;
use crate::proxy::exchange::{charge_malformed, exchange};
use crate::proxy::forward::Switched;
use crate::proxy::respond::{Rejection, continue_100, has_no_body, reject};
use crate::proxy::timer::Pace;
use crate::proxy::{Bounds, Timeouts};

/// Heads of requests that wait for their answers, in times of `bounds.header_bytes`.
pub const HEADS: usize = 2;

/// What the streams of a connection have in common.
pub(super) struct Serving {
    worker: Rc<Worker>,
    over: Rc<Connection>,
    watch: Rc<Watch>,
    write_idle: Duration,
    tunnel_idle: Duration,
    bytes_a_second: u64,
    head_bytes: std::cell::Cell<usize>,
    head_bytes_max: usize,
    headers_max: usize,
}

impl Serving {
    pub fn new(
        worker: &Rc<Worker>,
        over: &Rc<Connection>,
        watch: &Rc<Watch>,
        timeouts: Timeouts,
        bounds: Bounds,
    ) -> Self {
        Self {
            worker: Rc::clone(worker),
            over: Rc::clone(over),
            watch: Rc::clone(watch),
            write_idle: timeouts.response_write_idle,
            tunnel_idle: timeouts.upstream_response_idle,
            bytes_a_second: bounds.client_bytes_a_second,
            head_bytes: std::cell::Cell::new(0),
            head_bytes_max: HEADS * bounds.header_bytes as usize,
            headers_max: bounds.headers as usize,
        }
    }

    fn pace(&self) -> Pace {
        Pace::new(self.write_idle, self.bytes_a_second)
    }
}

/// Serves a stream to its end.
pub(super) async fn serve(
    serving: Rc<Serving>,
    _place: StreamPlace,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) {
    let _open = serving.watch.open();
    // What was taken back before its turn, or came with a flood, reaches nobody.
    let was_reset = poll_fn(|cx| Poll::Ready(respond.poll_reset(cx).is_ready())).await;
    if was_reset || serving.watch.is_closing() {
        return charge_malformed(&serving.worker, serving.over.peer);
    }
    let Some(held) = Head::take(&serving, &request) else {
        return respond.send_reset(Reason::REFUSED_STREAM);
    };
    if request.headers().contains_key(EXPECT)
        && !request.body().is_end_stream()
        && let Err(error) = respond.send_informational(continue_100())
    {
        tracing::debug!(%error, "no 100");
    }
    let is_head = request.method() == Method::HEAD;
    let (mut head, received) = request.into_parts();
    if let Err(reason) = as_of_http1(&mut head, serving.headers_max) {
        serving.worker.shared.metrics.malformed(reason).inc();
        charge_malformed(&serving.worker, serving.over.peer);
        let (head, body) = reject(&Rejection::Malformed(reason)).into_parts();
        return send(&serving, &mut respond, head, body, is_head).await;
    }
    let Some(key) = websocket::as_get(&mut head) else {
        let source = source(received, &head.headers);
        let Some(response) = answer(&serving, Request::from_parts(head, source), &mut respond).await else {
            return;
        };
        let (head, body) = response.into_parts();
        return send(&serving, &mut respond, head, body, is_head).await;
    };
    let Some(response) = answer(&serving, Request::from_parts(head, Source::None), &mut respond).await else {
        return;
    };
    drop(held);
    match websocket::answered(&key, response) {
        (head, Err(body)) => send(&serving, &mut respond, head, body, is_head).await,
        (head, Ok(switched)) => tunnel(&serving, &mut respond, head, received, switched).await,
    }
}

async fn send(
    serving: &Serving,
    respond: &mut SendResponse<Bytes>,
    mut head: Parts,
    body: Body,
    is_head: bool,
) {
    to_client(&mut head, &serving.worker);
    let length = http_body::Body::size_hint(&body).exact();
    // An upstream's answer to HEAD has no body and the length that GET would have.
    if let Some(length) = length.filter(|length| !has_no_body(head.status) && (!is_head || *length > 0)) {
        head.headers.entry(CONTENT_LENGTH).or_insert(HeaderValue::from(length));
    }
    let is_end = is_head || has_no_body(head.status) || http_body::Body::is_end_stream(&body);
    match respond.send_response(Response::from_parts(head, ()), is_end) {
        Ok(_) if is_end => {}
        Ok(sender) => Pump { pace: serving.pace(), serving, sender }.run(body).await,
        Err(error) => {
            tracing::debug!(%error, "the answer's head cannot be sent");
            respond.send_reset(Reason::INTERNAL_ERROR);
        }
    }
}

async fn tunnel(
    serving: &Serving,
    respond: &mut SendResponse<Bytes>,
    mut head: Parts,
    received: RecvStream,
    switched: Box<Switched>,
) {
    to_client(&mut head, &serving.worker);
    match respond.send_response(Response::from_parts(head, ()), false) {
        Ok(sender) => {
            let pump = Pump { pace: serving.pace(), serving, sender };
            if let Some(label) = websocket::tunnel(pump, received, switched, serving.tunnel_idle).await {
                serving.worker.shared.metrics.closed(label).inc();
            }
        }
        Err(error) => {
            tracing::debug!(%error, "the tunnel's head cannot be sent");
            respond.send_reset(Reason::INTERNAL_ERROR);
        }
    }
}

/// None: the client took the request back.
async fn answer(
    serving: &Serving,
    request: Request<Source>,
    respond: &mut SendResponse<Bytes>,
) -> Option<Response<Body>> {
    let exchanging = exchange(Rc::clone(&serving.worker), Rc::clone(&serving.over), request);
    let mut exchanging = pin!(exchanging);
    poll_fn(|cx| match respond.poll_reset(cx) {
        Poll::Ready(_) => Poll::Ready(None),
        Poll::Pending => exchanging.as_mut().poll(cx).map(Some),
    })
    .await
}

/// RFC 9113 sections 8.3.1 and 8.2.3: `:authority` is Host, and crumbs of a cookie are one line.
fn as_of_http1(head: &mut request::Parts, headers_max: usize) -> Result<(), &'static str> {
    if head.headers.len() > headers_max {
        return Err("headers");
    }
    if let Some(authority) = head.uri.authority() {
        let named = HeaderValue::from_str(authority.as_str()).map_err(|_| "target")?;
        let agrees = |line: &HeaderValue| line.as_bytes().eq_ignore_ascii_case(named.as_bytes());
        if !head.headers.get_all(HOST).iter().all(agrees) {
            return Err("host_differs");
        }
        if !head.headers.contains_key(HOST) {
            head.headers.insert(HOST, named);
        }
    }
    join_cookies(&mut head.headers);
    Ok(())
}

fn source(received: RecvStream, headers: &HeaderMap) -> Source {
    if received.is_end_stream() {
        return Source::None;
    }
    let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    Source::Http2(body::Stream::new(received, announced))
}

fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<_> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() < 2 {
        return;
    }
    if let Ok(whole) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(COOKIE, whole);
    }
}

/// What HTTP/2 forbids goes (RFC 9113 section 8.2.2), what every answer has comes.
fn to_client(head: &mut Parts, worker: &Worker) {
    for name in [CONNECTION, TRANSFER_ENCODING] {
        head.headers.remove(name);
    }
    if !head.headers.contains_key(DATE)
        && let Some(date) = worker.date.value()
    {
        head.headers.insert(DATE, date);
    }
}

/// A request's head among those that wait for their answers.
struct Head<'a> {
    serving: &'a Serving,
    bytes: usize,
}

impl<'a> Head<'a> {
    /// None: too many bytes wait already.
    fn take(serving: &'a Serving, request: &Request<RecvStream>) -> Option<Self> {
        // As RFC 9113 section 6.5.2 counts them.
        let lines = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 32);
        let bytes = lines.sum::<usize>() + request.uri().path().len();
        let taken = serving.head_bytes.get() + bytes;
        if taken > serving.head_bytes_max && serving.head_bytes.get() > 0 {
            return None;
        }
        serving.head_bytes.set(taken);
        Some(Self { serving, bytes })
    }
}

impl Drop for Head<'_> {
    fn drop(&mut self) {
        self.serving.head_bytes.set(self.serving.head_bytes.get() - self.bytes);
    }
}

/// An answer's body on its way.
pub(super) struct Pump<'a> {
    serving: &'a Serving,
    sender: SendStream<Bytes>,
    /// Waiting for the client's window.
    pace: Pace,
}

/// Nothing more is to be done for the stream.
pub(super) struct Over;

impl Pump<'_> {
    async fn run(mut self, body: Body) {
        // How it ended, the stream knows.
        match self.pump(pin!(body)).await {
            Ok(()) | Err(Over) => {}
        }
    }

    async fn pump(&mut self, mut body: Pin<&mut Body>) -> Result<(), Over> {
        loop {
            self.makes_room().await?;
            let frame = match self.next(body.as_mut()).await? {
                None => return self.sender.send_data(Bytes::new(), true).map_err(|_| Over),
                // Half an answer must never be taken for a whole one.
                Some(Err(_)) => return self.give_up(Reason::INTERNAL_ERROR),
                Some(Ok(frame)) => frame,
            };
            match frame.into_data() {
                Ok(chunk) if chunk.is_empty() => {}
                Ok(chunk) => {
                    if self.send(chunk, body.as_ref()).await? {
                        return Ok(());
                    }
                }
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        return self.sender.send_trailers(trailers).map_err(|_| Over);
                    }
                }
            }
        }
    }

    /// Sends a chunk in as many pieces as windows want; true: it was the last.
    async fn send(&mut self, mut chunk: Bytes, body: Pin<&Body>) -> Result<bool, Over> {
        let mut held = self.serving.watch.hold(chunk.len());
        loop {
            let window = self.window(chunk.len()).await?;
            self.serving.watch.way().await;
            let piece = chunk.split_to(window.min(chunk.len()));
            let length = piece.len();
            let is_end = chunk.is_empty() && http_body::Body::is_end_stream(&*body);
            self.sender.send_data(piece, is_end).map_err(|_| Over)?;
            held.hand_on(length);
            self.pace.moved(length);
            if chunk.is_empty() {
                return Ok(is_end);
            }
        }
    }

    /// What the client's window allows of `wanted`, at least 1; the stream ends for one that keeps us
    /// waiting.
    async fn window(&mut self, wanted: usize) -> Result<usize, Over> {
        self.sender.reserve_capacity(wanted);
        if self.sender.capacity() > 0 {
            return Ok(self.sender.capacity());
        }
        let due = self.pace.due();
        let opened = poll_fn(|cx| {
            loop {
                if self.sender.poll_reset(cx).is_ready() {
                    return Poll::Ready(None);
                }
                match std::task::ready!(self.sender.poll_capacity(cx)) {
                    Some(Ok(0)) => {}
                    Some(Ok(window)) => return Poll::Ready(Some(window)),
                    Some(Err(_)) | None => return Poll::Ready(None),
                }
            }
        });
        let opened = timeout_at(due, opened).await;
        match opened {
            Ok(window) => window.ok_or(Over),
            Err(_) => {
                self.serving.worker.shared.metrics.closed("h2_window_stalled").inc();
                charge_malformed(&self.serving.worker, self.serving.over.peer);
                self.give_up(Reason::CANCEL)?;
                Err(Over)
            }
        }
    }

    /// The body's next piece, unless the client takes the request back first.
    async fn next(
        &mut self,
        mut body: Pin<&mut Body>,
    ) -> Result<Option<Result<http_body::Frame<Bytes>, BodyError>>, Over> {
        poll_fn(|cx| {
            if self.sender.poll_reset(cx).is_ready() {
                return Poll::Ready(Err(Over));
            }
            http_body::Body::poll_frame(body.as_mut(), cx).map(Ok)
        })
        .await
    }

    /// Until something may be fetched that could go on.
    pub async fn makes_room(&mut self) -> Result<(), Over> {
        self.window(1).await?;
        self.serving.watch.room().await;
        Ok(())
    }

    pub fn is_taken_back(&mut self, cx: &mut Context<'_>) -> bool {
        self.sender.poll_reset(cx).is_ready()
    }

    /// One that is not the last.
    pub async fn send_piece(&mut self, piece: Bytes) -> Result<(), Over> {
        self.send(piece, Pin::new(&Body::Full(Some(Bytes::new())))).await.map(drop)
    }

    pub fn end(&mut self) -> Result<(), Over> {
        self.sender.send_data(Bytes::new(), true).map_err(|_| Over)
    }

    pub fn reset(&mut self, reason: Reason) {
        self.sender.send_reset(reason);
    }

    fn give_up(&mut self, reason: Reason) -> Result<(), Over> {
        self.reset(reason);
        Err(Over)
    }
}
