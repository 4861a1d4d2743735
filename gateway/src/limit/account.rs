//! Where the request path and the fleet meet: what was admitted goes one way, shares come the other. One
//! for clients and one for rows. Nothing here calls, wakes or waits for anybody.

use super::{Note, Shares, Tally};
use crate::model::{Decision, Limit, Standing};

#[derive(Default)]
pub struct Account {
    tally: Tally,
    shares: Shares,
}

/// Of a node in a fleet.
#[derive(Default)]
pub struct Ledger {
    pub clients: Account,
    pub rows: Account,
}

/// Who is charged.
#[derive(Clone, Copy, Debug)]
pub struct Charged<'a> {
    pub key: u64,
    pub limit: &'a Limit,
    /// It is the peer of a socket.
    pub from_peer: bool,
    pub now_ns: u64,
}

impl Ledger {
    /// Bytes of one, whatever is in it.
    pub const BYTES: u64 = 2 * (Tally::BYTES + Shares::BYTES);
}

impl Account {
    /// A charge of one by `charge`, where the key's share has room for it; noted.
    pub fn charge(&self, whom: Charged<'_>, charge: impl FnOnce() -> Decision) -> Decision {
        let Charged { key, limit, from_peer, now_ns } = whom;
        let decision = match self.shares.take(key, now_ns) {
            None => charge(),
            Some(Ok(taken)) => {
                let decision = charge();
                if let Decision::Deny { .. } = decision {
                    taken.give_back();
                }
                decision
            }
            Some(Err(spent)) => deny(limit, spent.wait_ns),
        };
        match decision {
            Decision::Allow(_) => self.tally.admitted(key, limit, 1, from_peer, now_ns),
            Decision::Deny { .. } => self.tally.refused(key, limit, from_peer, now_ns),
        }
        decision
    }

    /// A request that was refused without a charge.
    pub fn refused(&self, whom: Charged<'_>) {
        self.tally.refused(whom.key, whom.limit, whom.from_peer, whom.now_ns);
    }

    /// A charge of `n` that was taken in any case.
    pub fn debited(&self, whom: Charged<'_>, n: u64) {
        self.tally.admitted(whom.key, whom.limit, n, whom.from_peer, whom.now_ns);
    }

    pub fn shares(&self) -> &Shares {
        &self.shares
    }

    /// See [`Tally::take`].
    pub fn take(&self, now_ns: u64, each: &mut impl FnMut(Note)) {
        self.tally.take(now_ns, each);
    }

    /// See [`Tally::turn`].
    pub fn turn(&self, now_ns: u64, each: &mut impl FnMut(Note)) {
        self.tally.turn(now_ns, each);
    }

    pub fn missed(&self) -> u64 {
        self.tally.missed()
    }
}

/// As the limit itself would say it: so far in debt that a request conforms in `wait_ns`.
fn deny(limit: &Limit, wait_ns: u64) -> Decision {
    let room_ns = limit.tau_ns.saturating_sub(limit.cost_ns(1));
    let standing = Standing { debt_ns: room_ns.saturating_add(wait_ns) };
    Decision::Deny { standing, retry_after_ns: wait_ns.max(1) }
}
