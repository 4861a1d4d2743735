//! A client's socket with its deadlines: a head that does not come, an idle connection, an answer
//! that is not taken. One timer a connection, armed late: it is only moved when it fires.

use std::cell::Cell;
use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, Sleep, sleep_until};

use super::stream::Stream;
use crate::proxy::body::Body;
use crate::proxy::config::Timeouts;

/// The socket as hyper reads and writes it.
pub struct ClientIo {
    stream: TokioIo<Stream>,
    progress: Rc<Progress>,
    timer: Option<Pin<Box<Sleep>>>,
    request_head: Duration,
    keep_alive: Duration,
    response_write_idle: Duration,
}

/// Where the connection is between two requests; the service and the IO both tell.
pub struct Progress {
    phase: Cell<Phase>,
    writing_since: Cell<Option<Instant>>,
    timed_out: Cell<Option<&'static str>>,
}

#[derive(Clone, Copy)]
enum Phase {
    /// Nothing of a next request has come.
    Idle { since: Instant },
    /// A head is coming.
    Head { since: Instant },
    /// A request is being answered.
    Busy,
}

impl Progress {
    pub fn busy(&self) {
        self.phase.set(Phase::Busy);
    }

    /// The label of the deadline that was missed.
    pub fn timed_out(&self) -> Option<&'static str> {
        self.timed_out.get()
    }

    fn answered(&self) {
        self.phase.set(Phase::Idle { since: Instant::now() });
    }

    fn bytes_came(&self) {
        if let Phase::Idle { .. } = self.phase.get() {
            self.phase.set(Phase::Head { since: Instant::now() });
        }
    }
}

impl ClientIo {
    pub fn new(stream: Stream, timeouts: &Timeouts) -> Self {
        let progress = Progress {
            phase: Cell::new(Phase::Head { since: Instant::now() }),
            writing_since: Cell::new(None),
            timed_out: Cell::new(None),
        };
        Self {
            stream: TokioIo::new(stream),
            progress: Rc::new(progress),
            timer: None,
            request_head: timeouts.request_head,
            keep_alive: timeouts.keep_alive,
            response_write_idle: timeouts.response_write_idle,
        }
    }

    pub fn progress(&self) -> Rc<Progress> {
        Rc::clone(&self.progress)
    }

    /// The deadline that runs now, and its label.
    fn deadline(&self) -> Option<(Instant, &'static str)> {
        if let Some(since) = self.progress.writing_since.get() {
            return Some((since + self.response_write_idle, "response_write_idle"));
        }
        match self.progress.phase.get() {
            Phase::Idle { since } => Some((since + self.keep_alive, "keep_alive")),
            Phase::Head { since } => Some((since + self.request_head, "request_head")),
            Phase::Busy => None,
        }
    }

    /// Ready when the running deadline has passed.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        loop {
            let Some((due, label)) = self.deadline() else { return Poll::Pending };
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
            if timer.deadline() > due {
                timer.as_mut().reset(due);
            }
            ready!(timer.as_mut().poll(cx));
            if due <= Instant::now() {
                self.progress.timed_out.set(Some(label));
                return Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, label));
            }
            timer.as_mut().reset(due);
        }
    }
}

impl hyper::rt::Read for ClientIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_read(cx, buffer) {
            Poll::Ready(read) => {
                // Bytes, or the end: then the phase no longer matters.
                self.progress.bytes_came();
                Poll::Ready(read)
            }
            Poll::Pending => self.poll_deadline(cx).map(Err),
        }
    }
}

impl ClientIo {
    /// What every write ends with: the socket's word, or the deadline of one that takes nothing.
    fn written<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match polled {
            Poll::Ready(done) => {
                self.progress.writing_since.set(None);
                Poll::Ready(done)
            }
            Poll::Pending => {
                if self.progress.writing_since.get().is_none() {
                    self.progress.writing_since.set(Some(Instant::now()));
                }
                self.poll_deadline(cx).map(Err)
            }
        }
    }
}

impl hyper::rt::Write for ClientIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.written(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// An answer's body that tells when it is over.
pub struct Tracked {
    body: Body,
    progress: Rc<Progress>,
}

impl Tracked {
    pub fn new(body: Body, progress: Rc<Progress>) -> Self {
        Self { body, progress }
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.progress.answered();
    }
}

impl http_body::Body for Tracked {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
