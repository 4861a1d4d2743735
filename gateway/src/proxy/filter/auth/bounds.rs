//! What auth keeps from one snapshot to the next: how many requests wait for slow work, and for how long
//! each may.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::hmac::{self, Nonces};
use super::jwt::Tokens;
use super::key_sets::{KeySetFacts, KeySets};
use super::passwords::{self, Passwords};
use crate::model::AuthBounds;

/// One for the process.
pub struct Kept {
    bounds: ArcSwap<AuthBounds>,
    waiting: AtomicU32,
    pub(super) passwords: Arc<Passwords>,
    pub(super) nonces: Arc<Nonces>,
    tokens: ArcSwap<Tokens>,
    pub(super) key_sets: KeySets,
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

    /// Tokens that were verified; none yet where there is to be other room for them than before. No API asks
    /// for it that has none.
    pub(super) fn tokens(&self) -> Arc<Tokens> {
        let (wanted, kept) = (self.bounds.load().tokens, self.tokens.load_full());
        if kept.wanted == wanted {
            return kept;
        }
        let fresh = Arc::new(Tokens::new(wanted));
        self.tokens.store(Arc::clone(&fresh));
        fresh
    }

    /// How many are kept.
    pub fn tokens_kept(&self) -> usize {
        self.tokens.load().kept()
    }

    /// For how many there is room.
    pub fn tokens_most(&self) -> usize {
        self.tokens.load().capacity()
    }

    /// How the sets of keys stand.
    pub fn key_sets(&self) -> Vec<KeySetFacts> {
        self.key_sets.facts()
    }

    /// Has key sets fetched now; returns once they were, with their number.
    pub async fn refresh_key_sets(&self, url: Option<&str>) -> usize {
        self.key_sets.refresh(url).await
    }

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

impl Default for Kept {
    fn default() -> Self {
        Self {
            bounds: ArcSwap::default(),
            tokens: ArcSwap::from_pointee(Tokens::new(0)),
            waiting: AtomicU32::new(0),
            passwords: Arc::default(),
            nonces: Arc::default(),
            key_sets: KeySets::default(),
        }
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("waiting", &self.waiting).finish_non_exhaustive()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.kept.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}
