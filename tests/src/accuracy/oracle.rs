//! The limiter without a bound: an exact GCRA for each source that was ever seen, in a table that never
//! forgets. It proves nobody, has no budget and shares nothing with the path but the one `decide`.

use std::collections::HashMap;

use weir_ebpf::abi::ClientKey;
use weir_ebpf::gcra::{Limit, Outcome};

use crate::replay::{Event, Kind};

pub(super) struct Oracle {
    limit: Limit,
    tats_ns: HashMap<u64, u64>,
}

impl Oracle {
    pub(super) fn new(limit: Limit) -> Self {
        Self { limit, tats_ns: HashMap::new() }
    }

    /// Whether a limit on each source, and nothing else, lets this packet through; charges it.
    pub(super) fn admits(&mut self, event: &Event) -> bool {
        if event.kind == Kind::Prove {
            return true;
        }
        let ClientKey(key) = event.key;
        let present = self.tats_ns.entry(key).or_default();
        match self.limit.decide(*present, event.at_ns, 1) {
            Outcome::Conforming { tat_ns } => {
                *present = tat_ns;
                true
            }
            Outcome::Over { .. } => false,
        }
    }
}
