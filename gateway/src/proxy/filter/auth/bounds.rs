//! What auth keeps from one snapshot to the next: how many requests wait for slow work, and for how long
//! each may.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::hmac::{self, Nonces};
use super::passwords::{self, Passwords};
use crate::model::AuthBounds;

/// One for the process.
#[derive(Debug, Default)]
pub struct Kept {
    bounds: ArcSwap<AuthBounds>,
    waiting: AtomicU32,
    pub(super) passwords: Arc<Passwords>,
    pub(super) nonces: Arc<Nonces>,
}

/// A place among those that wait; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    kept: Arc<Kept>,
    pub most: Duration,
}

impl Kept {
    /// Takes other bounds; who waits goes on.
    pub fn publish(&self, bounds: AuthBounds) {
        self.bounds.store(Arc::new(bounds));
    }

    /// Starts the threads that check passwords. `now_ns` is the clock of requests.
    pub fn start(&self, now_ns: fn() -> u64) -> std::io::Result<()> {
        self.passwords.start(now_ns)
    }

    /// Passwords that are remembered, and how many may be.
    pub fn passwords(&self) -> (usize, usize) {
        (self.passwords.remembered(), passwords::REMEMBERED)
    }

    /// Nonces that are remembered, and how many may be.
    pub fn nonces(&self) -> (usize, usize) {
        (self.nonces.len(), hmac::NONCES)
    }

    /// Threads that check passwords.
    pub const PASSWORD_THREADS: u64 = passwords::THREADS as u64;

    /// Bytes that what is remembered takes at most.
    pub const BYTES: u64 = (passwords::REMEMBERED * 96 + hmac::NONCES * 48) as u64;

    /// Requests that wait now.
    pub fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// How many may.
    pub fn waiting_most(&self) -> u32 {
        self.bounds.load().waiting
    }

    /// None where as many wait as may.
    pub(super) fn admit(self: &Arc<Self>) -> Option<Permit> {
        let bounds = self.bounds.load();
        let took = self.waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, |waiting| {
            (waiting < bounds.waiting).then_some(waiting + 1)
        });
        took.ok().map(|_| Permit { kept: Arc::clone(self), most: bounds.wait })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.kept.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}
