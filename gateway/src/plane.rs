//! Where a client's limit is held: the kernel's entry, reached by the program `charge`, or the
//! process table. The request path calls [`Plane::charge`] and does not know which. Also the bans,
//! and the handles of the pinned maps.

mod added;
mod aggregates;
mod bans;
mod census;
mod clock;
mod events;
mod gate;
mod kernel;
mod lists;
mod maps;
mod names;
mod pins;
mod ports;
mod table;
mod tries;
mod words;

use std::sync::Arc;

use crate::model::{Client, ClientKey, Decision, Limit, Origin, Standing};

pub use added::{Added, Additions, Named};
pub use aggregates::{
    Aggregate, AggregatePorts, AggregatePrefix, Tables, aggregate_tats, capacity_of_aggregates, tables,
};
pub use bans::{BanError, BanReason, BanRow, Bans, kernel_jiffies, remember};
pub use census::{Census, Memory};
pub use clock::{jiffies_hz, lower_priority, now_ns, unix_s};
pub use events::Events;
pub use kernel::{Charge, ChargeError};
pub use lists::{LISTS_MAX, List, Marks};
pub use maps::{CounterRow, LimitRow, Maps, MapsError, OVERRIDES_MAX, Wanted};
pub use pins::PinDir;
pub use ports::{PORT_RULES_MAX, PortRule, RuleCount};
pub use table::Table;
pub use tries::ListCount;
pub use weir_ebpf::abi::Lease;
use weir_ebpf::abi::Word;
use weir_ebpf::gcra::Outcome;

/// A secret of this boot, for hashes that strangers must not foresee; never 0.
pub fn fresh_seed() -> u64 {
    use std::hash::BuildHasher as _;
    std::hash::RandomState::new().hash_one(now_ns()) | 1
}

/// Both planes; shared by all workers.
pub struct Plane {
    /// The kernel plane's `charge`; None where there is no kernel plane.
    charge: Option<Arc<Charge>>,
    table: Table,
}

impl Plane {
    /// `clients` entries in the process table; `charge` where the kernel plane is on.
    pub fn new(charge: Option<Arc<Charge>>, clients: u32) -> Self {
        Self { charge, table: Table::new(clients) }
    }

    /// Takes `n` requests from the client's `limit`, in whichever plane holds it.
    pub fn charge(&self, client: Client, limit: &Limit, n: u64, now_ns: u64) -> Decision {
        if !limit.is_set() {
            return Decision::Allow(Standing { debt_ns: 0 });
        }
        match (&self.charge, client.origin) {
            (Some(charge), Origin::Peer) => charge
                .take(client.key, Word::Requests, limit, n)
                .unwrap_or_else(|_| charge_table(&self.table, client.key.0, limit, n, now_ns)),
            (None, _) | (Some(_), Origin::Forwarded) => {
                charge_table(&self.table, client.key.0, limit, n, now_ns)
            }
        }
    }

    /// Takes `n` requests even where they do not conform: the client owes them, up to two bursts in all.
    /// Of debits that race one may be lost.
    pub fn debit(&self, client: Client, limit: &Limit, n: u64, now_ns: u64) {
        if !limit.is_set() {
            return;
        }
        let most_ns = limit.tau_ns.saturating_mul(2).min(Limit::TAU_MAX_NS);
        let after = |debt_ns: u64| debt_ns.saturating_add(limit.cost_ns(n)).min(most_ns).max(debt_ns);
        if let (Some(charge), Origin::Peer) = (&self.charge, client.origin)
            && let Ok(debt_ns) = charge.peek(client.key, Word::Requests)
            && charge.raise(client.key, Word::Requests, after(debt_ns)).is_ok()
        {
            return;
        }
        self.table.update(client.key.0, now_ns, |tat_ns| {
            (Some(now_ns.saturating_add(after(tat_ns.saturating_sub(now_ns)))), ())
        });
    }

    /// Moves the client's requests up to a debt that other nodes saw, in whichever plane holds it.
    pub fn raise(&self, key: ClientKey, ahead_ns: u64, now_ns: u64) {
        let in_kernel = self.charge.as_ref().is_some_and(|charge| {
            // What the kernel does not take the process table holds, as for a charge.
            charge.raise(key, Word::Requests, ahead_ns).is_ok()
        });
        if !in_kernel || self.table.read(key.0).is_some() {
            raise_table(&self.table, key.0, ahead_ns, now_ns);
        }
    }

    /// The client's standing on `word`; takes nothing.
    pub fn peek(&self, client: Client, word: Word, now_ns: u64) -> Standing {
        let process = || self.table.read(client.key.0).map_or(0, |tat_ns| tat_ns.saturating_sub(now_ns));
        let debt_ns = match (&self.charge, client.origin) {
            (Some(charge), Origin::Peer) => charge.peek(client.key, word).unwrap_or(0),
            (None, _) | (Some(_), Origin::Forwarded) => process(),
        };
        Standing { debt_ns }
    }

    /// Forgives the client's debt in both planes.
    pub fn forgive(&self, key: ClientKey, now_ns: u64) -> Result<(), ChargeError> {
        self.table.set_present(key.0, now_ns);
        match &self.charge {
            Some(charge) => charge.forgive(key),
            None => Ok(()),
        }
    }

    /// Notes that the client finished a handshake; nothing to do without a kernel plane.
    pub fn prove(&self, key: ClientKey) -> Result<(), ChargeError> {
        match &self.charge {
            Some(charge) => charge.prove(key),
            None => Ok(()),
        }
    }

    /// The process table, for gauges.
    pub fn table(&self) -> &Table {
        &self.table
    }
}

/// A charge on a table of TATs: the process table's clients, and limits by other keys.
pub fn charge_table(table: &Table, key: u64, limit: &Limit, n: u64, now_ns: u64) -> Decision {
    table.update(key, now_ns, |tat_ns| match limit.decide(tat_ns, now_ns, n) {
        Outcome::Conforming { tat_ns } => {
            (Some(tat_ns), Decision::Allow(Standing { debt_ns: tat_ns - now_ns }))
        }
        Outcome::Over { debt_ns } => (None, deny(limit, debt_ns, n)),
    })
}

/// Moves a word of a table up to a debt that others saw.
pub fn raise_table(table: &Table, key: u64, ahead_ns: u64, now_ns: u64) {
    let tat_ns = now_ns.saturating_add(ahead_ns);
    table.update(key, now_ns, |present| ((present < tat_ns).then_some(tat_ns), ()));
}

fn deny(limit: &Limit, debt_ns: u64, n: u64) -> Decision {
    // What costs more than the burst never conforms: the burst's own length is the honest answer left.
    let retry_after_ns = limit.wait_ns(debt_ns, n).unwrap_or(limit.tau_ns);
    Decision::Deny { standing: Standing { debt_ns }, retry_after_ns }
}
