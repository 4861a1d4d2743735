//! What outlives a snapshot: the addresses that upstreams' names stand for, and what is counted of each
//! address. Read at publish and when names change, never on a request's path. It asks nobody: the
//! control side tells it what names stand for.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::group::Group;
use super::health::Health;
use super::secure::{Security, fingerprint};
use super::target::{Target, TargetState, host_and_port};
use crate::model::{Speaks, Upstream};
use crate::plane::now_ns;

/// Addresses by name. A name without one is left out.
pub type Addresses = BTreeMap<String, Vec<IpAddr>>;

/// Addresses of one API's upstreams together; further ones are not used.
pub(super) const TARGETS_MAX: usize = 1_024;

/// Of the process.
#[derive(Default)]
pub struct Upstreams {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    addresses: Addresses,
    states: HashMap<StateKey, Weak<TargetState>>,
    groups: HashMap<Arc<str>, Weak<Group>>,
    next_id: u64,
}

/// An API, its upstream as it is written, an address of that, and the fingerprint of its TLS: what was
/// connected under another is not used any more.
type StateKey = (Arc<str>, Arc<str>, SocketAddr, Option<[u8; 32]>, Speaks);

impl Upstreams {
    /// Takes over what is newer; a name without an answer keeps its old one.
    pub fn learn(&self, newer: Addresses) {
        self.locked().addresses.extend(newer);
    }

    /// Every address of the upstreams of `api`, in the order in which they are written, and what they share.
    pub(super) fn of(&self, api: &Arc<str>, upstreams: &[Upstream]) -> (Arc<Group>, Vec<Arc<Target>>) {
        let mut known = self.locked();
        known.states.retain(|_, state| state.strong_count() > 0);
        known.groups.retain(|_, group| group.strong_count() > 0);
        let present = known.groups.get(api).and_then(Weak::upgrade);
        // Who joins others grows to its share; those who start together have it.
        let health = || present.as_ref().map_or_else(Health::default, |_| Health::since(now_ns()));
        let group = present.clone().unwrap_or_default();
        known.groups.insert(Arc::clone(api), Arc::downgrade(&group));
        let mut targets = Vec::new();
        for upstream in upstreams {
            let tls = upstream.tls.as_deref();
            let fingerprint = tls.map(fingerprint);
            for address in known.addresses_of(&upstream.authority) {
                let key =
                    (Arc::clone(api), Arc::clone(&upstream.authority), address, fingerprint, upstream.speaks);
                let state =
                    known.state(key, health, || Security::new(tls, &upstream.authority, upstream.speaks));
                targets.push(Arc::new(Target::new(upstream, address, state, Arc::clone(&group))));
            }
        }
        if targets.len() > TARGETS_MAX {
            tracing::warn!(%api, addresses = targets.len(), "more addresses than are used");
            targets.truncate(TARGETS_MAX);
        }
        (group, targets)
    }

    fn locked(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Sorted, so that the order in which a name server tells them changes nothing.
    fn addresses_of(&self, authority: &str) -> Vec<SocketAddr> {
        let (host, port) = host_and_port(authority);
        let mut addresses = match host.parse() {
            Ok(address) => vec![address],
            Err(_) => self.addresses.get(host).cloned().unwrap_or_default(),
        };
        addresses.sort_unstable();
        addresses.dedup();
        addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect()
    }

    fn state(
        &mut self,
        key: StateKey,
        health: impl Fn() -> Health,
        security: impl Fn() -> Security,
    ) -> Arc<TargetState> {
        if let Some(state) = self.states.get(&key).and_then(Weak::upgrade) {
            return state;
        }
        self.next_id += 1;
        let state = Arc::new(TargetState::new(self.next_id, health(), security(), key.4));
        self.states.insert(key, Arc::downgrade(&state));
        state
    }
}
