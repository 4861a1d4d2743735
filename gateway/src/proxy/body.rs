//! Bodies in both directions: streamed, bounded in bytes and in the time between two pieces.

mod timed;

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use http_body::{Frame, SizeHint};
use prometheus_client::metrics::counter::Counter;

use self::timed::Timed;
use super::compress::Packed;
use super::forward::{Answer, Judged, Streamed, Switched};
use super::http1::{Broken, Lines, Received, keep_trailers};
use super::respond::Fault;
use super::timer::{Deadline, Pace, Timer};

/// Of a response: ours, or the upstream's as it comes.
pub(super) enum Body {
    Empty,
    Full(Option<Bytes>),
    Upstream(Box<Answer>),
    /// The same over HTTP/2.
    Streamed(Box<Streamed>),
    /// Behind a 101: the upstream's connection itself.
    Tunnel(Box<Switched>),
    /// Any of them, with a deadline.
    Timed(Box<Timed>),
    /// Any of them, as gzip.
    Packed(Box<Packed>),
}

/// Why an answer's body is not whole.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error(transparent)]
    Broken(#[from] Broken),
    #[error(transparent)]
    Http2(#[from] h2::Error),
    #[error("the upstream stopped sending")]
    Idle,
    #[error("the request's time in all is over")]
    Late,
    #[error("not compressed: {0}")]
    Packing(#[from] std::io::Error),
}

impl Body {
    /// Cut where it is not through by then.
    pub fn until(self, deadline: Deadline, late: &Counter) -> Self {
        match self {
            Self::Empty | Self::Full(_) => self,
            Self::Tunnel(mut switched) => {
                switched.until = Some(deadline);
                Self::Tunnel(switched)
            }
            other => Self::Timed(Box::new(Timed::new(other, deadline, Counter::clone(late)))),
        }
    }

    pub fn is_tunnel(&self) -> bool {
        matches!(self, Self::Tunnel(_))
    }

    /// Counts as in flight until its end.
    pub fn counted(mut self, judged: Judged) -> Self {
        match &mut self {
            Self::Upstream(answer) => answer.counted(judged),
            Self::Streamed(answer) => answer.counted(judged),
            Self::Tunnel(switched) => switched.counted(judged),
            Self::Empty | Self::Full(_) | Self::Timed(_) | Self::Packed(_) => {}
        }
        self
    }

    /// Fields of the head that stand in no map; for who writes it.
    pub fn take_lines(&mut self) -> Option<Lines> {
        match self {
            Self::Upstream(answer) => answer.take_lines(),
            Self::Timed(timed) => timed.take_lines(),
            Self::Empty | Self::Full(_) | Self::Streamed(_) | Self::Tunnel(_) | Self::Packed(_) => None,
        }
    }

    pub fn full(bytes: Bytes) -> Self {
        if bytes.is_empty() { Self::Empty } else { Self::Full(Some(bytes)) }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Empty | Self::Tunnel(_) => Poll::Ready(None),
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            // An error cuts the connection: a client must never take half an answer for a whole one.
            Self::Upstream(answer) => answer.poll_frame(cx),
            Self::Streamed(answer) => answer.poll_frame(cx),
            Self::Timed(timed) => timed.poll_frame(cx),
            Self::Packed(packed) => packed.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty | Self::Tunnel(_) => true,
            Self::Full(bytes) => bytes.is_none(),
            Self::Upstream(answer) => answer.is_end_stream(),
            Self::Streamed(answer) => answer.is_end_stream(),
            Self::Timed(timed) => timed.is_end_stream(),
            Self::Packed(packed) => packed.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty | Self::Tunnel(_) => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Upstream(answer) => answer.size_hint(),
            Self::Streamed(answer) => answer.size_hint(),
            Self::Timed(timed) => timed.size_hint(),
            Self::Packed(_) => SizeHint::default(),
        }
    }
}

/// A request's body as its connection brings it.
pub(super) enum Source {
    /// There is none.
    None,
    Http1(Received),
    Http2(Stream),
}

impl Source {
    pub fn size_hint(&self) -> SizeHint {
        match self {
            Self::None => SizeHint::with_exact(0),
            Self::Http1(received) => received.size_hint(),
            Self::Http2(stream) => stream.size_hint(),
        }
    }
}

/// Of a request, on its way to the upstream.
pub(super) struct RequestBody {
    source: Source,
    left_bytes: Option<u64>,
    pace: Pace,
    /// Armed while a piece is awaited.
    timer: Timer,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum RequestBodyError {
    #[error("the body is larger than bounds.body_bytes")]
    TooLarge,
    #[error("the body stopped coming, or came too slowly")]
    Idle,
    #[error(transparent)]
    Http1(#[from] Broken),
    #[error(transparent)]
    Http2(#[from] h2::Error),
}

impl RequestBodyError {
    pub fn fault(&self) -> Fault {
        match self {
            Self::TooLarge => Fault::RequestTooLarge,
            Self::Idle => Fault::RequestTooSlow,
            Self::Http1(_) | Self::Http2(_) => Fault::RequestBody,
        }
    }
}

impl RequestBody {
    pub fn new(source: Source, bound_bytes: Option<u64>, pace: Pace) -> Self {
        Self { source, left_bytes: bound_bytes, pace, timer: Timer::default() }
    }

    /// The body of a second attempt; None where the first takes the body with it.
    pub fn again(&self) -> Option<Self> {
        let source = match self.client() {
            Some(received) => Source::Http1(received),
            None => Source::None,
        };
        http_body::Body::is_end_stream(self).then(|| Self::new(source, None, Pace::new(Duration::ZERO, 0)))
    }

    /// The client's connection, where interim answers can be written to it.
    pub fn client(&self) -> Option<Received> {
        match &self.source {
            Source::Http1(received) => Some(Received::clone(received)),
            Source::None | Source::Http2(_) => None,
        }
    }

    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        match &mut self.source {
            Source::None => Poll::Ready(None),
            Source::Http1(received) => received.poll_body(cx).map_err(Into::into),
            Source::Http2(stream) => stream.poll_frame(cx).map_err(Into::into),
        }
    }

    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let due = self.pace.due();
        self.timer.poll(cx, due)
    }

    fn take_bytes(&mut self, frame: &Frame<Bytes>) -> Result<(), RequestBodyError> {
        let Some(data) = frame.data_ref() else { return Ok(()) };
        self.pace.moved(data.len());
        let Some(left) = self.left_bytes else { return Ok(()) };
        self.left_bytes = Some(left.checked_sub(data.len() as u64).ok_or(RequestBodyError::TooLarge)?);
        Ok(())
    }
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        match self.poll_source(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let taken = self.take_bytes(&frame);
                Poll::Ready(Some(taken.map(|()| frame)))
            }
            Poll::Ready(other) => Poll::Ready(other),
            Poll::Pending => {
                ready!(self.poll_idle(cx));
                Poll::Ready(Some(Err(RequestBodyError::Idle)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::None => true,
            Source::Http1(received) => received.is_body_done(),
            Source::Http2(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.source.size_hint()
    }
}

/// A body of HTTP/2, of either side.
pub(super) struct Stream {
    recv: RecvStream,
    /// Of what was announced; the h2 crate holds the peer to it.
    left_bytes: Option<u64>,
}

impl Stream {
    pub fn new(recv: RecvStream, announced_bytes: Option<u64>) -> Self {
        Self { recv, left_bytes: announced_bytes }
    }

    /// DATA, and the trailers behind it.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        match ready!(self.recv.poll_data(cx)) {
            Some(Ok(bytes)) => {
                // Who takes it comes back for more when the other side has taken it.
                self.recv.flow_control().release_capacity(bytes.len())?;
                self.left_bytes = self.left_bytes.map(|left| left.saturating_sub(bytes.len() as u64));
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Some(Err(error)) => Poll::Ready(Some(Err(error))),
            None => {
                let trailers = ready!(self.recv.poll_trailers(cx))?;
                Poll::Ready(trailers.map(|mut trailers| {
                    keep_trailers(&mut trailers);
                    Ok(Frame::trailers(trailers))
                }))
            }
        }
    }

    pub fn is_end_stream(&self) -> bool {
        self.recv.is_end_stream()
    }

    pub fn size_hint(&self) -> SizeHint {
        self.left_bytes.map_or(SizeHint::default(), SizeHint::with_exact)
    }
}
