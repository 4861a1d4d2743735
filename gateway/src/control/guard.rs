//! Follows whom the guard names: routes, name servers, addresses and names change while Weir runs.
//! Who becomes guarded is let in again: into ALLOW, and out of the bans.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::{MissedTickBehavior, interval};

use super::message::News;
use super::{Parts, bans};
use crate::config::{Config, Errors, find_guard, store_host};
use crate::kernel::{Guard, Host, HostFacts, Names};
use crate::model::prefix_of;
use crate::plane::now_ns;

/// How often the host is looked at.
const LOOK: Duration = Duration::from_secs(2);
/// Operators' addresses that are kept; the oldest go.
const SESSIONS_MAX: usize = 256;

/// The guard in force, and what it is made of.
pub struct Guarding {
    present: ArcSwap<Guard>,
    sessions: Mutex<Vec<IpAddr>>,
    names: Mutex<Names>,
    /// Hosts that no configuration names: masters that Sentinels or a Cluster name.
    found: Mutex<Vec<Host>>,
}

impl Guarding {
    pub fn new(present: Guard, sessions: Vec<IpAddr>, names: Names) -> Self {
        Self {
            present: ArcSwap::from_pointee(present),
            sessions: Mutex::new(sessions),
            names: Mutex::new(names),
            found: Mutex::default(),
        }
    }

    pub fn present(&self) -> Arc<Guard> {
        self.present.load_full()
    }

    /// What names stand for, as far as is known.
    pub(super) fn names(&self) -> Names {
        locked(&self.names).clone()
    }

    /// Takes over what names stand for now.
    pub(super) fn renew_names(&self, newer: Names) {
        locked(&self.names).renew(newer);
    }

    /// Guards a commander's SSH peers too, until the next start.
    pub(super) fn welcome(&self, peers: &[IpAddr]) {
        let mut sessions = locked(&self.sessions);
        sessions.retain(|session| !peers.contains(session));
        sessions.extend(peers);
        let too_many = sessions.len().saturating_sub(SESSIONS_MAX);
        sessions.drain(..too_many);
    }

    /// Hosts that `config` names, and those that were found.
    pub(super) fn hosts(&self, config: &Config) -> Vec<Host> {
        let mut hosts = config.hosts();
        hosts.extend(locked(&self.found).iter().cloned());
        hosts
    }

    /// Whom `config` must not cut off.
    pub(super) fn find(&self, config: &Config) -> Result<Guard, Errors> {
        let sessions = locked(&self.sessions).clone();
        let found = locked(&self.found).clone();
        find_guard(config, &found, &sessions, &mut locked(&self.names))
    }

    /// As [`Guarding::find`], by the names that are known.
    fn look(&self, config: &Config) -> std::io::Result<Guard> {
        let facts = HostFacts::read()?;
        Ok(Guard::of(
            &config.kernel,
            facts,
            &self.hosts(config),
            &locked(&self.names),
            &locked(&self.sessions),
        ))
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes `guard` the one in force; the kernel has it already.
pub(super) fn adopt(parts: &Parts, guard: Guard) {
    let guard = Arc::new(guard);
    parts.guarding.present.store(Arc::clone(&guard));
    parts.shared.shedder.spare(guard.prefixes().collect());
    let now_ns = now_ns();
    let banned = parts.shared.bans.list(now_ns).unwrap_or_default();
    for row in banned {
        let prefix = prefix_of(row.key);
        let Some(guarded) = guard.met_by(&prefix).next() else { continue };
        match parts.shared.bans.remove(row.key, now_ns) {
            Ok(_) => {
                tracing::warn!(client = %row.key, "ban lifted: it would hit {guarded}");
                bans::tell(parts, News::Unbanned { client: row.key.to_string() });
            }
            Err(error) => {
                tracing::warn!(client = %row.key, %error, "a guarded client's ban cannot be lifted")
            }
        }
    }
}

/// Looks at the host every [`LOOK`] for as long as this runs.
pub async fn follow_guard(parts: Arc<Parts>) {
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    adopt(&parts, Guard::clone(&parts.guarding.present()));
    loop {
        looks.tick().await;
        refresh(&parts);
    }
}

fn refresh(parts: &Parts) {
    let config = parts.config.load_full();
    if let Some(store) = &parts.store {
        let found = store.addresses();
        *locked(&parts.guarding.found) = found.iter().map(store_host).collect();
    }
    let guard = match parts.guarding.look(&config) {
        Ok(guard) => guard,
        Err(error) => {
            tracing::warn!(%error, "this host's routes cannot be read, the guard stays as it is");
            return;
        }
    };
    let present = parts.guarding.present();
    if guard == *present {
        return;
    }
    for row in guard.rows().iter().filter(|row| !present.rows().contains(row)) {
        tracing::info!("guarded from now on: {row}");
    }
    match parts.reloader.publish_rules(&config, &guard, &parts.added.present()) {
        Ok(()) => adopt(parts, guard),
        Err(error) => tracing::warn!(error, "the guard changed, and the kernel's rules cannot be written"),
    }
}
