//! A request at its target from the choice to the end of the answer's body, and what that body says of the
//! target: one that only ever breaks in the middle has good heads, and is no good all the same.

use std::fmt::Display;
use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;

use super::balance::Balance;
use super::target::Pending;

pub(in crate::proxy) struct Judged {
    pending: Pending,
    balance: Arc<Balance>,
    cut: Counter,
}

impl Judged {
    /// `cut` counts a body that breaks.
    pub(super) fn new(pending: Pending, balance: &Arc<Balance>, cut: &Counter) -> Self {
        Self { pending, balance: Arc::clone(balance), cut: Counter::clone(cut) }
    }

    /// The body came whole.
    pub fn whole(self) {
        self.pending.target().state.health.finished();
    }

    /// It broke off, by the upstream's fault.
    pub fn broke(self, why: &dyn Display) {
        self.cut.inc();
        self.balance.cut(self.pending.target(), why);
    }

    /// Nobody judges what follows.
    pub fn unjudged(self) -> Pending {
        self.pending
    }
}
