//! An allowance over a short period, as a person wrote it, and the GCRA limit that it compiles to.

use std::time::Duration;

use weir_ebpf::gcra::Limit;

/// `amount` per `period`, `burst` at once. Only made when GCRA can hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    amount: u64,
    period: Duration,
    burst: u64,
    limit: Limit,
}

impl Rate {
    /// None when a part is zero or `burst / rate` is above 15 min ([`Limit::TAU_MAX_NS`]).
    pub fn new(amount: u64, period: Duration, burst: u64) -> Option<Self> {
        let per_ns = u64::try_from(period.as_nanos()).ok()?;
        let limit = Limit::new(amount, per_ns, burst)?;
        Some(Self { amount, period, burst, limit })
    }

    pub fn amount(&self) -> u64 {
        self.amount
    }

    pub fn period(&self) -> Duration {
        self.period
    }

    pub fn burst(&self) -> u64 {
        self.burst
    }

    /// What both planes charge by.
    pub fn limit(&self) -> Limit {
        self.limit
    }
}
