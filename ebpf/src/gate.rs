//! The gate in front of the prefix lists: two bitmaps that say whether any prefix can match a source.
//! The first has two bits for each /16 of IPv4 and each hashed /32 of IPv6 and stays in the first-level
//! cache; the second, a bit for each /24 and each hashed /48, is read where the first says that only
//! longer prefixes are near. Wrong only towards "may match". Each generation of the lists has its own.

use crate::packet::Address;

#[cfg(test)]
mod tests;

/// Words of the gate: both generations.
pub const GATE_WORDS: u32 = 2 * GENERATION_WORDS;
/// Words of one generation: the first bitmap of IPv4, that of IPv6, the second of both.
pub const GENERATION_WORDS: u32 = 2 * FIRST_WORDS + SECOND_WORDS;
/// 65,536 cells of two bits.
const FIRST_WORDS: u32 = 65_536 / 32;
/// 2^24 bits.
const SECOND_WORDS: u32 = 1 << 18;
/// Bits of a cell of the first bitmap: a prefix covers all of it...
const WALK: u64 = 1;
/// ...or part of it: the second bitmap knows which.
const REFINE: u64 = 2;
/// IPv6 prefixes shorter than this and longer than /32 count as covering their /32: they would set too
/// many bits of the second bitmap.
const V6_REFINED: u32 = 40;

/// A bit or a cell of the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GateBit {
    pub word_idx: u32,
    pub mask: u64,
}

/// Whether a prefix of `generation` (0 or 1) can match `source`; `word` reads the gate.
#[inline(always)]
pub fn may_match(generation: u64, source: &Address, word: impl Fn(u32) -> u64) -> bool {
    let near = match *source {
        Address::V4([a, b, ..]) => V4.cell(u32::from_be_bytes([0, 0, a, b])),
        Address::V6([a, b, c, d, ..]) => V6.cell(hash(u32::from_be_bytes([a, b, c, d]) as u64, 16)),
    };
    let base = base(generation);
    let cell = word(base + near.word_idx) >> near.shift;
    if cell & (WALK | REFINE) == 0 {
        return false;
    }
    if cell & WALK != 0 {
        return true;
    }
    let bit = match *source {
        Address::V4([a, b, c, _]) => second(u32::from_be_bytes([0, a, b, c])),
        Address::V6([a, b, c, d, e, f, ..]) => second(hash(u64::from_be_bytes([0, 0, a, b, c, d, e, f]), 24)),
    };
    word(base + bit.word_idx) & bit.mask != 0
}

/// Tells every bit that a prefix of `length` bits wants set, IPv4 or IPv6 by its address.
#[cfg(not(target_arch = "bpf"))]
pub fn marks(generation: u64, address: &Address, length: u32, mut mark: impl FnMut(GateBit)) {
    let base = base(generation);
    let mut at = |bit: GateBit| mark(GateBit { word_idx: base + bit.word_idx, mask: bit.mask });
    match *address {
        Address::V4(octets) => {
            let bits = u32::from_be_bytes(octets);
            if length <= 16 {
                let first = bits >> 16;
                (first..=first | (0xffff_u32 >> length)).for_each(|cell| at(V4.cell(cell).with(WALK)));
                return;
            }
            at(V4.cell(bits >> 16).with(REFINE));
            let first = bits >> 8;
            let span = if length < 24 { 0xff_u32 >> (length - 16) } else { 0 };
            (first..=first | span).for_each(|line| at(second(line)));
        }
        Address::V6(octets) => {
            let bits = u128::from_be_bytes(octets);
            let upper = (bits >> 96) as u64;
            if length < 16 {
                (0..=0xffff).for_each(|cell| at(V6.cell(cell).with(WALK)));
                return;
            }
            if length < V6_REFINED {
                let span = if length < 32 { 0xffff_u64 >> (length - 16) } else { 0 };
                (upper..=upper | span).for_each(|line| at(V6.cell(hash(line, 16)).with(WALK)));
                return;
            }
            at(V6.cell(hash(upper, 16)).with(REFINE));
            let first = (bits >> 80) as u64;
            let span = if length < 48 { 0xff_u64 >> (length - V6_REFINED) } else { 0 };
            (first..=first | span).for_each(|line| at(second(hash(line, 24))));
        }
    }
}

/// The first bitmap of a family.
#[derive(Clone, Copy)]
struct First(u32);

const V4: First = First(0);
const V6: First = First(FIRST_WORDS);

/// Two bits of a word.
#[derive(Clone, Copy)]
struct CellPlace {
    word_idx: u32,
    shift: u32,
}

impl First {
    #[inline(always)]
    const fn cell(self, cell: u32) -> CellPlace {
        CellPlace { word_idx: self.0 + (cell >> 5), shift: (cell & 31) * 2 }
    }
}

impl CellPlace {
    #[cfg(not(target_arch = "bpf"))]
    const fn with(self, bits: u64) -> GateBit {
        GateBit { word_idx: self.word_idx, mask: bits << self.shift }
    }
}

#[inline(always)]
const fn second(line: u32) -> GateBit {
    GateBit { word_idx: 2 * FIRST_WORDS + (line >> 6), mask: 1 << (line & 63) }
}

#[inline(always)]
const fn base(generation: u64) -> u32 {
    (generation & 1) as u32 * GENERATION_WORDS
}

/// The upper `bits` of a multiplicative hash. No secret: whoever aims at a set bit pays a walk of a trie.
#[inline(always)]
const fn hash(value: u64, bits: u32) -> u32 {
    (value.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - bits)) as u32
}
