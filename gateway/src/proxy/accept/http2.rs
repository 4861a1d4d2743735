//! HTTP/2 on a client's connection: one task drives it, one more each stream. The h2 crate knows the
//! protocol; bounds, deadlines and the patience with a client that wastes our time are ours ([`watch`]).

mod frames;
mod preface;
mod stream;
mod watch;
mod websocket;

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream};
use hyper::Request;
use tokio::sync::watch::Receiver;
use tokio::time::{Instant, timeout};

pub(super) use self::preface::{Beginning, beginning};
pub use self::stream::HEADS;
use self::stream::{Serving, serve};
use self::watch::{Watch, Watched};
use super::Worker;
use crate::proxy::connection::Connection;
use crate::proxy::exchange::charge_malformed;
use crate::proxy::stream::Stream;
use crate::proxy::timer::Timer;
use crate::proxy::{Bounds, Timeouts};

/// What a client may have sent that nobody has read yet, on a stream and on all.
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 128 << 10;
/// Bytes of one stream that were handed on and wait for the socket.
const SEND_BYTES: usize = 64 << 10;
/// RFC 9113 section 4.2, its least.
const FRAME_BYTES: u32 = 16 << 10;
/// Streams that were reset before they were seen, and by whose fault; beyond it the connection ends
/// (rapid reset, made-you-reset).
const RESETS_UNSEEN: usize = 20;
const RESETS_BY_FAULT: usize = 100;
/// Streams whose reset is remembered, and how long: late frames of theirs are no fault.
const RESETS_KEPT: usize = 32;
const RESET_KEPT: Duration = Duration::from_secs(1);
/// From GOAWAY on an idle connection to its end.
const LEAVE: Duration = Duration::from_secs(1);

/// Memory of a connection beside what one of HTTP/1 takes: windows, what waits for the socket, what waits
/// for the client's window, tables and buffers of the h2 crate.
pub const CONNECTION_BYTES: u64 =
    (CONNECTION_WINDOW as u64) + (watch::HANDED_BYTES as u64) + (watch::HELD_BYTES as u64) + (64 << 10);

/// Serves a connection to its end; HTTP/2 was agreed by ALPN, or its preface seen.
pub(super) async fn http2(worker: &Rc<Worker>, stream: Stream, over: Connection, mut drain: Receiver<bool>) {
    let snapshot = worker.shared.snapshot.load_full();
    let (bounds, timeouts) = (snapshot.bounds, snapshot.timeouts);
    drop(snapshot);
    let watch = Rc::new(Watch::new(Instant::now()));
    let over = Rc::new(over);
    let shaking = builder(&bounds).handshake::<_, Bytes>(Watched::new(stream, Rc::clone(&watch)));
    let connection = match timeout(timeouts.request_head, shaking).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return ended(worker, &over, &watch, Some(&error)),
        Err(_) => {
            worker.shared.metrics.closed("request_head").inc();
            return;
        }
    };
    let streams = Rc::new(Serving::new(worker, &over, &watch, timeouts, bounds));
    let mut driven = Driven { connection, watch, timeouts, timer: Timer::default(), leaving: None };
    loop {
        let happened = tokio::select! {
            happened = poll_fn(|cx| driven.poll(cx)) => happened,
            _ = drain.wait_for(|drain| *drain), if driven.leaving.is_none() => Happened::Leave,
        };
        match happened {
            Happened::Request(request, mut respond) => match StreamPlace::take(worker, &bounds) {
                Some(place) => {
                    tokio::task::spawn_local(serve(Rc::clone(&streams), place, *request, respond));
                }
                None => respond.send_reset(Reason::REFUSED_STREAM),
            },
            Happened::Faults(count) => {
                for _ in 0..count {
                    worker.shared.metrics.malformed("h2_stream").inc();
                    charge_malformed(worker, over.peer);
                }
            }
            Happened::Leave => {
                driven.leaving = Some(Instant::now());
                driven.connection.graceful_shutdown();
            }
            Happened::Left => return driven.goodbye(Reason::NO_ERROR).await,
            Happened::Due(reason) => {
                worker.shared.metrics.closed(reason).inc();
                charge_malformed(worker, over.peer);
                return driven.goodbye(Reason::ENHANCE_YOUR_CALM).await;
            }
            Happened::Flood(reason) => {
                worker.shared.metrics.closed(reason).inc();
                charge_flood(worker, &over);
                return driven.goodbye(Reason::ENHANCE_YOUR_CALM).await;
            }
            Happened::Ended(error) => return ended(worker, &over, &driven.watch, error.as_ref()),
        }
    }
}

fn builder(bounds: &Bounds) -> Builder {
    let mut builder = Builder::new();
    builder
        .enable_connect_protocol()
        .max_concurrent_streams(bounds.streams)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME_BYTES)
        .max_header_list_size(bounds.header_bytes)
        .max_send_buffer_size(SEND_BYTES)
        .max_pending_accept_reset_streams(RESETS_UNSEEN)
        .max_local_error_reset_streams(Some(RESETS_BY_FAULT))
        .max_concurrent_reset_streams(RESETS_KEPT)
        .reset_stream_duration(RESET_KEPT);
    builder
}

/// A stream's place among all that are open; given back when dropped.
struct StreamPlace(Rc<Worker>);

impl StreamPlace {
    /// None: as many are open as may; counted.
    fn take(worker: &Rc<Worker>, bounds: &Bounds) -> Option<Self> {
        let shared = &worker.shared;
        if shared.streams.fetch_add(1, Ordering::AcqRel) >= bounds.all_streams {
            shared.streams.fetch_sub(1, Ordering::AcqRel);
            shared.metrics.streams_refused.inc();
            return None;
        }
        shared.metrics.streams.inc();
        Some(Self(Rc::clone(worker)))
    }
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        self.0.shared.streams.fetch_sub(1, Ordering::AcqRel);
        self.0.shared.metrics.streams.dec();
    }
}

/// What its frames would have cost as requests: who floods again is over its limit at once, and shed.
fn charge_flood(worker: &Rc<Worker>, over: &Connection) {
    for _ in 0..watch::NUISANCE_MAX {
        charge_malformed(worker, over.peer);
    }
}

/// Tells and charges what the h2 crate ended a connection for.
fn ended(worker: &Rc<Worker>, over: &Connection, watch: &Watch, error: Option<&h2::Error>) {
    watch.close();
    let Some(error) = error.filter(|error| !error.is_io() && !error.is_remote()) else { return };
    tracing::debug!(%error, "HTTP/2 connection ended");
    if error.reason() == Some(Reason::ENHANCE_YOUR_CALM) {
        worker.shared.metrics.closed("h2_calm").inc();
        charge_flood(worker, over);
    } else {
        worker.shared.metrics.malformed("h2").inc();
        charge_malformed(worker, over.peer);
    }
}

/// A connection with its deadlines.
struct Driven {
    connection: h2::server::Connection<Watched, Bytes>,
    watch: Rc<Watch>,
    timeouts: Timeouts,
    timer: Timer,
    /// Since GOAWAY.
    leaving: Option<Instant>,
}

enum Happened {
    Request(Box<Request<RecvStream>>, SendResponse<Bytes>),
    /// So many streams were reset by the client's fault.
    Faults(u32),
    /// Time to say GOAWAY.
    Leave,
    /// Said long enough ago.
    Left,
    /// A deadline passed.
    Due(&'static str),
    /// Too many frames that are no work.
    Flood(&'static str),
    Ended(Option<h2::Error>),
}

impl Driven {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Happened> {
        self.watch.driven_by(cx.waker());
        let accepted = self.connection.poll_accept(cx);
        if let Some(reason) = self.watch.flooded() {
            return Poll::Ready(Happened::Flood(reason));
        }
        match accepted {
            Poll::Ready(Some(Ok((request, respond)))) => {
                return Poll::Ready(Happened::Request(Box::new(request), respond));
            }
            Poll::Ready(Some(Err(error))) => return Poll::Ready(Happened::Ended(Some(error))),
            Poll::Ready(None) => return Poll::Ready(Happened::Ended(None)),
            Poll::Pending => {}
        }
        match self.watch.take_faults() {
            0 => self.poll_deadline(cx),
            faults => Poll::Ready(Happened::Faults(faults)),
        }
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<Happened> {
        let Some((due, happens)) = self.deadline() else { return Poll::Pending };
        self.timer.poll(cx, due).map(|()| happens)
    }

    /// The deadline that runs out first.
    fn deadline(&self) -> Option<(Instant, Happened)> {
        let watch = &self.watch;
        let writing = watch
            .writing_since()
            .map(|since| (since + self.timeouts.response_write_idle, Happened::Due("response_write_idle")));
        let block = watch
            .block_since()
            .map(|since| (since + self.timeouts.request_head, Happened::Due("request_head")));
        let idle = watch.idle_since().map(|since| match self.leaving {
            Some(left) => (left.max(since) + LEAVE, Happened::Left),
            None => (since + self.timeouts.keep_alive, Happened::Leave),
        });
        [writing, block, idle].into_iter().flatten().min_by_key(|(due, _)| *due)
    }

    /// GOAWAY, as far as the socket takes it at once.
    async fn goodbye(mut self, reason: Reason) {
        self.watch.close();
        self.connection.abrupt_shutdown(reason);
        let closing = poll_fn(|cx| self.connection.poll_closed(cx));
        match timeout(LEAVE, closing).await {
            Ok(Ok(())) | Err(_) => {}
            Ok(Err(error)) => tracing::debug!(%error, "no goodbye"),
        }
    }
}
