//! `weir store`: what the link knows of the store, and what the store says when it is asked.

use super::Parts;
use super::message::{MasterView, PingView, PingsView, StoreView};
use crate::store::redis::{MasterStatus, Probe, State};

/// As the link knows it now.
pub(super) fn view(parts: &Parts) -> StoreView {
    let Some(link) = &parts.store else {
        return StoreView {
            kind: "none".to_owned(),
            up: None,
            state: None,
            reason: None,
            since_seconds: None,
            changes: 0,
            tags: None,
            masters: Vec::new(),
            slots_uncovered: None,
        };
    };
    let status = link.status();
    StoreView {
        kind: status.topology.to_owned(),
        up: Some(status.state != State::Down),
        state: Some(status.state.label().to_owned()),
        reason: status.reason,
        since_seconds: Some(status.since.as_secs_f64()),
        changes: status.changes,
        tags: Some(status.tags),
        masters: status.masters.into_iter().map(master).collect(),
        slots_uncovered: status.slots_uncovered,
    }
}

fn master(status: MasterStatus) -> MasterView {
    MasterView {
        address: status.address,
        state: status.state.label().to_owned(),
        reason: status.reason,
        answer_seconds: status.took.map(|took| took.as_secs_f64()),
        lag_seconds: status.lag.map(|lag| lag.as_secs_f64()),
        clock_offset_ms: status.clock_offset_ms,
        slots: status.slots,
        pending: status.pending,
        connects: status.connects,
        script_loads: status.script_loads,
    }
}

/// Asks every master.
pub(super) async fn ping(parts: &Parts) -> Result<PingsView, String> {
    let Some(link) = &parts.store else {
        return Err("there is no store: [store] in the configuration names one".to_owned());
    };
    let masters = link.probe().await.into_iter().map(pinged).collect();
    Ok(PingsView { store: view(parts), masters })
}

fn pinged(probe: Probe) -> PingView {
    PingView {
        address: probe.address,
        fault: probe.fault,
        round_trip_ms: probe.round_trip.map(|time| time.as_secs_f64() * 1e3),
        role: probe.role,
        version: probe.version,
        replicas: probe.replicas,
        script_us: probe.script_us,
        scripts_run: probe.scripts_run,
        memory_used_bytes: probe.memory_used_bytes,
        memory_max_bytes: probe.memory_max_bytes,
        memory_policy: probe.memory_policy,
    }
}
