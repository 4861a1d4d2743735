//! What all requests of one API share on their way to its upstreams. It outlives the snapshot: a reload
//! neither fills the retries' budget nor forgets who waits.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize};

use super::budget::Budget;
use super::queue::Queue;

#[derive(Default)]
pub(super) struct Group {
    /// Whose turn it is.
    pub next: AtomicUsize,
    pub budget: Budget,
    pub queue: Queue,
    pub ejections: AtomicU64,
    /// Held while one is ejected, so that two workers do not eject more than the share together. Whoever
    /// does not get it leaves that to the next failure: nobody waits.
    pub ejecting: Mutex<()>,
}
