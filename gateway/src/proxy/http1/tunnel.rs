//! Two connections that became one: bytes go both ways until both halves are closed. A direction holds at
//! most one read.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Instant;

use super::encode::Persistence;
use super::server::Ended;
use super::wire::Wire;
use crate::proxy::timer::{Deadline, Timer};

/// Runs until both halves are closed, either side breaks, nothing moved for `idle`, or `until` is there.
/// `client`'s output may hold the answer that made the tunnel.
pub async fn tunnel(
    client: &RefCell<Wire>,
    upstream: &RefCell<Wire>,
    idle: Duration,
    until: Option<Deadline>,
) -> Result<Persistence, Ended> {
    let (mut up, mut down) = (Half::Open, Half::Open);
    let mut timer = Timer::default();
    let mut moved = Instant::now();
    poll_fn(|cx| {
        let (client, upstream) = (&mut *client.borrow_mut(), &mut *upstream.borrow_mut());
        let progress = match (up.poll(cx, client, upstream), down.poll(cx, upstream, client)) {
            (Ok(up), Ok(down)) => up || down,
            (Err(_), _) | (_, Err(_)) => return Poll::Ready(Err(Ended::Closed)),
        };
        if up == Half::Closed && down == Half::Closed {
            return Poll::Ready(Ok(Persistence::Close));
        }
        if progress {
            moved = Instant::now();
        }
        let idle = (moved + idle, "tunnel_idle");
        let total = until.map(|until| (until.0, "request_total"));
        let (due, label) = total.filter(|total| total.0 < idle.0).unwrap_or(idle);
        ready!(timer.poll(cx, due));
        Poll::Ready(Err(Ended::TimedOut(label)))
    })
    .await
}

/// One direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Half {
    Open,
    /// The reader ended; the writer is still to be told.
    Ending,
    Closed,
}

impl Half {
    /// Moves what can be moved; whether something was.
    fn poll(&mut self, cx: &mut Context<'_>, from: &mut Wire, to: &mut Wire) -> io::Result<bool> {
        let mut progress = false;
        loop {
            match to.poll_flush(cx, |_| progress = true) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => return Ok(progress),
            }
            match self {
                Self::Closed => return Ok(progress),
                Self::Ending => {
                    if to.poll_shutdown(cx)?.is_ready() {
                        *self = Self::Closed;
                    }
                    return Ok(progress);
                }
                Self::Open => {}
            }
            if from.input.is_empty() {
                match from.poll_fill(cx)? {
                    Poll::Ready(0) => *self = Self::Ending,
                    Poll::Ready(_) => progress = true,
                    Poll::Pending => return Ok(progress),
                }
            }
            to.output.encoded = from.take_input();
        }
    }
}
