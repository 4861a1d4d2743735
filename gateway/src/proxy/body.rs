//! Bodies in both directions: streamed, bounded in bytes and in the time between two pieces.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep};

use super::forward::{Pending, Returning};

/// Of a response: ours, or the upstream's as it comes.
pub(super) enum Body {
    Empty,
    Full(Option<Bytes>),
    Upstream(Box<Upstream>),
}

/// An upstream's body; its end gives the connection back to the pool.
pub(super) struct Upstream {
    pub incoming: Incoming,
    pub returning: Option<Returning>,
    /// In flight until the body's end.
    pub pending: Option<Pending>,
}

impl Body {
    /// Counts as in flight until its end.
    pub fn counted(mut self, pending: Pending) -> Self {
        if let Self::Upstream(upstream) = &mut self
            && !upstream.incoming.is_end_stream()
        {
            upstream.pending = Some(pending);
        }
        self
    }

    pub fn full(bytes: Bytes) -> Self {
        if bytes.is_empty() { Self::Empty } else { Self::Full(Some(bytes)) }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Upstream(upstream) => {
                let polled = ready!(Pin::new(&mut upstream.incoming).poll_frame(cx));
                if polled.is_none() || upstream.incoming.is_end_stream() {
                    upstream.give_back();
                }
                // An error cuts the connection: a client must never take half an answer for a whole one.
                Poll::Ready(polled)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_none(),
            Self::Upstream(upstream) => upstream.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Upstream(upstream) => upstream.incoming.size_hint(),
        }
    }
}

impl Upstream {
    fn give_back(&mut self) {
        if let Some(returning) = self.returning.take() {
            returning.give_back();
        }
        self.pending = None;
    }
}

/// Of a request, on its way to the upstream.
pub(super) struct RequestBody {
    /// None: there is none, and never was.
    incoming: Option<Incoming>,
    left_bytes: Option<u64>,
    idle: Duration,
    /// Armed while a piece is awaited.
    timer: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum RequestBodyError {
    #[error("the body is larger than bounds.body_bytes")]
    TooLarge,
    #[error("the body stopped coming")]
    Idle,
    #[error(transparent)]
    Client(#[from] hyper::Error),
}

impl RequestBody {
    pub fn new(incoming: Incoming, bound_bytes: Option<u64>, idle: Duration) -> Self {
        Self { incoming: Some(incoming), left_bytes: bound_bytes, idle, timer: None }
    }

    pub fn empty() -> Self {
        Self { incoming: None, left_bytes: None, idle: Duration::ZERO, timer: None }
    }

    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let idle = self.idle;
        self.timer.get_or_insert_with(|| Box::pin(sleep(idle))).as_mut().poll(cx)
    }

    fn take_bytes(&mut self, frame: &Frame<Bytes>) -> Result<(), RequestBodyError> {
        let Some(data) = frame.data_ref() else { return Ok(()) };
        if let Some(timer) = &mut self.timer {
            timer.as_mut().reset(Instant::now() + self.idle);
        }
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
        let Some(incoming) = &mut self.incoming else { return Poll::Ready(None) };
        match Pin::new(incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let taken = self.take_bytes(&frame);
                Poll::Ready(Some(taken.map(|()| frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                ready!(self.poll_idle(cx));
                Poll::Ready(Some(Err(RequestBodyError::Idle)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or(SizeHint::with_exact(0), http_body::Body::size_hint)
    }
}
