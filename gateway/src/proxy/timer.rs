//! One timer a connection, armed late: it is only moved when it fires. A deadline that moves with each
//! request so costs a comparison.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// When something must be over.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(pub Instant);

impl Deadline {
    pub fn within(time: Duration) -> Self {
        Self(Instant::now() + time)
    }
}

#[derive(Debug, Default)]
pub struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timer {
    /// Ready once `due` has passed.
    pub fn poll(&mut self, cx: &mut Context<'_>, due: Instant) -> Poll<()> {
        loop {
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(due)));
            if sleep.deadline() > due {
                sleep.as_mut().reset(due);
            }
            ready!(sleep.as_mut().poll(cx));
            if due <= Instant::now() {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(due);
        }
    }
}

/// Waiting for a peer: how long at once, and how long in all for what it brings or takes. A peer that
/// trickles is within the first and not within the second.
#[derive(Debug)]
pub struct Pace {
    idle: Duration,
    bytes_a_second: u64,
    bytes: u64,
    waited: Duration,
    since: Option<Instant>,
}

impl Pace {
    /// `bytes_a_second` 0: no floor.
    pub fn new(idle: Duration, bytes_a_second: u64) -> Self {
        Self { idle, bytes_a_second, bytes: 0, waited: Duration::ZERO, since: None }
    }

    /// The peer brought or took `bytes`.
    pub fn moved(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes as u64);
        if let Some(since) = self.since.take() {
            self.waited += since.elapsed();
        }
    }

    /// It is waited for from now, or already; when that ends.
    pub fn due(&mut self) -> Instant {
        let since = *self.since.get_or_insert_with(Instant::now);
        let earned = self.bytes.saturating_mul(1_000).checked_div(self.bytes_a_second);
        let left = earned.map(|ms| (self.idle + Duration::from_millis(ms)).saturating_sub(self.waited));
        since + left.map_or(self.idle, |left| left.min(self.idle))
    }
}
