//! Limits above the single client: what the clients of a prefix send together, to every port or to one.
//! Charged last, after a packet conformed to its client's own limit. Proved clients and all others have
//! words of their own, so whoever forges a prefix's addresses takes nothing from its proved clients.

use crate::abi::{AGGREGATES_MAX, AggregateKey, AggregateRow, ClientKey};

/// Whose words are charged.
#[repr(u64)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    /// Words of AGGREGATES, which only proved clients write.
    Proved = 0,
    /// Slots of FRONT, as the sources' own: as many as made-up prefixes come, they displace no proved one's.
    Unproved = 1,
}

/// The answer of all aggregates that a packet counts for.
#[repr(u64)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Summed {
    Within = 0,
    Over = 1,
    /// So many swaps were lost as a charge tries.
    Contended = 2,
}

/// What a packet is to the aggregates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    pub key: ClientKey,
    /// `PortCell::number` of where it goes.
    pub port: u32,
    /// Units that it costs.
    pub n: u64,
    pub party: Party,
}

impl Share {
    /// All but the key in one word: a function of BPF has few arguments.
    #[inline(always)]
    pub const fn packed(self) -> u64 {
        self.port as u64 | (self.n & 0xff) << 32 | (self.party as u64) << 40
    }

    #[inline(always)]
    pub const fn unpacked(key: u64, packed: u64) -> Self {
        let party = if packed >> 40 == 0 { Party::Proved } else { Party::Unproved };
        Self { key: ClientKey(key), port: packed as u32, n: packed >> 32 & 0xff, party }
    }
}

/// Charges the aggregates of a family in their order until one refuses; those before it keep their charge.
/// `charge_row` answers None behind the last.
#[inline(always)]
pub fn charge(charge_row: impl Fn(u32) -> Option<Summed>) -> Summed {
    for idx in 0..AGGREGATES_MAX {
        match charge_row(idx) {
            Some(Summed::Within) => {}
            Some(refused) => return refused,
            None => break,
        }
    }
    Summed::Within
}

/// The word that the packet counts in; None where the row is another port's.
#[inline(always)]
pub const fn word_of(row: &AggregateRow, share: Share) -> Option<AggregateKey> {
    if row.port != 0 && row.port != share.port {
        return None;
    }
    let shift = row.shift & 63;
    Some(AggregateKey {
        prefix: share.key.0 >> shift << shift,
        of: (shift as u64) << 32 | (share.port & row.kept) as u64,
    })
}

/// What a word's slot in FRONT is found by; a source's own is found by its key, which this is not.
#[inline(always)]
pub const fn front_key(word: AggregateKey) -> u64 {
    word.prefix ^ word.of.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
