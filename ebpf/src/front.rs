//! A limit for each unproved source in one word: lines of eight slots, `fingerprint 24 | TAT 40` in
//! units of 1,024 ns, the smallest debt replaced. Lossy on purpose, bounded by construction: at most
//! the budget's worth of sources a tick ever gets here.

use crate::abi::Word;
use crate::gcra::{Cell, Limit};

#[cfg(test)]
mod tests;

/// Slots of a line; a line is one cache line.
pub const SLOTS: usize = 8;

const TAT_BITS: u32 = 40;
const TAT_MASK: u64 = (1 << TAT_BITS) - 1;
/// ns to TAT units.
const UNIT_SHIFT: u32 = 10;

/// Packets of debt that earn a source an entry of its own: a slot may be lost to another, an entry of a
/// source that goes on is not.
pub const PROMOTED_AT: u64 = 8;

/// The answer to a charge of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fronted {
    /// Conforming, and what it owes then.
    Conforming {
        debt_ns: u64,
    },
    Over,
}

/// A source's place: its line and its fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub line_idx: u32,
    pub fingerprint: u32,
}

impl Place {
    /// `lines` is a power of two.
    #[inline(always)]
    pub const fn of(key: u64, seed: u64, lines: u32) -> Self {
        let hash = mix(key, seed);
        Self { line_idx: hash as u32 & lines.wrapping_sub(1), fingerprint: (hash >> TAT_BITS) as u32 }
    }
}

/// Charges a packet that costs `cost_ns` under tolerance `tau_ns` to the source in a line, whose slots
/// `slot_at` knows. A lost swap passes: the winner was another packet within the budget.
#[inline(always)]
pub fn charge<C: Cell>(
    slot_at: impl Fn(usize) -> C,
    fingerprint: u32,
    cost_ns: u64,
    tau_ns: u64,
    now_ns: u64,
) -> Fronted {
    let now = (now_ns >> UNIT_SHIFT) & TAT_MASK;
    let own = u64::from(fingerprint) << TAT_BITS;
    let mut slot = slot_at(0);
    let mut old = 0;
    let mut debt = 0;
    let mut smallest = u64::MAX;
    // Kept a loop: unrolled it takes 176 bytes of a stack of 512, and aggregates are charged two calls deep.
    for idx in 0..core::hint::black_box(SLOTS) {
        let candidate = slot_at(idx);
        let value = candidate.load();
        // Half the range lies ahead of now, half behind: a TAT behind is no debt.
        let ahead = value.wrapping_sub(now) & TAT_MASK;
        let ahead = if ahead >> (TAT_BITS - 1) != 0 { 0 } else { ahead };
        if value != 0 && value & !TAT_MASK == own {
            slot = candidate;
            old = value;
            debt = ahead;
            break;
        }
        if ahead < smallest {
            smallest = ahead;
            slot = candidate;
            old = value;
        }
    }
    let cost = (cost_ns + (1 << UNIT_SHIFT) - 1) >> UNIT_SHIFT;
    if debt + cost > tau_ns >> UNIT_SHIFT {
        return Fronted::Over;
    }
    slot.swap(old, own | ((now + debt + cost) & TAT_MASK));
    Fronted::Conforming { debt_ns: (debt + cost) << UNIT_SHIFT }
}

/// The limit an unproved packet meets: its own kind's where that is set, else the packets'.
#[inline(always)]
pub const fn limit_for(syn: bool, packets: Limit, syns: Limit) -> (Word, Limit) {
    if syn && syns.is_set() { (Word::Syns, syns) } else { (Word::Packets, packets) }
}

/// Mixes a secret into the key; murmur's finaliser with the seed before and between.
#[inline(always)]
pub(crate) const fn mix(key: u64, seed: u64) -> u64 {
    let mut hash = key ^ seed;
    hash = hash.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash ^= hash >> 32;
    hash = (hash ^ seed.rotate_left(32)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 29)
}
