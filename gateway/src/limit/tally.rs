//! What requests did since somebody looked last: by key, how many were admitted and how many came. Fixed
//! memory, written by every worker without a lock, a call or a wait; one reader takes it all out. A note
//! that finds no place is counted and lost: the limit on this node holds all the same.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::model::Limit;

const SLOTS: usize = 8;
const LINES: usize = 512;
const EMPTY: u64 = 0;

/// Two buffers: workers write one of them, and the other is emptied for good a flush later, when nobody
/// can be in the midst of a note.
pub struct Tally {
    buffers: [Box<[Line]>; 2],
    active: AtomicUsize,
    missed: AtomicU64,
}

#[derive(Default)]
#[repr(align(64))]
struct Line {
    keys: [AtomicU64; SLOTS],
    slots: [Slot; SLOTS],
}

#[derive(Default)]
struct Slot {
    /// See [`Word`].
    word: AtomicU64,
    interval: AtomicU64,
    tau_ns: AtomicU64,
}

/// What was noted of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note {
    pub key: u64,
    pub limit: Limit,
    pub admitted: u32,
    /// Refused ones too.
    pub offered: u32,
    /// When the first was admitted; to the millisecond.
    pub first_ns: u64,
    pub from_peer: bool,
}

/// From the low end: admitted and offered in 16 bits each, both saturating; the first one's moment in
/// milliseconds in 31; whether a socket's peer sent it.
#[derive(Clone, Copy)]
struct Word(u64);

const COUNT: u64 = 0xffff;
const MOMENT: u64 = 0x7fff_ffff;
const PEER: u64 = 1 << 63;

impl Tally {
    /// Bytes of one, whatever is in it.
    pub const BYTES: u64 = 2 * (LINES * size_of::<Line>()) as u64;

    pub fn new() -> Self {
        let buffer = || (0..LINES).map(|_| Line::default()).collect();
        Self { buffers: [buffer(), buffer()], active: AtomicUsize::new(0), missed: AtomicU64::new(0) }
    }

    /// Notes a request that was refused.
    pub fn refused(&self, key: u64, limit: &Limit, from_peer: bool, now_ns: u64) {
        self.note(key, limit, from_peer, |word| word.offer(now_ns, 0));
    }

    /// Notes a charge of `n` that was taken.
    pub fn admitted(&self, key: u64, limit: &Limit, n: u64, from_peer: bool, now_ns: u64) {
        self.note(key, limit, from_peer, |word| word.offer(now_ns, n));
    }

    /// Notes that found no place.
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    fn note(&self, key: u64, limit: &Limit, from_peer: bool, change: impl Fn(Word) -> Word) {
        let Some(slot) = self.slot(key) else {
            self.missed.fetch_add(1, Ordering::Relaxed);
            return;
        };
        // Whoever comes first writes it; of two who do at once both write what holds.
        if slot.interval.load(Ordering::Relaxed) == 0 {
            slot.tau_ns.store(limit.tau_ns, Ordering::Relaxed);
            slot.interval.store(limit.interval, Ordering::Release);
        }
        let peer = if from_peer { PEER } else { 0 };
        let changed = |present| Some(change(Word(present)).0 | peer);
        // Always Ok: the change never declines.
        let (Ok(_) | Err(_)) = slot.word.fetch_update(Ordering::AcqRel, Ordering::Relaxed, changed);
    }

    fn slot(&self, key: u64) -> Option<&Slot> {
        if key == EMPTY {
            return None;
        }
        let buffer = self.buffers.get(self.active.load(Ordering::Acquire) & 1)?;
        let spread = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let line = buffer.get(((spread * LINES as u64) >> 32) as usize)?;
        for (held, slot) in line.keys.iter().zip(&line.slots) {
            let present = match held.load(Ordering::Acquire) {
                EMPTY => held.compare_exchange(EMPTY, key, Ordering::AcqRel, Ordering::Acquire),
                present => Err(present),
            };
            if present.map_or_else(|present| present == key, |_| true) {
                return Some(slot);
            }
        }
        None
    }

    /// Takes out what was noted. For one reader.
    pub fn take(&self, now_ns: u64, each: &mut impl FnMut(Note)) {
        if let Some(buffer) = self.buffers.get(self.active.load(Ordering::Acquire) & 1) {
            take(buffer, now_ns, each);
        }
    }

    /// As [`Tally::take`]; then workers write the other buffer. Not to be called again within milliseconds.
    pub fn turn(&self, now_ns: u64, each: &mut impl FnMut(Note)) {
        let active = self.active.load(Ordering::Acquire) & 1;
        if let Some(other) = self.buffers.get(active ^ 1) {
            // What a worker that was interrupted for so long left.
            take(other, now_ns, each);
            for line in other {
                line.keys.iter().for_each(|key| key.store(EMPTY, Ordering::Release));
                line.slots.iter().for_each(|slot| slot.interval.store(0, Ordering::Release));
            }
        }
        self.active.store(active ^ 1, Ordering::Release);
        if let Some(buffer) = self.buffers.get(active) {
            take(buffer, now_ns, each);
        }
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self::new()
    }
}

fn take(buffer: &[Line], now_ns: u64, each: &mut impl FnMut(Note)) {
    for line in buffer {
        for (key, slot) in line.keys.iter().zip(&line.slots) {
            let key = key.load(Ordering::Acquire);
            if key == EMPTY || slot.word.load(Ordering::Relaxed) == 0 {
                continue;
            }
            let word = Word(slot.word.swap(0, Ordering::AcqRel));
            let interval = slot.interval.load(Ordering::Acquire);
            let limit = Limit { interval, tau_ns: slot.tau_ns.load(Ordering::Relaxed) };
            if limit.is_set() {
                each(word.note(key, limit, now_ns));
            }
        }
    }
}

impl Word {
    fn offer(self, now_ns: u64, admitted: u64) -> Self {
        let (had, offered) = (self.0 & COUNT, (self.0 >> 16) & COUNT);
        let moment = if had == 0 && admitted > 0 { now_ns / 1_000_000 } else { self.0 >> 32 };
        let has = (had + admitted).min(COUNT);
        let offered = (offered + admitted.max(1)).min(COUNT);
        Self(self.0 & PEER | (moment & MOMENT) << 32 | offered << 16 | has)
    }

    fn note(self, key: u64, limit: Limit, now_ns: u64) -> Note {
        let count = |at: u32| u32::try_from((self.0 >> at) & COUNT).unwrap_or(0);
        let age_ms = (now_ns / 1_000_000).wrapping_sub(self.0 >> 32) & MOMENT;
        // A note that was made after `now_ns` was read.
        let age_ms = if age_ms > MOMENT / 2 { 0 } else { age_ms };
        Note {
            key,
            limit,
            admitted: count(0),
            offered: count(16),
            first_ns: now_ns.saturating_sub(age_ms * 1_000_000),
            from_peer: self.0 & PEER != 0,
        }
    }
}
