//! Debits that come late. A store that hung, or a node that was cut off, would charge ten good seconds as
//! one burst: what is older than a while is charged only where it went over the limit by itself.

use crate::model::Limit;

const LATE_MIN_NS: u64 = 300_000_000;
const LATE_MAX_NS: u64 = 1_000_000_000;

/// The age from which a debit of a limit with this burst tolerance is late. Several flushes.
pub fn late_ns(tau_ns: u64) -> u64 {
    (tau_ns / 2).clamp(LATE_MIN_NS, LATE_MAX_NS)
}

/// What is left of the cost of `n` requests, the first of which is `age_ns` old; the rest are taken to lie
/// evenly behind it. The script has the same rule.
pub fn soften_ns(limit: &Limit, n: u32, age_ns: u64) -> u64 {
    let cost_ns = |n: u32| limit.interval.saturating_mul(u64::from(n)) >> 16;
    let charge_ns = cost_ns(n);
    let over_ns = age_ns.saturating_sub(late_ns(limit.tau_ns));
    if over_ns == 0 || n == 0 {
        return charge_ns;
    }
    let behind_ns = u128::from(cost_ns(n - 1)) * u128::from(over_ns) / u128::from(age_ns);
    // A part of the charge: it fits.
    let old_ns = u64::try_from(behind_ns).unwrap_or(u64::MAX).saturating_add(cost_ns(1)).min(charge_ns);
    charge_ns - old_ns + old_ns.saturating_sub(over_ns)
}
