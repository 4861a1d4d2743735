//! What kernel and user space both see of limits above the single client: which prefixes and ports they
//! sum, and the words that they are held in.

use super::RULES_ENTRIES;
use crate::gcra::Limit;

/// Aggregates of one family at most: each costs a packet a look-up.
pub const AGGREGATES_MAX: u32 = 8;
/// Capacity of `AGGREGATES` where there are none, and where nothing else is said, in words.
pub const AGGREGATES_MIN: u32 = 1_024;
pub const AGGREGATES_DEFAULT: u32 = 65_536;
/// Rows of `AGGREGATE_ROWS`: IPv4's and IPv6's of each entry of `RULES`.
pub const AGGREGATE_ROWS: u32 = RULES_ENTRIES * 2 * AGGREGATES_MAX;

/// Where the aggregates of IPv4 clients or of the others begin that go with an entry of `RULES`; the first
/// without a limit ends them.
#[inline(always)]
pub const fn aggregates_at(place: u64, is_v4: bool) -> u32 {
    ((place as u32 & (RULES_ENTRIES - 1)) * 2 + !is_v4 as u32) * AGGREGATES_MAX
}

/// A limit that the clients of a prefix share.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AggregateRow {
    pub limit: Limit,
    /// Bits of a client's key beyond the prefix.
    pub shift: u32,
    /// `PortCell::number` of the only port that counts; 0: every port.
    pub port: u32,
    /// All ones where each port has a word of its own, 0 where all have one.
    pub kept: u32,
    pub spare: u32,
}

/// Key of `AGGREGATES`: what a word sums. The limit is not among it: a word outlives its change.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AggregateKey {
    /// A client's key without the bits beyond the prefix.
    pub prefix: u64,
    /// How many those are in the upper half, the port's number in the lower, 0 for all ports.
    pub of: u64,
}
