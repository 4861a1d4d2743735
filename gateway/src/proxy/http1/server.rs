//! A client's connection: one request after the other, each answered before the next is read.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body::Body as _;
use hyper::header::{EXPECT, UPGRADE};
use hyper::http::{request, response};
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Version};
use tokio::time::Instant;

use super::Malformed;
use super::encode::{self, Date, Framing, LAST_CHUNK, Persistence};
use super::framing::{Decoder, OTHER_CODING};
use super::head::{self, HeadBounds, HeadError};
use super::link::has_token;
use super::marks::Marks;
use super::tunnel::tunnel;
use super::wire::{Received, Scratch, Wire};
use crate::proxy::body::Body;
use crate::proxy::respond::{Rejection, reject};
use crate::proxy::stream::Stream;
use crate::proxy::timer::{Pace, Timer};

/// After an answer that ends the connection, how long what still comes is read and thrown away: a close
/// with unread bytes is a reset, which may take the answer with it (RFC 9112 section 9.6).
const LINGER: Duration = Duration::from_secs(2);
/// Bytes thrown away meanwhile, or of a body that nobody wanted.
const LINGER_BYTES: usize = 256 * 1024;

#[derive(Clone, Debug)]
pub struct Settings {
    pub head: HeadBounds,
    /// From a head's first byte, or the connection's begin, to the whole head.
    pub request_head: Duration,
    pub keep_alive: Duration,
    pub response_write_idle: Duration,
    pub bytes_a_second: u64,
    pub tunnel_idle: Duration,
    /// After the order to end, how long a request may still come.
    pub parting: Duration,
}

/// How a connection ended.
#[derive(Debug)]
pub enum Ended {
    Closed,
    /// By the client, before it had its answer.
    Gone,
    /// By what is no request.
    Malformed(Rejection),
    /// By a deadline; its label.
    TimedOut(&'static str),
}

/// A connection that is served.
pub struct Server<'a> {
    wire: Rc<RefCell<Wire>>,
    timer: RefCell<Timer>,
    settings: &'a Settings,
    date: &'a Date,
}

/// What the wait for a head brought.
#[expect(clippy::large_enum_variant, reason = "made and taken apart once a request")]
enum Next {
    Request(Request<()>, Marks),
    Refused(Rejection),
    Ended(Ended),
}

/// How far an answer's body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Open,
    Whole,
    /// It broke: half an answer must never be taken for a whole one.
    Cut,
}

/// A request's own word about the connection, needed when its answer is written.
struct Asked {
    method: Method,
    version: Version,
    persistence: Persistence,
}

impl<'a> Server<'a> {
    pub fn new(stream: Stream, scratch: Scratch, settings: &'a Settings, date: &'a Date) -> Self {
        let wire = Rc::new(RefCell::new(Wire::new(stream, scratch)));
        Self { wire, timer: RefCell::default(), settings, date }
    }

    /// Serves until either side ends. `drain` ready: the running exchange is the last.
    pub async fn serve<F>(
        &self,
        service: impl Fn(Request<Received>) -> F,
        drain: impl Future<Output = ()> + 'static,
    ) -> Ended
    where
        F: Future<Output = Response<Body>>,
    {
        let mut drain = Drain { news: Some(Box::pin(drain)), since: None };
        let mut patience = self.settings.request_head;
        loop {
            let (request, marks) = match self.next(patience, &mut drain).await {
                Next::Request(request, marks) => (request, marks),
                Next::Ended(ended) => return ended,
                Next::Refused(rejection) => return self.refuse(rejection).await,
            };
            let mut asked = Asked::of(&request, marks);
            match self.begin_body(&request, marks) {
                Ok(()) => {}
                Err(rejection) => return self.refuse(rejection).await,
            }
            // Boxed, so that an idle connection holds none of it.
            let exchange = Box::pin(service(request.map(|()| Received::new(&self.wire))));
            let Some(response) = self.unless_gone(exchange).await else { return Ended::Gone };
            if drain.has_come().await {
                asked.persistence = Persistence::Close;
            }
            match self.answer(&asked, response).await {
                Ok(Persistence::Keep | Persistence::KeepTold) => {}
                Ok(Persistence::Close | Persistence::Upgrade) => {
                    self.linger().await;
                    return Ended::Closed;
                }
                Err(ended) => return ended,
            }
            patience = self.settings.keep_alive;
        }
    }

    /// The answer; None: nobody waits for it any more, and the exchange was given up.
    async fn unless_gone<F>(&self, mut exchange: Pin<Box<F>>) -> Option<Response<Body>>
    where
        F: Future<Output = Response<Body>>,
    {
        poll_fn(|cx| match exchange.as_mut().poll(cx) {
            Poll::Ready(response) => Poll::Ready(Some(response)),
            Poll::Pending => self.wire.borrow_mut().poll_gone(cx).map(|()| None),
        })
        .await
    }

    async fn next(&self, patience: Duration, drain: &mut Drain) -> Next {
        let mut since = Instant::now();
        let mut began = !self.wire.borrow().input.is_empty();
        poll_fn(|cx| {
            let wire = &mut *self.wire.borrow_mut();
            loop {
                match head::request(&mut wire.input, &mut wire.scan, &self.settings.head) {
                    Ok(Some((request, marks))) => return Poll::Ready(Next::Request(request, marks)),
                    Ok(None) => {}
                    Err(error) => return Poll::Ready(Next::Refused(error.into())),
                }
                match wire.poll_fill(cx) {
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Next::Ended(Ended::Closed)),
                    Poll::Ready(Ok(_)) if began => {}
                    Poll::Ready(Ok(_)) => {
                        began = true;
                        since = Instant::now();
                    }
                    Poll::Pending => break,
                }
            }
            if let Some(told) = drain.since(cx).filter(|_| !began) {
                // The last request may be on its way: closed at once, it would be lost.
                ready!(self.timer.borrow_mut().poll(cx, told + self.settings.parting));
                return Poll::Ready(Next::Ended(Ended::Closed));
            }
            let (patience, label) =
                if began { (self.settings.request_head, "request_head") } else { (patience, "keep_alive") };
            ready!(self.timer.borrow_mut().poll(cx, since + patience));
            Poll::Ready(Next::Ended(Ended::TimedOut(label)))
        })
        .await
    }

    fn begin_body(&self, request: &Request<()>, marks: Marks) -> Result<(), Rejection> {
        let body = Decoder::of_request(request.version(), request.headers(), marks);
        let body = body.map_err(|malformed| match malformed {
            OTHER_CODING => Rejection::Coding,
            Malformed(reason) => Rejection::Malformed(reason),
        })?;
        let expects = marks.has_expect() && expects_continue(request);
        let mut wire = self.wire.borrow_mut();
        wire.owes_continue = expects && !body.is_done();
        wire.takes_interims = request.version() >= Version::HTTP_11;
        wire.body = body;
        Ok(())
    }

    /// Answers what is no request, and ends.
    async fn refuse(&self, rejection: Rejection) -> Ended {
        let asked = Asked { method: Method::GET, version: Version::HTTP_11, persistence: Persistence::Close };
        self.wire.borrow_mut().body = Decoder::Done;
        if self.answer(&asked, reject(&rejection)).await.is_ok() {
            self.linger().await;
        }
        Ended::Malformed(rejection)
    }

    /// Writes an answer; what the connection does then.
    async fn answer(&self, asked: &Asked, response: Response<Body>) -> Result<Persistence, Ended> {
        let (head, mut body) = response.into_parts();
        let lines = body.take_lines();
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            return self.switch(&head, body).await;
        }
        let framing = Framing::of_answer(&asked.method, head.status, asked.version, &body.size_hint());
        let mut persistence = asked.persistence;
        let unread = self.wire.borrow().owes_continue;
        if has_token(&head.headers, "close") || framing == Framing::UntilClose || unread {
            persistence = Persistence::Close;
        }
        let mut end = if framing.has_body() { End::Open } else { End::Whole };
        {
            let wire = &mut *self.wire.borrow_mut();
            // Nobody waits for it any more.
            wire.owes_continue = false;
            let out = &mut wire.output.encoded;
            encode::answer_head(out, &head, lines.as_ref(), framing, persistence, self.date);
        }
        let mut begun = false;
        let mut pace = Pace::new(self.settings.response_write_idle, self.settings.bytes_a_second);
        poll_fn(|cx| self.poll_answer(cx, &mut body, framing, &mut end, &mut begun, &mut pace)).await?;
        drop(body);
        if persistence != Persistence::Close && !self.discard().await {
            persistence = Persistence::Close;
        }
        Ok(persistence)
    }

    /// Ready when the whole answer is written. What is at hand goes out before more is waited for.
    fn poll_answer(
        &self,
        cx: &mut Context<'_>,
        body: &mut Body,
        framing: Framing,
        end: &mut End,
        begun: &mut bool,
        pace: &mut Pace,
    ) -> Poll<Result<(), Ended>> {
        loop {
            let mut waits = false;
            while *end == End::Open && !waits && !self.wire.borrow().output.is_full() {
                // The body may read from the client's connection, so that it is not borrowed here.
                let polled = Pin::new(&mut *body).poll_frame(cx);
                let output = &mut self.wire.borrow_mut().output;
                match polled {
                    Poll::Pending => waits = true,
                    Poll::Ready(Some(Ok(frame))) => {
                        if frame.is_trailers() {
                            *end = End::Whole;
                        }
                        *begun = true;
                        encode::piece(output, framing, frame);
                    }
                    Poll::Ready(Some(Err(error))) => {
                        tracing::debug!(%error, "answer cut");
                        *end = End::Cut;
                    }
                    Poll::Ready(None) => {
                        *end = End::Whole;
                        if framing == Framing::Chunked {
                            output.encoded.extend_from_slice(LAST_CHUNK);
                        }
                    }
                }
            }
            if waits && !*begun && framing.is_short() {
                // Head and body go out together: the upstream sends the one right behind the other.
                return self.wire.borrow_mut().poll_gone(cx).map(|()| Err(Ended::Gone));
            }
            let flushed = self.wire.borrow_mut().poll_flush(cx, |bytes| pace.moved(bytes));
            match (flushed, *end) {
                (Poll::Ready(Ok(())), End::Whole) => return Poll::Ready(Ok(())),
                (Poll::Ready(Ok(())), End::Cut) => {
                    if framing == Framing::UntilClose {
                        self.wire.borrow().reset();
                    }
                    return Poll::Ready(Err(Ended::Closed));
                }
                (Poll::Ready(Ok(())), End::Open) if waits => {
                    return self.wire.borrow_mut().poll_gone(cx).map(|()| Err(Ended::Gone));
                }
                (Poll::Ready(Ok(())), End::Open) => {}
                (Poll::Ready(Err(_)), _) => return Poll::Ready(Err(Ended::Gone)),
                (Poll::Pending, _) => {
                    ready!(self.timer.borrow_mut().poll(cx, pace.due()));
                    self.wire.borrow().reset();
                    return Poll::Ready(Err(Ended::TimedOut("response_write_idle")));
                }
            }
        }
    }

    /// The connection becomes the upstream's, both ways, until both halves are closed.
    async fn switch(&self, head: &response::Parts, body: Body) -> Result<Persistence, Ended> {
        let Body::Tunnel(upstream) = body else { return Err(Ended::Closed) };
        {
            let wire = &mut *self.wire.borrow_mut();
            let out = &mut wire.output.encoded;
            encode::answer_head(out, head, None, Framing::None, Persistence::Upgrade, self.date);
        }
        let (idle, until) = (self.settings.tunnel_idle, upstream.until);
        tunnel(&self.wire, &upstream.wire, idle, until).await
    }

    /// Reads over what is left of a request's body, if that is little and at hand; else the connection ends.
    async fn discard(&self) -> bool {
        if self.wire.borrow().is_body_done() {
            return true;
        }
        let (mut left, until) = (LINGER_BYTES, Instant::now() + LINGER);
        poll_fn(|cx| {
            loop {
                let polled = self.wire.borrow_mut().poll_body(cx);
                match polled {
                    Poll::Ready(None) => return Poll::Ready(true),
                    Poll::Ready(Some(Err(_))) => return Poll::Ready(false),
                    Poll::Ready(Some(Ok(frame))) => {
                        left = left.saturating_sub(frame.data_ref().map_or(0, bytes::Bytes::len));
                        if left == 0 {
                            return Poll::Ready(false);
                        }
                    }
                    Poll::Pending => {
                        ready!(self.timer.borrow_mut().poll(cx, until));
                        return Poll::Ready(false);
                    }
                }
            }
        })
        .await
    }

    async fn linger(&self) {
        let until = Instant::now() + LINGER;
        let mut left = LINGER_BYTES;
        let mut closing = false;
        poll_fn(|cx| {
            let wire = &mut *self.wire.borrow_mut();
            if !closing {
                match wire.poll_shutdown(cx) {
                    Poll::Ready(Ok(())) => closing = true,
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Pending => {}
                }
            }
            loop {
                match wire.poll_fill(cx) {
                    Poll::Ready(Ok(read)) if read > 0 && left > read => {
                        left -= read;
                        wire.input.clear();
                    }
                    Poll::Ready(Ok(_) | Err(_)) => return Poll::Ready(()),
                    Poll::Pending => break,
                }
            }
            self.timer.borrow_mut().poll(cx, until)
        })
        .await;
    }
}

impl Asked {
    fn of(request: &Request<()>, marks: Marks) -> Self {
        let says = |word| marks.has_connection() && has_token(request.headers(), word);
        let persistence = match request.version() {
            // RFC 9112 section 9.3.
            _ if marks.says_close() || says("close") => Persistence::Close,
            Version::HTTP_10 if marks.says_keep_alive() || says("keep-alive") => Persistence::KeepTold,
            Version::HTTP_10 => Persistence::Close,
            _ => Persistence::Keep,
        };
        Self { method: request.method().clone(), version: request.version(), persistence }
    }
}

/// RFC 9110 section 10.1.1; what else may be expected is refused with the rest of the head's checks.
fn expects_continue(request: &Request<()>) -> bool {
    let mut lines = request.headers().get_all(EXPECT).iter();
    lines.any(|line| line.as_bytes().eq_ignore_ascii_case(b"100-continue"))
        && request.version() >= Version::HTTP_11
}

/// Whether a request asks for WebSocket (RFC 6455 section 4.1): the only protocol that is switched to.
pub fn asks_websocket(request: &request::Parts) -> bool {
    if request.version == Version::HTTP_2 {
        // Whoever made it a GET has read what it says (RFC 8441).
        return request.method == Method::GET && request.extensions.get::<h2::ext::Protocol>().is_some();
    }
    request.method == Method::GET
        && request.version == Version::HTTP_11
        && is_websocket(&request.headers)
        && has_token(&request.headers, "upgrade")
}

fn is_websocket(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(UPGRADE).iter();
    match (lines.next(), lines.next()) {
        (Some(line), None) => line.as_bytes().eq_ignore_ascii_case(b"websocket"),
        _ => false,
    }
}

impl From<HeadError> for Rejection {
    fn from(error: HeadError) -> Self {
        match error {
            HeadError::Malformed(malformed) => Self::Malformed(malformed.0),
            HeadError::UriTooLong => Self::UriTooLong,
            HeadError::TooLarge => Self::HeadTooLarge,
            HeadError::Version => Self::Version,
        }
    }
}

/// The news that this exchange is the last; kept once it came.
struct Drain {
    news: Option<Pin<Box<dyn Future<Output = ()>>>>,
    since: Option<Instant>,
}

impl Drain {
    /// When it came, if it did.
    fn since(&mut self, cx: &mut Context<'_>) -> Option<Instant> {
        if self.news.as_mut().is_some_and(|news| news.as_mut().poll(cx).is_ready()) {
            self.news = None;
            self.since = Some(Instant::now());
        }
        self.since
    }

    async fn has_come(&mut self) -> bool {
        poll_fn(|cx| Poll::Ready(self.since(cx).is_some())).await
    }
}
