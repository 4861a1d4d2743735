//! Chooses among the addresses of an API's upstreams, and leaves out those whose answers fail. What can
//! be chosen from is laid out at publish and when a name's addresses change; a request touches atomics
//! only.

mod facts;

mod pick;

mod ring;

mod turns;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arc_swap::ArcSwap;
use hyper::HeaderMap;
use hyper::header::HeaderName;

pub use self::facts::{TargetFacts, UpstreamFacts};
use self::ring::Ring;
use super::group::Group;
use super::health::Standing;
use super::target::{Pending, Target};
use super::upstreams::Upstreams;
use crate::model::{BalanceBy, ClientKey, Forwarding};
use crate::plane::now_ns;

/// One API's upstreams, shared by all workers.
pub(in crate::proxy) struct Balance {
    api: Arc<str>,
    pub(super) forwarding: Forwarding,
    by: By,
    slow_start_ns: u64,
    members: ArcSwap<Members>,
    pub(super) group: Arc<Group>,
}

enum By {
    RoundRobin,
    LeastPending,
    ClientHash,
    HeaderHash(HeaderName),
}

/// Who can be chosen, as the names stand now.
struct Members {
    targets: Vec<Arc<Target>>,
    /// Indexes of `targets`, as often as their weight says, spread evenly.
    turns: Vec<usize>,
    /// Empty unless a hash chooses.
    ring: Ring,
}

/// Why nobody was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nobody {
    /// No upstream has an address.
    Known,
    /// Everyone has as much as it may, or was tried.
    Free,
}

/// Addresses that a request was sent to already.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tried {
    ids: [u64; Self::MOST],
    n_ids: usize,
}

impl Tried {
    /// One for each attempt.
    pub const MOST: usize = 8;

    pub fn note(&mut self, target: &Target) {
        if let Some(id) = self.ids.get_mut(self.n_ids) {
            *id = target.state.id;
            self.n_ids += 1;
        }
    }

    fn has(&self, target: &Target) -> bool {
        self.ids.iter().take(self.n_ids).any(|id| *id == target.state.id)
    }
}

/// Choices whose place another worker took first, until one is told that nobody is free.
const CLAIMS: usize = 4;

impl Balance {
    pub fn new(api: &Arc<str>, forwarding: &Forwarding, known: &Upstreams) -> Self {
        let by = match &forwarding.balance {
            BalanceBy::RoundRobin => By::RoundRobin,
            BalanceBy::LeastPending => By::LeastPending,
            BalanceBy::ClientHash => By::ClientHash,
            // Configuration takes no other name; without a header the client is the key.
            BalanceBy::HeaderHash(name) => {
                HeaderName::from_bytes(name.as_bytes()).map_or(By::ClientHash, By::HeaderHash)
            }
        };
        let (group, targets) = known.of(api, &forwarding.upstreams);
        Self {
            api: Arc::clone(api),
            slow_start_ns: u64::try_from(forwarding.slow_start.as_nanos()).unwrap_or(u64::MAX),
            forwarding: forwarding.clone(),
            members: ArcSwap::from_pointee(Members::new(targets, &by)),
            by,
            group,
        }
    }

    /// Turns to the addresses that the names stand for now.
    pub fn renew(&self, known: &Upstreams) {
        let (_, targets) = known.of(&self.api, &self.forwarding.upstreams);
        let present = self.members.load();
        let ids = |targets: &[Arc<Target>]| targets.iter().map(|one| one.state.id).collect::<Vec<_>>();
        if ids(&targets) == ids(&present.targets) {
            return;
        }
        let shown: Vec<_> = targets.iter().map(|target| target.name.to_string()).collect();
        tracing::info!(api = %self.api, upstreams = ?shown, "upstreams have other addresses");
        self.members.store(Arc::new(Members::new(targets, &self.by)));
    }

    pub(super) fn api(&self) -> &Arc<str> {
        &self.api
    }

    pub(super) fn targets(&self) -> Vec<Arc<Target>> {
        self.members.load().targets.clone()
    }

    /// What a hash chooses by; anything where none does.
    pub fn key(&self, headers: &HeaderMap, client: ClientKey) -> u64 {
        match &self.by {
            By::RoundRobin | By::LeastPending => 0,
            By::ClientHash => ring::hash(&client.0.to_be_bytes()),
            By::HeaderHash(name) => match headers.get(name) {
                Some(value) => ring::hash(value.as_bytes()),
                None => ring::hash(&client.0.to_be_bytes()),
            },
        }
    }

    /// A place at whoever is next.
    pub(super) fn choose(&self, key: u64, tried: &Tried, now_ns: u64) -> Result<Pending, Nobody> {
        let members = self.members.load();
        if members.targets.is_empty() {
            return Err(Nobody::Known);
        }
        let most = self.forwarding.admit.in_flight;
        let may_serve = |target: &Target| target.state.health.may_serve(now_ns);
        // Where nobody may serve, everybody is asked: an answer is still likelier than from none.
        let anybody = !members.targets.iter().any(|target| may_serve(target));
        let fits = |target: &Target| {
            (anybody || may_serve(target)) && !tried.has(target) && target.in_flight() < most
        };
        for _ in 0..CLAIMS {
            let Some(target) = self.pick(&members, key, now_ns, &fits) else { break };
            if (anybody || target.state.health.take_trial(now_ns))
                && let Some(pending) = target.take(most)
            {
                return Ok(pending);
            }
        }
        Err(Nobody::Free)
    }

    /// What the answer's status says of who gave it.
    pub(super) fn answered(&self, target: &Target, status: u16) {
        if self.forwarding.eject.statuses.contains(&status) {
            self.failed(target, &format_args!("answered {status}"));
        } else if target.state.health.succeeded(now_ns) {
            tracing::info!(api = %self.api, upstream = %target.name, "upstream serves again");
        }
    }

    pub(super) fn failed(&self, target: &Target, why: &dyn std::fmt::Display) {
        let now_ns = now_ns();
        if target.state.health.failed(&self.forwarding.eject, now_ns) {
            self.eject(target, why, now_ns);
        }
    }

    /// An answer of it broke off.
    pub(super) fn cut(&self, target: &Target, why: &dyn std::fmt::Display) {
        let now_ns = now_ns();
        if target.state.health.cut(&self.forwarding.eject, now_ns) {
            self.eject(target, &format_args!("answers break off: {why}"), now_ns);
        }
    }

    fn eject(&self, target: &Target, why: &dyn std::fmt::Display, now_ns: u64) {
        let Ok(_alone) = self.group.ejecting.try_lock() else { return };
        let members = self.members.load();
        let is_ejected = |other: &&Arc<Target>| {
            other.state.id != target.state.id
                && matches!(other.state.health.standing(now_ns), Standing::Ejected { .. })
        };
        let ejected = members.targets.iter().filter(is_ejected).count();
        if ejected < self.forwarding.eject.most_of(members.targets.len()) {
            let length_ns = target.state.health.eject(&self.forwarding.eject, why.to_string(), now_ns);
            self.group.ejections.fetch_add(1, Ordering::Relaxed);
            let seconds = length_ns / 1_000_000_000;
            tracing::warn!(api = %self.api, upstream = %target.name, seconds, %why, "upstream ejected");
        }
    }
}

impl Members {
    fn new(targets: Vec<Arc<Target>>, by: &By) -> Self {
        let weights: Vec<_> = targets.iter().map(|target| target.weight).collect();
        let ring = match by {
            By::RoundRobin | By::LeastPending => Ring::default(),
            By::ClientHash | By::HeaderHash(_) => Ring::new(&targets),
        };
        Self { turns: turns::interleave(&weights), ring, targets }
    }
}
