//! What the link says of itself.

use std::time::Duration;

use super::board::State;
use super::link::{Inner, Masters};

/// For commands and gauges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// `standalone`, `sentinel` or `cluster`.
    pub topology: &'static str,
    pub state: State,
    pub reason: Option<String>,
    /// How long it has been so.
    pub since: Duration,
    /// Changes of the state so far.
    pub changes: u64,
    pub tags: u16,
    pub masters: Vec<MasterStatus>,
    /// Of a Cluster.
    pub slots_uncovered: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MasterStatus {
    /// None: the Sentinels have named none yet.
    pub address: Option<String>,
    pub state: State,
    pub reason: Option<String>,
    /// The last answer took so long.
    pub took: Option<Duration>,
    /// Since the last answer.
    pub lag: Option<Duration>,
    /// Redis's clock less ours.
    pub clock_offset_ms: Option<i64>,
    pub slots: Option<u16>,
    pub pending: usize,
    pub connects: u64,
    pub script_loads: u64,
}

impl Status {
    pub(super) fn of(inner: &Inner) -> Self {
        let seen = inner.board.see();
        let (servers, slots) = match &inner.masters {
            Masters::One(server) => (vec![std::sync::Arc::clone(server)], None),
            Masters::Cluster(cluster) => (cluster.servers(), Some(cluster.slots())),
        };
        let masters = seen.rows.iter().map(|(id, row)| {
            let server = servers.iter().find(|server| server.id == *id);
            let served = slots.as_ref().zip(row.address.as_ref());
            MasterStatus {
                address: row.address.as_ref().map(ToString::to_string),
                state: row.state(),
                reason: row.fault.as_ref().map(ToString::to_string),
                took: row.took,
                lag: row.answered.map(|moment| moment.elapsed()),
                clock_offset_ms: row.clock_offset_ms,
                slots: served.map(|(slots, address)| slots.served_by(address)),
                pending: server.map_or(0, |server| server.pending()),
                connects: row.connects,
                script_loads: row.script_loads,
            }
        });
        Self {
            topology: inner.dialer.config.topology.label(),
            state: seen.state,
            reason: seen.reason.map(|reason| reason.to_string()),
            since: seen.since.elapsed(),
            changes: seen.changes,
            tags: inner.dialer.config.tags,
            masters: masters.collect(),
            slots_uncovered: slots.map(|slots| slots.uncovered()),
        }
    }
}
