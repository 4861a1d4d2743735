//! Which subjects are told in a flush: all that wait while there is room, and where there is not, those
//! with most. Load on the store is bounded whatever the attack.

use super::Subject;
use super::entry::Entry;

/// One that waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Due {
    pub subject: Subject,
    is_exact: bool,
    is_hot: bool,
    pending: u32,
}

impl Due {
    pub fn new(subject: Subject, entry: &Entry, now_ns: u64) -> Self {
        let (is_exact, is_hot) = (entry.is_exact(now_ns), entry.is_hot(now_ns));
        Self { subject, is_exact, is_hot, pending: entry.pending }
    }
}

/// What the gate let through, and what it held back though it was hot.
pub(super) struct Passed {
    pub now: Vec<Due>,
    pub cold: Vec<Due>,
    pub deferred: u64,
}

/// Chooses at most `room` of `due`.
pub(super) fn pass(due: Vec<Due>, room: usize) -> Passed {
    if due.len() <= room {
        return Passed { now: due, cold: Vec::new(), deferred: 0 };
    }
    let (mut now, mut cold): (Vec<_>, Vec<_>) = due.into_iter().partition(|one| one.is_hot);
    let order = |one: &Due| std::cmp::Reverse((one.is_exact, one.pending));
    if now.len() > room {
        let deferred = (now.len() - room) as u64;
        now.select_nth_unstable_by_key(room, order);
        now.truncate(room);
        return Passed { now, cold, deferred };
    }
    // What room the hot ones leave is the cold ones' with most.
    let left = room - now.len();
    if left > 0 && left < cold.len() {
        cold.select_nth_unstable_by_key(left, order);
        now.extend(cold.drain(..left));
    }
    Passed { now, cold, deferred: 0 }
}
