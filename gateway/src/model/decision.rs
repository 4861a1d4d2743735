//! What a limit answers.

use std::sync::Arc;

use weir_ebpf::gcra::Limit;

/// Where a limit key stands after a charge or a peek: debt = TAT - now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    pub debt_ns: u64,
}

impl Standing {
    /// Units that still conform at once.
    pub fn remaining(&self, limit: &Limit) -> u64 {
        limit.remaining(self.debt_ns)
    }
}

/// Answer to a charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    Allow(Standing),
    /// Not taken. A charge of the same size conforms in `retry_after_ns`, if nobody else charges the key.
    Deny {
        standing: Standing,
        retry_after_ns: u64,
    },
}

/// Name of a limit in headers, logs and metrics: `client`, or `NAME.credential` of an API.
pub type LimitName = Arc<str>;

/// A refusal that goes to the client: which limit, how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub name: LimitName,
    pub limit: Limit,
    /// Units of the limit's burst, for RateLimit-Policy.
    pub burst: u64,
    pub standing: Standing,
    /// What Retry-After says, before rounding up to seconds: the wait, or the length of the shed it triggered.
    pub retry_after_ns: u64,
    /// This refusal shed the client.
    pub shed: bool,
}
