//! What operators are told of an API's upstreams.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Balance, Standing};
use crate::proxy::forward::health::FULL_SHARE;

/// One API's.
#[derive(Clone, Debug)]
pub struct UpstreamFacts {
    pub api: Arc<str>,
    pub targets: Vec<TargetFacts>,
    /// Requests that wait because every address is full.
    pub waiting: u32,
    pub ejections: u64,
}

/// One address.
#[derive(Clone, Debug)]
pub struct TargetFacts {
    /// As it is written.
    pub upstream: Arc<str>,
    pub address: SocketAddr,
    /// One of [`TargetFacts::STATES`].
    pub state: &'static str,
    pub why: Option<String>,
    pub ejected_for: Option<Duration>,
    pub in_flight: u32,
    /// Open, idle ones too.
    pub connections: u32,
}

impl TargetFacts {
    pub const STATES: [&str; 5] = ["serving", "growing", "on_trial", "ejected", "down"];
}

impl Balance {
    pub fn facts(&self, now_ns: u64) -> UpstreamFacts {
        let members = self.members.load();
        let [serving, growing, on_trial, ejected, down] = TargetFacts::STATES;
        let targets = members.targets.iter().map(|target| {
            let health = &target.state.health;
            let (state, ejected_for) = match health.standing(now_ns) {
                Standing::Ejected { until_ns } => (ejected, Some(until_ns.saturating_sub(now_ns))),
                Standing::Down => (down, None),
                Standing::OnTrial => (on_trial, None),
                Standing::Serving if health.share(self.slow_start_ns, now_ns) < FULL_SHARE => (growing, None),
                Standing::Serving => (serving, None),
            };
            TargetFacts {
                upstream: Arc::clone(&target.upstream),
                address: target.address,
                state,
                why: health.why().map(|why| why.to_string()),
                ejected_for: ejected_for.map(Duration::from_nanos),
                in_flight: target.in_flight(),
                connections: target.state.connections(),
            }
        });
        UpstreamFacts {
            api: Arc::clone(&self.api),
            targets: targets.collect(),
            waiting: self.group.queue.waiting(),
            ejections: self.group.ejections.load(Ordering::Relaxed),
        }
    }
}
