//! What goes over an HTTP/2 connection, frame by frame: how much of it is no work (floods of frames that
//! ask for nothing), how long a block of headers takes, what waits for the socket. Decides; closes nothing.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::frames::{
    CONTINUATION, DATA, Frame, Frames, HEADERS, PING, PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE,
};
use crate::proxy::stream::Stream;

/// Frames that are no work: a connection may have sent so many more than were forgotten and earned.
pub(super) const NUISANCE_MAX: u32 = 200;
/// Forgotten a second.
const NUISANCE_PER_S: u32 = 20;
/// A stream that we must reset by the client's fault costs as much as so many frames.
const FAULT: u32 = 2;
/// Bytes that were handed to the h2 crate since the socket had taken all.
pub(super) const HANDED_BYTES: usize = 64 << 10;
/// Bytes of answers that wait for the client's window, of all streams.
pub(super) const HELD_BYTES: usize = 128 << 10;
/// An answer's bytes for which a client may send one WINDOW_UPDATE.
const UPDATE_BYTES: usize = 4 << 10;

/// A connection's account.
pub(super) struct Watch {
    coming: RefCell<Frames>,
    going: RefCell<Frames>,
    in_headers: Cell<bool>,
    block_since: Cell<Option<Instant>>,
    writing_since: Cell<Option<Instant>>,
    nuisance: Cell<u32>,
    forgotten_at: Cell<Instant>,
    flooded: Cell<Option<&'static str>>,
    faults: Cell<u32>,
    is_closing: Cell<bool>,
    n_open: Cell<usize>,
    idle_since: Cell<Instant>,
    handed: Cell<usize>,
    held: Cell<usize>,
    driver: RefCell<Option<Waker>>,
    /// Streams that wait for room; at most `bounds.streams`.
    waiting: RefCell<Vec<Waker>>,
}

impl Watch {
    pub fn new(now: Instant) -> Self {
        Self {
            coming: RefCell::new(Frames::of_client()),
            going: RefCell::new(Frames::of_server()),
            in_headers: Cell::new(false),
            block_since: Cell::new(None),
            writing_since: Cell::new(None),
            nuisance: Cell::new(0),
            forgotten_at: Cell::new(now),
            flooded: Cell::new(None),
            faults: Cell::new(0),
            is_closing: Cell::new(false),
            n_open: Cell::new(0),
            idle_since: Cell::new(now),
            handed: Cell::new(0),
            held: Cell::new(0),
            driver: RefCell::new(None),
            waiting: RefCell::new(Vec::new()),
        }
    }

    pub fn driven_by(&self, waker: &Waker) {
        let mut driver = self.driver.borrow_mut();
        if !driver.as_ref().is_some_and(|driver| driver.will_wake(waker)) {
            *driver = Some(waker.clone());
        }
    }

    /// What it is a flood of, once it is one.
    pub fn flooded(&self) -> Option<&'static str> {
        self.flooded.get()
    }

    /// Streams that were reset by the client's fault since the last call.
    pub fn take_faults(&self) -> u32 {
        self.faults.take()
    }

    /// No stream begins any more.
    pub fn close(&self) {
        self.is_closing.set(true);
    }

    pub fn is_closing(&self) -> bool {
        self.is_closing.get()
    }

    /// Since when a frame or a block of headers is coming that has not come whole.
    pub fn block_since(&self) -> Option<Instant> {
        self.block_since.get()
    }

    /// Since when the socket takes nothing.
    pub fn writing_since(&self) -> Option<Instant> {
        self.writing_since.get()
    }

    /// Since when no stream is open.
    pub fn idle_since(&self) -> Option<Instant> {
        (self.n_open.get() == 0).then(|| self.idle_since.get())
    }

    /// Counts a stream until it is dropped.
    pub fn open(self: &Rc<Self>) -> Open {
        self.n_open.set(self.n_open.get() + 1);
        Open(Rc::clone(self))
    }

    /// Until the socket has taken enough of what was handed on, and streams hold less.
    pub async fn room(&self) {
        poll_fn(|cx| {
            if self.handed.get() < HANDED_BYTES && self.held.get() < HELD_BYTES {
                return Poll::Ready(());
            }
            self.waiting.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// As [`Watch::room`], for who holds bytes already.
    pub async fn way(&self) {
        poll_fn(|cx| {
            if self.handed.get() < HANDED_BYTES {
                return Poll::Ready(());
            }
            self.waiting.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    pub fn hold(self: &Rc<Self>, bytes: usize) -> Held {
        self.held.set(self.held.get() + bytes);
        Held { watch: Rc::clone(self), bytes }
    }

    fn wake_waiting(&self) {
        self.waiting.borrow_mut().drain(..).for_each(Waker::wake);
    }

    /// Bytes from the client; false: a flood, and nothing of it is to be read.
    fn came(&self, bytes: &[u8], now: Instant) -> bool {
        let mut coming = self.coming.borrow_mut();
        coming.feed(bytes, |frame| self.frame_came(&frame, now));
        let is_within = coming.is_within() || self.in_headers.get();
        self.block_since.set(is_within.then(|| self.block_since.get().unwrap_or(now)));
        self.flooded.get().is_none()
    }

    fn frame_came(&self, frame: &Frame, now: Instant) {
        let flood_of = match frame.kind {
            DATA if frame.is_hollow() && !frame.ends_stream() => "h2_empty_data",
            DATA => return self.earn(1),
            HEADERS => return self.in_headers.set(!frame.ends_headers()),
            CONTINUATION => {
                self.in_headers.set(!frame.ends_headers());
                "h2_continuation"
            }
            PRIORITY => "h2_priority",
            RST_STREAM => "h2_reset",
            SETTINGS => "h2_settings",
            PING => "h2_ping",
            WINDOW_UPDATE => "h2_window_update",
            _ => "h2_other",
        };
        self.bother(1, flood_of, now);
    }

    /// A frame to the client.
    fn frame_goes(&self, frame: &Frame, now: Instant) {
        if frame.kind != RST_STREAM {
            return;
        }
        match h2::Reason::from(frame.error_code()) {
            h2::Reason::REFUSED_STREAM => self.bother(1, "h2_refused", now),
            h2::Reason::PROTOCOL_ERROR
            | h2::Reason::FLOW_CONTROL_ERROR
            | h2::Reason::STREAM_CLOSED
            | h2::Reason::FRAME_SIZE_ERROR => {
                self.faults.set(self.faults.get().saturating_add(1));
                self.bother(FAULT, "h2_made_reset", now);
            }
            _ => {}
        }
    }

    fn bother(&self, frames: u32, flood_of: &'static str, now: Instant) {
        let passed = now.saturating_duration_since(self.forgotten_at.get());
        let forgotten = u32::try_from(passed.as_secs()).unwrap_or(u32::MAX).saturating_mul(NUISANCE_PER_S);
        if forgotten > 0 {
            self.forgotten_at.set(now);
        }
        let nuisance = self.nuisance.get().saturating_sub(forgotten).saturating_add(frames);
        self.nuisance.set(nuisance);
        if nuisance > NUISANCE_MAX && self.flooded.get().is_none() {
            self.flooded.set(Some(flood_of));
        }
    }

    /// Work that a client may answer with as many frames.
    fn earn(&self, frames: u32) {
        self.nuisance.set(self.nuisance.get().saturating_sub(frames));
    }
}

/// An open stream.
pub(super) struct Open(Rc<Watch>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.n_open.set(self.0.n_open.get() - 1);
        self.0.idle_since.set(Instant::now());
        if let Some(driver) = &*self.0.driver.borrow() {
            driver.wake_by_ref();
        }
    }
}

/// Bytes of an answer that wait for the client's window.
pub(super) struct Held {
    watch: Rc<Watch>,
    bytes: usize,
}

impl Held {
    /// So many went on to the h2 crate.
    pub fn hand_on(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
        self.watch.held.set(self.watch.held.get().saturating_sub(bytes));
        self.watch.handed.set(self.watch.handed.get() + bytes);
        self.watch.earn(2 + u32::try_from(bytes / UPDATE_BYTES).unwrap_or(u32::MAX));
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.watch.held.set(self.watch.held.get().saturating_sub(self.bytes));
        self.watch.wake_waiting();
    }
}

/// A transport under watch.
pub(super) struct Watched {
    stream: Stream,
    watch: Rc<Watch>,
}

impl Watched {
    pub fn new(stream: Stream, watch: Rc<Watch>) -> Self {
        Self { stream, watch }
    }

    fn wrote<T>(&self, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let since = match &polled {
            Poll::Ready(_) => None,
            Poll::Pending => Some(self.watch.writing_since.get().unwrap_or_else(Instant::now)),
        };
        self.watch.writing_since.set(since);
        polled
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.watch.flooded.get().is_some() {
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let bytes = buffer.filled().get(before..).unwrap_or_default();
        if !self.watch.came(bytes, Instant::now()) {
            // The driver, who is polling us, sees why.
            buffer.set_filled(before);
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if let Poll::Ready(Ok(written)) = &polled {
            let gone = bytes.get(..*written).unwrap_or_default();
            let watch = &self.watch;
            watch.going.borrow_mut().feed(gone, |frame| watch.frame_goes(&frame, Instant::now()));
        }
        self.wrote(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        if let Poll::Ready(Ok(written)) = &polled {
            let mut left = *written;
            let watch = &self.watch;
            for slice in slices {
                let gone = slice.get(..slice.len().min(left)).unwrap_or_default();
                left -= gone.len();
                watch.going.borrow_mut().feed(gone, |frame| watch.frame_goes(&frame, Instant::now()));
            }
        }
        self.wrote(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // TLS takes more than the socket does: then it is the flush that waits.
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        if polled.is_ready() {
            self.watch.handed.set(0);
            self.watch.wake_waiting();
        }
        self.wrote(polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
