//! `weir store`: asks, prints, and ends with the exit code that says whether the store is well.

use std::time::Duration;

use super::operate::{Failed, failed, socket, told};
use super::print::{Text, store_line};
use super::{StoreAction, Surroundings};
use crate::control::{AskError, MasterView, PingView, PingsView, Request, StoreView, ask as ask_weir};
use crate::run::Exit;

pub(super) fn store(action: StoreAction, surroundings: &Surroundings) -> Result<(), Failed> {
    let (ask, request) = match &action {
        StoreAction::Status { ask } => (ask, Request::StoreStatus),
        StoreAction::Ping { ask } => (ask, Request::StorePing),
    };
    let answer = ask_weir(&socket(ask, surroundings)?, &request).map_err(failed)?;
    let nonsense = |error| failed(AskError::Nonsense(error));
    let wrong = match &action {
        StoreAction::Status { .. } => {
            let view: StoreView = serde_json::from_value(answer.clone()).map_err(nonsense)?;
            told::<StoreView>(ask, answer, status)?;
            (view.up == Some(false)).then(|| view.reason.unwrap_or_default())
        }
        StoreAction::Ping { .. } => {
            let pings: PingsView = serde_json::from_value(answer.clone()).map_err(nonsense)?;
            told::<PingsView>(ask, answer, pinged)?;
            let silent = pings.masters.iter().find_map(|master| master.fault.clone());
            silent.or_else(|| pings.store.reason.filter(|_| pings.store.up == Some(false)))
        }
    };
    match wrong {
        None => Ok(()),
        Some(why) => Err((Exit::System, format!("the store is not well: {why}"))),
    }
}

fn status(store: &StoreView) -> String {
    let mut text = Text::default();
    text.line("store", store_line(store));
    if let Some(tags) = store.tags {
        text.line("tags", format!("{tags}; the state changed {} times", store.changes));
    }
    if let Some(uncovered) = store.slots_uncovered.filter(|slots| *slots > 0) {
        text.line("slots", format!("{uncovered} HAVE NO MASTER"));
    }
    for master in &store.masters {
        text.line("master", master_line(master));
    }
    text.finish()
}

fn master_line(master: &MasterView) -> String {
    let mut parts = vec![format!(
        "{} {}",
        master.address.as_deref().unwrap_or("not named yet"),
        master.state.to_uppercase()
    )];
    if let Some(seconds) = master.answer_seconds {
        parts.push(format!("answers in {:.1} ms", seconds * 1e3));
    }
    if let Some(seconds) = master.lag_seconds {
        parts.push(format!("last {:.1?} ago", Duration::from_secs_f64(seconds)));
    }
    if let Some(slots) = master.slots {
        parts.push(format!("{slots} slots"));
    }
    if let Some(offset) = master.clock_offset_ms {
        parts.push(format!("clock {offset:+} ms"));
    }
    parts.push(format!("{} waiting, {} connects", master.pending, master.connects));
    parts.extend(master.reason.clone());
    parts.join(", ")
}

fn pinged(pings: &PingsView) -> String {
    let mut text = Text::default();
    text.line("store", store_line(&pings.store));
    for ping in &pings.masters {
        text.line("master", ping_line(ping));
    }
    text.finish()
}

fn ping_line(ping: &PingView) -> String {
    let mut parts = vec![ping.address.clone().unwrap_or_else(|| "not named yet".to_owned())];
    let found = [
        ping.round_trip_ms.map(|ms| format!("{ms:.2} ms")),
        ping.role.clone(),
        ping.replicas.map(|replicas| format!("{replicas} replicas")),
        ping.version.as_ref().map(|version| format!("version {version}")),
        ping.script_us.map(|us| format!("a script takes {us:.1} us")),
        ping.memory_used_bytes.map(|bytes| memory(bytes, ping)),
        ping.fault.as_ref().map(|fault| format!("NO ANSWER: {fault}")),
    ];
    parts.extend(found.into_iter().flatten());
    parts.join(", ")
}

/// A store without a limit, or with one that forgets nothing, fills up.
fn memory(used: u64, ping: &PingView) -> String {
    let policy = ping.memory_policy.as_deref().unwrap_or("unknown policy");
    match ping.memory_max_bytes {
        Some(most) if most > 0 => format!("{} of {} MiB, {policy}", used >> 20, most >> 20),
        _ => format!("{} MiB, no maxmemory", used >> 20),
    }
}
