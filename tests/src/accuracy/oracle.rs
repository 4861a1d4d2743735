//! The limiter without a bound: an exact GCRA for each source that was ever seen, in a table that never
//! forgets. It proves nobody, has no budget, and shares no line with the path: its arithmetic is its own.

use std::collections::HashMap;

use weir_ebpf::abi::ClientKey;

use crate::replay::{Event, Kind};

pub(super) struct Oracle {
    interval_ns: u64,
    burst_ns: u64,
    tats_ns: HashMap<u64, u64>,
}

impl Oracle {
    /// `rate` a second divides a second.
    pub(super) fn new(rate: u64, burst: u64) -> Self {
        let interval_ns = 1_000_000_000 / rate;
        Self { interval_ns, burst_ns: burst * interval_ns, tats_ns: HashMap::new() }
    }

    /// Whether a limit on each source, and nothing else, lets this packet through; charges it.
    pub(super) fn admits(&mut self, event: &Event) -> bool {
        if event.kind == Kind::Prove {
            return true;
        }
        let ClientKey(key) = event.key;
        let present = self.tats_ns.entry(key).or_default();
        let after_ns = event.at_ns.max(*present) + self.interval_ns;
        let conforms = after_ns - event.at_ns <= self.burst_ns;
        if conforms {
            *present = after_ns;
        }
        conforms
    }
}
