//! `weir apply`: a configuration that holds for a while, and the old one again unless somebody confirms.
//! What is not confirmed never reaches the disk: the file that a start reads is the old one, whoever is
//! killed meanwhile. Should nobody be left to write the old rules into the kernel, a lease there runs
//! out, and nothing is dropped.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

use super::message::{Applied, News, Pending, ReloadReport};
use super::{Parts, bans};
use crate::config::Config;
use crate::plane::now_ns;

/// Beyond the time to confirm, before the kernel stops dropping by rules that nobody took back.
const LEASE_GRACE: Duration = Duration::from_secs(5);
/// Longer is no trial.
const CONFIRM_MAX: Duration = Duration::from_secs(24 * 3_600);
/// A look at the clock where nothing is pending and nobody says so.
const IDLE: Duration = Duration::from_secs(3_600);

/// The trial that runs, if any.
#[derive(Default)]
pub struct Trial {
    state: Mutex<Option<State>>,
    changed: Notify,
}

struct State {
    text: String,
    /// What held before, and holds again.
    before: Arc<Config>,
    until_ns: u64,
}

impl Trial {
    fn locked(&self) -> MutexGuard<'_, Option<State>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn until_ns(&self) -> Option<u64> {
        self.locked().as_ref().map(|state| state.until_ns)
    }

    /// The configuration whose files are followed: a change of them ends the trial.
    pub(super) fn before(&self) -> Option<Arc<Config>> {
        self.locked().as_ref().map(|state| Arc::clone(&state.before))
    }

    /// Until the old configuration comes back; None: nothing is pending.
    pub(super) fn left(&self) -> Option<Duration> {
        self.until_ns().map(|until_ns| Duration::from_nanos(until_ns.saturating_sub(now_ns())))
    }
}

/// Puts `text` in force for `confirm_seconds`; `name` is where it came from, for its mistakes.
pub(super) fn apply(parts: &Parts, text: &str, name: &str, confirm_seconds: u64) -> Result<Applied, String> {
    let length = Duration::from_secs(confirm_seconds);
    if length.is_zero() || length > CONFIRM_MAX {
        return Err("the time to confirm is 1s to 1d".to_owned());
    }
    let _alone = parts.reloader.locked();
    let before = parts.trial.before().unwrap_or_else(|| parts.config.load_full());
    let (config, guard) = parts.reloader.check(parts, text, Path::new(name))?;
    // The lease first: whatever happens from here on, it ends.
    parts.reloader.lease(Some(length + LEASE_GRACE))?;
    let report = match parts.reloader.publish(parts, config, guard) {
        Ok(report) => report,
        Err(error) => {
            // Half of it may be in the kernel. Where that cannot be taken back the lease runs out.
            parts.reloader.restore(parts, &before)?;
            settle(parts);
            return Err(error);
        }
    };
    let until_ns = now_ns().saturating_add(u64::try_from(length.as_nanos()).unwrap_or(u64::MAX));
    *parts.trial.locked() = Some(State { text: text.to_owned(), before, until_ns });
    parts.trial.changed.notify_one();
    tracing::warn!(
        seconds = confirm_seconds,
        "a configuration is on trial, the old one comes back unless it is kept"
    );
    bans::tell(parts, News::OnTrial { seconds: confirm_seconds });
    let ReloadReport { changed, waits_for_restart, .. } = report;
    Ok(Applied { changed, waits_for_restart, reverts_in_seconds: Some(confirm_seconds) })
}

/// What is on trial, for who writes it to the file.
pub(super) fn pending(parts: &Parts) -> Result<Pending, String> {
    let state = parts.trial.locked();
    let state = state.as_ref().ok_or("nothing is on trial: `weir apply --confirm 60s FILE` begins one")?;
    let file = std::path::absolute(parts.reloader.file()).map_err(|error| error.to_string())?;
    Ok(Pending { file, text: state.text.clone() })
}

/// The old configuration, now.
pub(super) fn revert(parts: &Parts) -> Result<ReloadReport, String> {
    revert_because(parts, "by command")
}

/// The old configuration holds again; whatever is asked for after that is a new trial.
fn revert_because(parts: &Parts, why: &str) -> Result<ReloadReport, String> {
    let _alone = parts.reloader.locked();
    let state = parts.trial.locked().take().ok_or("nothing is on trial")?;
    match parts.reloader.restore(parts, &state.before) {
        Ok(()) => {
            parts.reloader.lease(None)?;
            tracing::warn!(why, "the configuration on trial is gone, the old one holds again");
            bans::tell(parts, News::Reverted { why: why.to_owned() });
            Ok(ReloadReport { changed: true, waits_for_restart: Vec::new(), under_way: Vec::new() })
        }
        Err(error) => {
            tracing::error!(error, "the old configuration cannot be written, trying again");
            parts.trial.locked().get_or_insert(State { until_ns: now_ns() + RETRY_NS, ..state });
            Err(error)
        }
    }
}

/// Before another try to write the old configuration; the kernel's lease runs on.
const RETRY_NS: u64 = 1_000_000_000;

/// The configuration file holds: the trial is over, whichever way.
pub(super) fn settle(parts: &Parts) {
    if parts.trial.locked().take().is_some() {
        tracing::info!("the trial is over: the configuration file holds");
    }
    if let Err(error) = parts.reloader.lease(None) {
        tracing::warn!(error, "the trial's lease cannot be ended");
    }
}

/// Brings the old configuration back when the time is over.
pub async fn revert_in_time(parts: Arc<Parts>) {
    loop {
        let left = parts.trial.left();
        tokio::select! {
            () = sleep(left.unwrap_or(IDLE)) => {}
            () = parts.trial.changed.notified() => continue,
        }
        if parts.trial.until_ns().is_some_and(|until_ns| until_ns <= now_ns()) {
            // What it answers is logged.
            match revert_because(&parts, "nobody confirmed it") {
                Ok(_) | Err(_) => {}
            }
        }
    }
}

/// A gateway that starts may find in the kernel what its predecessor had on trial, or a guard that is
/// old: the file's rules are written again, and the trial's lease ends.
pub fn begin(parts: &Parts) -> Result<(), String> {
    parts.reloader.publish_rules(&parts.config.load(), &parts.guarding.present(), &parts.added.present())?;
    parts.reloader.lease(None)
}

/// A clean stop leaves nothing on trial in the kernel.
pub fn revert_at_the_end(parts: &Parts) {
    if parts.trial.until_ns().is_some() {
        match revert_because(parts, "weir ends") {
            Ok(_) | Err(_) => {}
        }
    }
}
