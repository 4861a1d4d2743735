//! A connection to an upstream: sends a request and reads the answer, both at once, so that an upstream
//! may answer before it has the whole request.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::header::{CONNECTION, CONTENT_LENGTH};
use hyper::http::request;
use hyper::{HeaderMap, Method, Response, StatusCode, Version};
use tokio::time::Instant;

use super::encode::{self, Framing, LAST_CHUNK};
use super::framing::Decoder;
use super::head::{self, Fields, HeadBounds};
use super::lines::Lines;
use super::marks::Marks;
use super::wire::{Broken, Received, Scratch, Wire};
use crate::proxy::body::RequestBody;
use crate::proxy::forward::strip_hop_by_hop;
use crate::proxy::respond::Fault;
use crate::proxy::stream::Stream;
use crate::proxy::timer::Timer;

/// Interim answers (1xx) that are read over or passed on before the one that counts.
const INTERIM_MAX: u32 = 32;

pub struct Link {
    wire: Wire,
    timer: Timer,
    bounds: HeadBounds,
    /// Since when it has had nothing to do.
    idle_since: Instant,
    /// A request was not sent whole, or its answer ends with the connection.
    spent: bool,
    /// The client did not bring the rest of its request: what the upstream makes of that is no fault of it.
    lost_its_request: bool,
}

/// What was sent, as far as a second attempt must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Not a byte: the upstream cannot have acted on it.
    Nothing,
    /// The connection ended before a byte of an answer.
    Unanswered,
    Answered,
}

/// An exchange that failed.
#[derive(Debug)]
pub struct ExchangeError {
    pub fault: Fault,
    pub sent: Sent,
}

/// The answer's head, and what is left of the request's body to send.
pub struct Answered {
    /// Its fields are in `lines` where those are.
    pub head: Response<()>,
    pub marks: Marks,
    pub lines: Option<Lines>,
    pub pump: Option<Pump>,
}

impl Answered {
    /// The connection is another protocol's from here on.
    pub fn switches(&self) -> bool {
        self.head.status() == StatusCode::SWITCHING_PROTOCOLS
    }
}

/// A request's body on its way.
pub struct Pump {
    body: RequestBody,
    framing: Framing,
    /// The body is through; bytes may still wait.
    ended: bool,
}

impl Link {
    pub fn new(stream: Stream, scratch: Scratch, bounds: HeadBounds) -> Self {
        Self {
            wire: Wire::new(stream, scratch),
            timer: Timer::default(),
            bounds,
            idle_since: Instant::now(),
            spent: false,
            lost_its_request: false,
        }
    }

    /// Whether it may carry another exchange: still open, and nothing came that nobody asked for.
    pub fn is_usable(&mut self) -> bool {
        !self.spent && self.wire.is_body_done() && self.wire.is_quiet()
    }

    /// It has nothing to do from now on.
    pub fn rest(&mut self) {
        self.idle_since = Instant::now();
    }

    pub fn has_rested(&self, for_long: Duration) -> bool {
        self.idle_since.elapsed() >= for_long
    }

    /// Sends, and reads the answer's head. `patience` without progress is a fault.
    pub async fn exchange(
        &mut self,
        request: &request::Parts,
        body: RequestBody,
        fields: Fields,
        patience: Duration,
    ) -> Result<Answered, ExchangeError> {
        let framing = Framing::of_request(&request.method, &body.size_hint());
        encode::request_head(&mut self.wire.output.encoded, request, framing);
        let mut state = State {
            client: body.client(),
            pump: Some(Pump { body, framing, ended: !framing.has_body() }),
            sent: 0,
            interims: 0,
            fields,
            since: Instant::now(),
        };
        let head = poll_fn(|cx| self.poll_answer(cx, &mut state, &request.method, patience)).await;
        let head::Answer { head, marks, lines } = head.map_err(|fault| {
            let sent = match (state.sent, self.wire.input.is_empty()) {
                (0, _) => Sent::Nothing,
                (_, true) => Sent::Unanswered,
                (_, false) => Sent::Answered,
            };
            ExchangeError { fault, sent }
        })?;
        self.spent |= !persists(&head, marks) || matches!(self.wire.body, Decoder::UntilClose);
        Ok(Answered { head, marks, lines, pump: state.pump })
    }

    fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
        state: &mut State,
        method: &Method,
        patience: Duration,
    ) -> Poll<Result<head::Answer, Fault>> {
        self.poll_pump(cx, state)?;
        loop {
            let Wire { input, scan, .. } = &mut self.wire;
            match head::answer(input, scan, &self.bounds, state.fields) {
                Ok(Some(answer)) if is_interim(&answer.head) => {
                    state.interims += 1;
                    if state.interims > INTERIM_MAX {
                        return Poll::Ready(Err(Fault::Broken));
                    }
                    state.pass_on(cx, &answer.head);
                    continue;
                }
                Ok(Some(mut answer)) => {
                    let (head, marks) = (&mut answer.head, answer.marks);
                    let body =
                        Decoder::of_answer(method, head.status(), head.version(), head.headers(), marks);
                    self.wire.body = body.map_err(|_| Fault::Broken)?;
                    if let (Decoder::Done, Some(length)) = (&self.wire.body, marks.length()) {
                        // What a GET would bring, told to HEAD and by 304.
                        head.headers_mut().insert(CONTENT_LENGTH, length.into());
                    }
                    return Poll::Ready(Ok(answer));
                }
                Ok(None) => {}
                Err(_) => return Poll::Ready(Err(Fault::Broken)),
            }
            match self.wire.poll_fill(cx) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(Fault::Broken)),
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => {
                    ready!(self.timer.poll(cx, state.since + patience));
                    return Poll::Ready(Err(Fault::ResponseTimeout));
                }
            }
        }
    }

    /// Sends what can be sent. A connection that takes nothing more may still bring an answer, so only the
    /// body's own failure is one here.
    fn poll_pump(&mut self, cx: &mut Context<'_>, state: &mut State) -> Result<(), Fault> {
        let Some(pump) = &mut state.pump else { return Ok(()) };
        let sent_before = state.sent;
        let polled = pump.poll(cx, &mut self.wire, &mut state.sent);
        if state.sent != sent_before {
            state.since = Instant::now();
        }
        match polled {
            Poll::Pending => return Ok(()),
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(PumpError::Body(fault))) => return Err(fault),
            Poll::Ready(Err(PumpError::Upstream)) => self.spent = true,
        }
        state.pump = None;
        Ok(())
    }

    /// The next piece of the answer's body, while the request's goes on.
    pub fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        pump: &mut Option<Pump>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if let Some(running) = pump {
            match running.poll(cx, &mut self.wire, &mut 0) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => *pump = None,
                // The client is gone, or the upstream has read enough.
                Poll::Ready(Err(error)) => {
                    self.lost_its_request = matches!(error, PumpError::Body(_));
                    self.spent = true;
                    *pump = None;
                }
            }
        }
        self.wire.poll_body(cx)
    }

    /// Ready once `due` has passed.
    pub fn poll_due(&mut self, cx: &mut Context<'_>, due: Instant) -> Poll<()> {
        self.timer.poll(cx, due)
    }

    pub fn lost_its_request(&self) -> bool {
        self.lost_its_request
    }

    pub fn is_body_done(&self) -> bool {
        self.wire.is_body_done()
    }

    pub fn size_hint(&self) -> SizeHint {
        self.wire.size_hint()
    }

    /// After a 101: the connection itself.
    pub fn into_wire(self) -> Wire {
        self.wire
    }
}

struct State {
    /// Where interim answers go.
    client: Option<Received>,
    pump: Option<Pump>,
    /// Bytes.
    sent: usize,
    interims: u32,
    /// Of the answer.
    fields: Fields,
    /// The last progress.
    since: Instant,
}

impl State {
    /// 100 (Continue) is between us and the client: its own Expect was not sent on.
    fn pass_on(&self, cx: &mut Context<'_>, answer: &Response<()>) {
        if let Some(client) = self.client.as_ref().filter(|_| answer.status() != StatusCode::CONTINUE) {
            let mut headers = answer.headers().clone();
            strip_hop_by_hop(&mut headers);
            client.interim(cx, answer.status(), &headers);
        }
    }
}

enum PumpError {
    Body(Fault),
    Upstream,
}

impl Pump {
    /// Ready once all is sent.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        wire: &mut Wire,
        sent: &mut usize,
    ) -> Poll<Result<(), PumpError>> {
        loop {
            let mut waits = false;
            while !self.ended && !waits && !wire.output.is_full() {
                match Pin::new(&mut self.body).poll_frame(cx) {
                    Poll::Pending => waits = true,
                    Poll::Ready(Some(Ok(frame))) => {
                        self.ended = frame.is_trailers();
                        encode::piece(&mut wire.output, self.framing, frame);
                    }
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(PumpError::Body(error.fault()))),
                    Poll::Ready(None) => {
                        self.ended = true;
                        if self.framing == Framing::Chunked {
                            wire.output.encoded.extend_from_slice(LAST_CHUNK);
                        }
                    }
                }
            }
            if ready!(wire.poll_flush(cx, |bytes| *sent += bytes)).is_err() {
                return Poll::Ready(Err(PumpError::Upstream));
            }
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            if waits {
                return Poll::Pending;
            }
        }
    }
}

/// 101 is final: the connection is another protocol's from there on.
fn is_interim(answer: &Response<()>) -> bool {
    answer.status().is_informational() && answer.status() != StatusCode::SWITCHING_PROTOCOLS
}

/// RFC 9112 section 9.3.
fn persists(answer: &Response<()>, marks: Marks) -> bool {
    let says = |word| marks.has_connection() && has_token(answer.headers(), word);
    match answer.version() {
        _ if marks.says_close() || says("close") => false,
        Version::HTTP_10 => marks.says_keep_alive() || says("keep-alive"),
        _ => true,
    }
}

/// Whether Connection lists `word`.
pub(super) fn has_token(headers: &HeaderMap, word: &str) -> bool {
    let lines = headers.get_all(CONNECTION).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|token| token.trim().eq_ignore_ascii_case(word))
}
