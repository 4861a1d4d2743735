//! `weir status`: what runs, in which mode, and how full everything is.

use std::sync::atomic::Ordering;

use super::message::{
    BudgetView, CensusView, ConfigView, CounterView, GuardView, InterfaceView, KernelView, MemoryView,
    SandboxView, Status, TableView, UpstreamView,
};
use super::{Parts, store};
use crate::kernel::Confinement;
use crate::plane::{Census, now_ns};
use crate::proxy::UpstreamFacts;

pub(super) fn status(parts: &Parts) -> Result<Status, String> {
    let now_ns = now_ns();
    let config = parts.config.load();
    let table = parts.shared.plane.table();
    Ok(Status {
        uptime_seconds: now_ns.saturating_sub(parts.started_ns) / 1_000_000_000,
        ready: parts.ready.load(Ordering::Acquire),
        config: ConfigView {
            file: config.file.display().to_string(),
            last_reload: parts.reloader.last(),
            reverts_in_seconds: parts.trial.left().map(|left| left.as_secs()),
        },
        kernel: kernel(parts)?,
        sandbox: sandbox(&parts.confinement),
        memory: MemoryView {
            ceiling_bytes: parts.ceiling_bytes.load(Ordering::Relaxed),
            rss_bytes: resident_bytes(),
        },
        store: store::view(parts),
        table: TableView { capacity: table.capacity(), used: table.used(), replaced: table.replaced() },
        upstreams: upstreams(parts, now_ns),
        connections: parts.shared.connections(),
        bans: parts.shared.bans.list(now_ns).map_err(|error| error.to_string())?.len(),
    })
}

fn upstreams(parts: &Parts, now_ns: u64) -> Vec<UpstreamView> {
    let snapshot = parts.shared.snapshot.load();
    let of_api = |facts: UpstreamFacts| {
        facts.targets.into_iter().map(move |target| UpstreamView {
            api: facts.api.to_string(),
            upstream: target.upstream.to_string(),
            address: target.address.to_string(),
            state: target.state.to_owned(),
            why: target.why,
            ejected_for_seconds: target.ejected_for.map(|left| left.as_secs()),
            in_flight: target.in_flight,
            connections: target.connections,
        })
    };
    snapshot.upstreams(now_ns).into_iter().flat_map(of_api).collect()
}

fn sandbox(confinement: &Confinement) -> SandboxView {
    let Confinement { seccomp, landlock } = confinement;
    let mut whys: Vec<_> = [seccomp.why(), landlock.why()].into_iter().flatten().collect();
    whys.dedup();
    SandboxView {
        uid: nix::unistd::geteuid().as_raw(),
        seccomp: seccomp.name().to_owned(),
        landlock: landlock.name().to_owned(),
        why: (!whys.is_empty()).then(|| whys.join("; ")),
    }
}

fn kernel(parts: &Parts) -> Result<KernelView, String> {
    let facts = parts.facts.load();
    let interfaces = facts
        .interfaces
        .iter()
        .map(|interface| InterfaceView {
            name: interface.name.clone(),
            mode: interface.state.to_string(),
            why: interface.why.clone(),
        })
        .collect();
    let mut view = KernelView {
        mode: facts.mode.to_string(),
        why: facts.why.clone(),
        note: facts.note.clone(),
        proof: facts.proof.to_owned(),
        interfaces,
        clients_capacity: None,
        clients: census(parts),
        packets: Vec::new(),
        budget_exhausted: None,
        guarded: GuardView::all(&parts.guarding.present()),
    };
    let Some(maps) = &parts.maps else { return Ok(view) };
    let said = |error: crate::plane::MapsError| error.to_string();
    view.clients_capacity = Some(maps.capacity_of_clients().map_err(said)?);
    let [syn, tcp, udp, echo, fragments, apart] = maps.exhausted().map_err(said)?;
    view.budget_exhausted = Some(BudgetView { syn, tcp, udp, echo, fragments, apart });
    view.packets = maps
        .counters()
        .map_err(said)?
        .into_iter()
        .map(|row| CounterView {
            verdict: row.verdict.to_owned(),
            action: row.action.to_owned(),
            packets: row.packets,
            bytes: row.bytes,
        })
        .collect();
    Ok(view)
}

fn census(parts: &Parts) -> Option<CensusView> {
    let Census { entries, proved, owing, evicted_owing } = (**parts.census.load())?;
    Some(CensusView { entries, proved, owing, evicted_owing })
}

/// Resident memory of this process; 0 where /proc does not say.
pub(super) fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1_024
}
