//! Parts of a limit that the fleet handed to this node: besides its limit such a client has a smaller one
//! here. Bounded; workers read it and charge its words, one task writes it. Where nobody has a share a
//! request pays for one load.

use std::sync::atomic::{AtomicU64, Ordering};

use weir_ebpf::gcra::{self, Cell, Charged};

use crate::model::Limit;

const SLOTS: usize = 8;
const LINES: usize = 512;

pub struct Shares {
    lines: Box<[Line]>,
    /// The last moment at which one holds.
    until_ns: AtomicU64,
}

#[derive(Default)]
#[repr(align(64))]
struct Line {
    keys: [AtomicU64; SLOTS],
    slots: [Slot; SLOTS],
}

#[derive(Default)]
struct Slot {
    interval: AtomicU64,
    tau_ns: AtomicU64,
    /// 0: none.
    until_ns: AtomicU64,
    tat_ns: AtomicU64,
}

/// A share that a request was taken from.
pub struct Taken<'a> {
    slot: &'a Slot,
    limit: Limit,
}

/// It has no room for another so long.
pub struct Spent {
    pub wait_ns: u64,
}

#[derive(Clone, Copy)]
struct Word<'a>(&'a AtomicU64);

impl Cell for Word<'_> {
    fn load(self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    fn swap(self, old: u64, new: u64) -> bool {
        self.0.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

impl Shares {
    pub const BYTES: u64 = (LINES * size_of::<Line>()) as u64;

    pub fn new() -> Self {
        Self { lines: (0..LINES).map(|_| Line::default()).collect(), until_ns: AtomicU64::new(0) }
    }

    /// Takes a request from the key's share. None: it has none.
    pub fn take(&self, key: u64, now_ns: u64) -> Option<Result<Taken<'_>, Spent>> {
        if self.until_ns.load(Ordering::Relaxed) <= now_ns {
            return None;
        }
        let slot = self.find(key)?;
        if slot.until_ns.load(Ordering::Acquire) <= now_ns {
            return None;
        }
        let limit = slot.limit();
        Some(match gcra::charge(Word(&slot.tat_ns), &limit, 1, now_ns) {
            Charged::Conforming { .. } => Ok(Taken { slot, limit }),
            Charged::Over { debt_ns } => {
                Err(Spent { wait_ns: limit.wait_ns(debt_ns, 1).unwrap_or(limit.tau_ns) })
            }
            Charged::Contended => Err(Spent { wait_ns: limit.cost_ns(1) }),
        })
    }

    /// The key's share from now on; what it was charged stays. Full: the one that ends first makes room.
    /// A request that is decided in between may meet the new owner's limit. For one writer.
    pub fn set(&self, key: u64, limit: Limit, until_ns: u64) {
        let Some(line) = self.line(key) else { return };
        let place = line.keys.iter().position(|held| held.load(Ordering::Acquire) == key);
        let ends = |slot: &Slot| slot.until_ns.load(Ordering::Relaxed);
        let place = place.or_else(|| (0..SLOTS).min_by_key(|idx| line.slots.get(*idx).map(ends)));
        let Some((held, slot)) = place.and_then(|idx| Some((line.keys.get(idx)?, line.slots.get(idx)?)))
        else {
            return;
        };
        if held.load(Ordering::Acquire) != key {
            slot.until_ns.store(0, Ordering::Release);
            slot.tat_ns.store(0, Ordering::Release);
            held.store(key, Ordering::Release);
        }
        slot.interval.store(limit.interval, Ordering::Release);
        slot.tau_ns.store(limit.tau_ns, Ordering::Release);
        slot.until_ns.store(until_ns, Ordering::Release);
        self.until_ns.fetch_max(until_ns, Ordering::AcqRel);
    }

    pub fn end(&self, key: u64) {
        if let Some(slot) = self.find(key) {
            slot.until_ns.store(0, Ordering::Release);
        }
    }

    /// The share that holds now.
    pub fn of(&self, key: u64, now_ns: u64) -> Option<Limit> {
        let slot = self.find(key).filter(|slot| slot.until_ns.load(Ordering::Acquire) > now_ns)?;
        Some(slot.limit())
    }

    fn line(&self, key: u64) -> Option<&Line> {
        let spread = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        self.lines.get(((spread * LINES as u64) >> 32) as usize)
    }

    fn find(&self, key: u64) -> Option<&Slot> {
        let line = self.line(key)?;
        let mut both = line.keys.iter().zip(&line.slots);
        both.find(|(held, _)| held.load(Ordering::Acquire) == key).map(|(_, slot)| slot)
    }
}

impl Default for Shares {
    fn default() -> Self {
        Self::new()
    }
}

impl Slot {
    fn limit(&self) -> Limit {
        Limit { interval: self.interval.load(Ordering::Acquire), tau_ns: self.tau_ns.load(Ordering::Acquire) }
    }
}

impl Taken<'_> {
    /// What the limit itself refused costs the share nothing.
    pub fn give_back(self) {
        self.slot.tat_ns.fetch_sub(self.limit.cost_ns(1), Ordering::AcqRel);
    }
}
