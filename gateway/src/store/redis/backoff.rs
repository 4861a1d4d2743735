//! How long to wait before the next try: doubling, bounded, and never the same on two nodes.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(50);
/// Low enough that a promotion is noticed within two seconds.
const MOST: Duration = Duration::from_millis(700);
/// A wrong password is tried seldom: Redis logs each, and only a person can mend it.
const DENIED_FIRST: Duration = Duration::from_secs(1);
const DENIED_MOST: Duration = Duration::from_secs(30);

/// Tries in a row without success.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    broken: u32,
    denied: u32,
}

impl Backoff {
    pub fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// After a connection that broke or could not be had.
    pub fn broken(&mut self) -> Duration {
        self.broken = self.broken.saturating_add(1);
        spread(doubled(FIRST, self.broken, MOST))
    }

    /// After one that was not let in.
    pub fn denied(&mut self) -> Duration {
        self.denied = self.denied.saturating_add(1);
        spread(doubled(DENIED_FIRST, self.denied, DENIED_MOST))
    }
}

fn doubled(first: Duration, tries: u32, most: Duration) -> Duration {
    let factor = 1u32.checked_shl(tries.saturating_sub(1)).unwrap_or(u32::MAX);
    first.saturating_mul(factor).min(most)
}

/// Half of it to all of it, at random.
pub(super) fn spread(span: Duration) -> Duration {
    // Keys of the standard library's hasher are random for each process, and differ at each call.
    let random = RandomState::new().build_hasher().finish() % 1_024;
    let part = u32::try_from(random).unwrap_or(0);
    span / 2 + span / 2 * part / 1_024
}
