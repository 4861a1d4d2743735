//! The bounded table of one u64 word a key: the process table (words are TATs), refusal counts,
//! shed levels. Fixed memory from the start: lines of 8 slots of 16 bytes, two lines a key may stand
//! in. A hit is lock-free; a full pair of lines gives up its smallest word, which for TATs is the
//! smallest debt and for moments the oldest. Knows nothing of what the words mean.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

#[cfg(test)]
mod tests;

const SLOTS: usize = 8;
/// Locks for insertion; a key's first line chooses.
const STRIPES: usize = 64;
/// No key: a slot never used.
const EMPTY: u64 = 0;
/// No key: a slot between two owners. ::1:0:0:0:0/64 is unassigned, so no client has this key either.
const CLAIMED: u64 = 1;

/// A fixed number of (key, word) slots shared by all threads.
pub struct Table {
    lines: Box<[Line]>,
    inserting: [Mutex<()>; STRIPES],
    hasher: RandomState,
    used: AtomicU64,
    replaced: AtomicU64,
}

#[derive(Default)]
#[repr(align(64))]
struct Line {
    slots: [Slot; SLOTS],
}

#[derive(Default)]
struct Slot {
    key: AtomicU64,
    word: AtomicU64,
}

impl Table {
    /// Bytes of one entry.
    pub const ENTRY_BYTES: usize = size_of::<Slot>();

    /// Room for at least `entries` keys.
    pub fn new(entries: u32) -> Self {
        Self {
            lines: (0..Self::lines_for(entries)).map(|_| Line::default()).collect(),
            inserting: std::array::from_fn(|_| Mutex::new(())),
            hasher: RandomState::new(),
            used: AtomicU64::new(0),
            replaced: AtomicU64::new(0),
        }
    }

    /// Bytes that a table of `entries` takes, whatever is in it.
    pub fn bytes_for(entries: u32) -> u64 {
        (Self::lines_for(entries) * size_of::<Line>()) as u64
    }

    fn lines_for(entries: u32) -> usize {
        (entries as usize).div_ceil(SLOTS).max(2)
    }

    pub fn capacity(&self) -> u64 {
        (self.lines.len() * SLOTS) as u64
    }

    /// Slots that were ever taken.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Keys that had to make room while their word was above the caller's `dead_below`.
    pub fn replaced(&self) -> u64 {
        self.replaced.load(Ordering::Relaxed)
    }

    /// The word of `key`.
    pub fn read(&self, key: u64) -> Option<u64> {
        self.find(key).map(|slot| slot.word.load(Ordering::Acquire))
    }

    /// Changes the word of `key`, which begins as `dead_below`: a word at or below it is worth no
    /// more than none. `step` gets the present word and answers the new one (None leaves it) and
    /// what to hand back; it may run more than once.
    pub fn update<T>(&self, key: u64, dead_below: u64, mut step: impl FnMut(u64) -> (Option<u64>, T)) -> T {
        loop {
            let slot = match self.find(key) {
                Some(slot) => slot,
                None => self.insert(key, dead_below),
            };
            let present = slot.word.load(Ordering::Acquire);
            let (next, answer) = step(present);
            let Some(next) = next else { return answer };
            let swapped = slot.word.compare_exchange(present, next, Ordering::AcqRel, Ordering::Acquire);
            // A slot that changes its owner gets a new word first, so a swap that won was ours; unless both
            // began at the same word, and then the new owner is charged once for us.
            if swapped.is_ok() {
                return answer;
            }
        }
    }

    /// Sets the word of a key that is there.
    pub fn set_present(&self, key: u64, word: u64) -> bool {
        self.find(key).map(|slot| slot.word.store(word, Ordering::Release)).is_some()
    }

    fn find(&self, key: u64) -> Option<&Slot> {
        let key = legal(key);
        self.pair(key)
            .into_iter()
            .flat_map(|line| &line.slots)
            .find(|slot| slot.key.load(Ordering::Acquire) == key)
    }

    /// A slot that holds `key`. Keys that share a first line are inserted one at a time, so that none stands twice.
    fn insert(&self, key: u64, dead_below: u64) -> &Slot {
        let key = legal(key);
        let _alone = self.stripe(key);
        loop {
            if let Some(slot) = self.find(key) {
                return slot;
            }
            let pair = self.pair(key);
            let slots = pair.into_iter().flat_map(|line| &line.slots);
            let victim = slots
                .filter_map(|slot| match slot.key.load(Ordering::Acquire) {
                    CLAIMED => None,
                    EMPTY => Some((slot, EMPTY, 0)),
                    owner => Some((slot, owner, slot.word.load(Ordering::Acquire))),
                })
                .min_by_key(|(_, owner, word)| (*owner != EMPTY, *word));
            let Some((slot, owner, word)) = victim else {
                std::hint::spin_loop();
                continue;
            };
            if slot.key.compare_exchange(owner, CLAIMED, Ordering::AcqRel, Ordering::Acquire).is_err() {
                continue;
            }
            slot.word.store(dead_below, Ordering::Release);
            slot.key.store(key, Ordering::Release);
            if owner == EMPTY {
                self.used.fetch_add(1, Ordering::Relaxed);
            } else if word > dead_below {
                self.replaced.fetch_add(1, Ordering::Relaxed);
            }
            return slot;
        }
    }

    fn stripe(&self, key: u64) -> MutexGuard<'_, ()> {
        let idx = self.hasher.hash_one(key) as usize % STRIPES;
        let lock = self.inserting.get(idx).expect("an index below STRIPES");
        lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pair(&self, key: u64) -> [&Line; 2] {
        let hash = self.hasher.hash_one(key);
        let n = self.lines.len() as u64;
        let first = ((hash & 0xffff_ffff) * n) >> 32;
        let second = ((hash >> 32) * n) >> 32;
        [first, second]
            .map(|idx| self.lines.get(idx as usize).expect("a product of n and a fraction is below n"))
    }
}

/// The two reserved values stand for each other's neighbour; both are addresses nobody has.
fn legal(key: u64) -> u64 {
    if key <= CLAIMED { key | 2 } else { key }
}
