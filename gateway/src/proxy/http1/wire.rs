//! One connection's bytes: what came and was not read yet, what is to go out, and the body that is being
//! read. Both sides use it. Buffers exist only while they hold something.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use hyper::{HeaderMap, StatusCode};
use tokio::io::AsyncWrite as _;
use tokio_util::io::poll_read_buf;

use super::Malformed;
use super::encode::interim_head;
use super::framing::{Decoder, Step};
use super::head::Scan;
use super::output::Output;
use crate::proxy::stream::Stream;

/// Bytes of one read at most: large, so that a large body costs few.
const READ_BYTES: usize = 65_536;
/// Room that a read finds at least.
const ROOM_BYTES: usize = READ_BYTES / 2;
/// What one read brought is copied up to this; more is kept where it was read, and keeps all of the place's
/// [`READ_BYTES`] until it is written.
const COPIED_BYTES_MAX: usize = 4_096;

/// Bytes of further requests that are read while one is answered, to learn whether the client is there.
const AHEAD_BYTES: usize = 16_384;

/// Where a worker's connections read into before they know how much there is: idle ones hold no buffer.
/// Its place is used again once what was read there is written.
#[derive(Clone, Default)]
pub struct Scratch(Rc<RefCell<BytesMut>>);

impl Scratch {
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads once behind `input`: how many bytes, 0 at the end.
    fn poll_read(
        &self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
        input: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        let place = &mut *self.0.borrow_mut();
        if place.capacity() < ROOM_BYTES {
            place.reserve(READ_BYTES);
        }
        let read = ready!(poll_read_buf(Pin::new(stream), cx, place))?;
        if input.is_empty() && read > COPIED_BYTES_MAX {
            *input = place.split();
        } else {
            input.extend_from_slice(place);
            place.clear();
        }
        Poll::Ready(Ok(read))
    }
}

/// Why a body is not whole.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("the connection ended before the body")]
    Truncated,
    #[error(transparent)]
    Io(#[from] io::Error),
}

pub struct Wire {
    stream: Stream,
    scratch: Scratch,
    pub(super) input: BytesMut,
    pub(super) scan: Scan,
    pub(super) output: Output,
    /// Of the message that is being read.
    pub(super) body: Decoder,
    /// A 100 (Continue) is owed before the body is read.
    pub(super) owes_continue: bool,
    /// The peer knows interim answers (1xx).
    pub(super) takes_interims: bool,
    ended: bool,
}

impl Wire {
    pub fn new(stream: Stream, scratch: Scratch) -> Self {
        Self {
            stream,
            scratch,
            input: BytesMut::new(),
            scan: Scan::default(),
            output: Output::default(),
            body: Decoder::Done,
            owes_continue: false,
            takes_interims: false,
            ended: false,
        }
    }

    /// Reads once behind what came already: how many bytes, 0 at the end.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.ended {
            return Poll::Ready(Ok(0));
        }
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
        let read = ready!(self.scratch.poll_read(cx, &mut self.stream, &mut self.input))?;
        self.ended = read == 0;
        Poll::Ready(Ok(read))
    }

    /// Ready once the peer has closed, or its half: nobody waits for an answer. Looked at behind a whole
    /// message only, and as long as no more than [`AHEAD_BYTES`] came behind it.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.body.is_done() {
            return Poll::Pending;
        }
        while self.input.len() < AHEAD_BYTES {
            match ready!(self.poll_fill(cx)) {
                Ok(0) | Err(_) => return Poll::Ready(()),
                Ok(_) => {}
            }
        }
        Poll::Pending
    }

    /// Writes what waits.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>, moved: impl FnMut(usize)) -> Poll<io::Result<()>> {
        self.output.poll_flush(cx, &mut self.stream, moved)
    }

    /// The next piece of the body that is being read.
    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        loop {
            match self.body.decode(&mut self.input) {
                Ok(Step::Frame(frame)) => {
                    self.owes_continue = false;
                    return Poll::Ready(Some(Ok(frame)));
                }
                Ok(Step::Done) => {
                    self.body = Decoder::Done;
                    return Poll::Ready(None);
                }
                Ok(Step::More) => {}
                Err(malformed) => return Poll::Ready(Some(Err(malformed.into()))),
            }
            if std::mem::take(&mut self.owes_continue) && self.input.is_empty() {
                self.output.encoded.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            }
            // What the peer waits for goes out before we wait for it; what it does not take must not keep us
            // from reading.
            match self.poll_flush(cx, |_| {})? {
                Poll::Ready(()) | Poll::Pending => {}
            }
            if ready!(self.poll_fill(cx))? == 0 {
                if !self.body.ends_with_connection() {
                    return Poll::Ready(Some(Err(Broken::Truncated)));
                }
                self.body = Decoder::Done;
            }
        }
    }

    /// Whether the body was read to its end.
    pub fn is_body_done(&self) -> bool {
        self.body.is_done()
    }

    pub fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }

    /// Whether the peer closed or sent what nobody asked for, without waiting.
    pub(super) fn is_quiet(&mut self) -> bool {
        if self.ended || !self.input.is_empty() {
            return false;
        }
        let mut cx = Context::from_waker(std::task::Waker::noop());
        self.poll_fill(&mut cx).is_pending()
    }

    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    /// Ends with a reset, so that half an answer that would end with the connection is not taken for one.
    pub fn reset(&self) {
        let socket = socket2::SockRef::from(self.stream.socket());
        if let Err(error) = socket.set_linger(Some(std::time::Duration::ZERO)) {
            tracing::debug!(%error, "cannot reset");
        }
    }

    /// Bytes to write. Only when nothing waits.
    pub fn put(&mut self, bytes: Bytes) {
        self.output.push(bytes, b"");
    }

    pub fn has_input(&self) -> bool {
        !self.input.is_empty()
    }

    /// Bytes that came and were not read.
    pub fn take_input(&mut self) -> BytesMut {
        std::mem::take(&mut self.input)
    }
}

/// The body of a request on a client's connection; its reader and the answer's writer take turns.
#[derive(Clone)]
pub struct Received(Rc<RefCell<Wire>>);

impl Received {
    pub(super) fn new(wire: &Rc<RefCell<Wire>>) -> Self {
        Self(Rc::clone(wire))
    }

    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.0.borrow_mut().poll_body(cx)
    }

    /// Passes an interim answer on, before the one that counts.
    pub(super) fn interim(&self, cx: &mut Context<'_>, status: StatusCode, headers: &HeaderMap) {
        let wire = &mut *self.0.borrow_mut();
        if !wire.takes_interims || wire.output.is_full() {
            return;
        }
        interim_head(&mut wire.output.encoded, status, headers);
        // An error shows again when the answer is written.
        match wire.poll_flush(cx, |_| {}) {
            Poll::Ready(_) | Poll::Pending => {}
        }
    }

    pub fn is_body_done(&self) -> bool {
        self.0.borrow().is_body_done()
    }

    pub fn size_hint(&self) -> SizeHint {
        self.0.borrow().size_hint()
    }
}
