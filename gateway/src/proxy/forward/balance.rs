//! Chooses among the addresses of an API's upstreams. What can be chosen from is laid out at publish and
//! when a name's addresses change; a request touches atomics only.

mod turns;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;

use super::target::Target;
use super::upstreams::Upstreams;
use crate::model::{Forwarding, Upstream};

/// One API's upstreams, shared by all workers.
pub(in crate::proxy) struct Balance {
    api: Arc<str>,
    upstreams: Vec<Upstream>,
    members: ArcSwap<Members>,
    next: AtomicUsize,
}

/// Who can be chosen, as the names stand now.
struct Members {
    targets: Vec<Arc<Target>>,
    /// Indexes of `targets`, as often as their weight says, spread evenly.
    turns: Vec<usize>,
}

impl Balance {
    pub fn new(api: &Arc<str>, forwarding: &Forwarding, known: &Upstreams) -> Self {
        let members = Members::new(known.targets(api, &forwarding.upstreams));
        Self {
            api: Arc::clone(api),
            upstreams: forwarding.upstreams.clone(),
            members: ArcSwap::from_pointee(members),
            next: AtomicUsize::new(0),
        }
    }

    /// Turns to the addresses that the names stand for now.
    pub fn renew(&self, known: &Upstreams) {
        let targets = known.targets(&self.api, &self.upstreams);
        let present = self.members.load();
        let ids = |targets: &[Arc<Target>]| targets.iter().map(|one| one.state.id).collect::<Vec<_>>();
        if ids(&targets) == ids(&present.targets) {
            return;
        }
        let shown: Vec<_> = targets.iter().map(|target| target.pool.to_string()).collect();
        tracing::info!(api = %self.api, upstreams = ?shown, "upstreams have other addresses");
        self.members.store(Arc::new(Members::new(targets)));
    }

    /// Whose turn it is; None where no upstream has an address.
    pub fn next(&self) -> Option<Arc<Target>> {
        let members = self.members.load();
        let turn = self.next.fetch_add(1, Ordering::Relaxed).checked_rem(members.turns.len())?;
        members.targets.get(*members.turns.get(turn)?).cloned()
    }
}

impl Members {
    fn new(targets: Vec<Arc<Target>>) -> Self {
        let weights: Vec<_> = targets.iter().map(|target| target.weight).collect();
        Self { turns: turns::interleave(&weights), targets }
    }
}
