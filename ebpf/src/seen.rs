//! The gate in front of BANS and CLIENTS: a byte for each hashed key. An unknown source costs one read
//! of a table that fits a cache, not two look-ups that miss. Eight bytes share a word, so that every
//! change is a compare-and-swap and none undoes another.

use crate::abi::SEEN_CELLS;
use crate::gcra::{Cell, TRIES};

#[cfg(test)]
mod tests;

/// Nobody with this hash was ever known.
pub const UNKNOWN: u8 = 0;
/// Somebody with this hash is or was banned: BANS decides first.
pub const BANNED: u8 = 255;
/// Epochs before a number comes again.
const EPOCHS: u64 = 128;

/// A key's cell: its word and its byte in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    pub word_idx: u32,
    shift: u32,
}

impl Place {
    #[inline(always)]
    pub const fn of(key: u64, seed: u64) -> Self {
        let cell = (crate::front::mix(key, seed) >> 20) as u32 & (SEEN_CELLS - 1);
        Self { word_idx: cell >> 3, shift: (cell & 7) << 3 }
    }

    /// This cell's byte of its word.
    #[inline(always)]
    pub const fn read(self, word: u64) -> u8 {
        (word >> self.shift) as u8
    }

    #[inline(always)]
    const fn write(self, word: u64, value: u8) -> u64 {
        (word & !(0xff << self.shift)) | (value as u64) << self.shift
    }
}

/// What a cell holds when its client is seen now: 1 to 128.
#[inline(always)]
pub const fn epoch(jiffies: u64, epoch_shift: u64) -> u8 {
    ((jiffies >> (epoch_shift & 63)) & (EPOCHS - 1)) as u8 + 1
}

/// Whether a client may be known: its cell is of this epoch, of the last, or shared with a banned one.
#[inline(always)]
pub const fn is_known(value: u8, epoch: u8) -> bool {
    let age = epoch.wrapping_sub(value) & (EPOCHS as u8 - 1);
    value == BANNED || value != UNKNOWN && age <= 1
}

/// Notes that a client was seen in `epoch`; a mark of a ban stays.
#[inline(always)]
pub fn see<C: Cell>(cell: C, place: Place, epoch: u8) {
    change(cell, place, epoch, |value| value == BANNED || value == epoch);
}

/// Sends the key's packets to BANS first. False: neighbours were faster, every time.
#[inline(always)]
pub fn mark<C: Cell>(cell: C, place: Place) -> bool {
    change(cell, place, BANNED, |value| value == BANNED)
}

/// Takes the mark off. Whoever shares the cell counts as seen in `epoch`.
#[inline(always)]
pub fn unmark<C: Cell>(cell: C, place: Place, epoch: u8) -> bool {
    change(cell, place, epoch, |value| value != BANNED)
}

#[inline(always)]
fn change<C: Cell>(cell: C, place: Place, value: u8, is_done: impl Fn(u8) -> bool) -> bool {
    for _ in 0..TRIES {
        let word = cell.load();
        if is_done(place.read(word)) || cell.swap(word, place.write(word, value)) {
            return true;
        }
    }
    false
}
