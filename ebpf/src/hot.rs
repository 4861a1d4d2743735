//! Hot abusers: a client that was refused many times within one jiffy is refused for the rest of it by its
//! entry alone, without clock and without a swap. What it may send meanwhile is not lost: its TAT stands
//! still, so the next jiffy begins with it. A word of the entry: `jiffy 48 | reason 8 | refusals 8`.

use crate::gcra::Limit;
use crate::verdict::Verdict;

#[cfg(test)]
mod tests;

/// Refusals of a jiffy before the rest of it is closed. Nobody who is near its limit comes to as many.
pub const REFUSALS: u64 = 32;
/// A tau that what a jiffy leaves unused fits in, twice over where a jiffy is 10 ms (HZ=100): under a
/// smaller one every packet is decided by itself.
pub const TAU_MIN_NS: u64 = 20_000_000;

const JIFFY_SHIFT: u32 = 16;
const BYTES: u64 = 1 << 8;
const COUNT: u64 = BYTES - 1;

/// Why the client is closed in this jiffy, if it is.
#[inline(always)]
pub const fn closed(word: u64, jiffies: u64) -> Option<Verdict> {
    if word >> JIFFY_SHIFT != jiffies << JIFFY_SHIFT >> JIFFY_SHIFT || word & COUNT < REFUSALS {
        return None;
    }
    Some(if word & BYTES != 0 { Verdict::Bytes } else { Verdict::Packets })
}

/// The word after a refusal; None where it stays as it is.
#[inline(always)]
pub const fn refused(word: u64, jiffies: u64, limit: &Limit, why: Verdict) -> Option<u64> {
    let reason = match why {
        Verdict::Packets => 0,
        Verdict::Bytes => BYTES,
        _ => return None,
    };
    if limit.tau_ns < TAU_MIN_NS {
        return None;
    }
    let count = if word >> JIFFY_SHIFT == jiffies << JIFFY_SHIFT >> JIFFY_SHIFT { word & COUNT } else { 0 };
    let count = if count < REFUSALS { count + 1 } else { REFUSALS };
    Some(jiffies << JIFFY_SHIFT | reason | count)
}
