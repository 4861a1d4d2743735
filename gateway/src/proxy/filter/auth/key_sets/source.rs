//! One published set of keys over its life: held, fresh, fetched again ahead of its end, stale while it
//! cannot be, dropped. Who may have it fetched, and when, is decided here and nowhere else.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::{Notify, watch};

use super::fetch::Fetched;
use super::lifetime::refresh_after;
use super::{HeldFacts, KeySetFacts, pin};
use crate::model::KeySetSource;
use crate::proxy::filter::auth::jwt::KeySet;

/// From one fetch to the next that a request may cause, and from a failed one to the next at all.
pub const COOL_DOWN: Duration = Duration::from_secs(10);
/// The longest time between two fetches that fail.
const RETRY_MOST: Duration = Duration::from_secs(60);

pub struct Source {
    pub settings: KeySetSource,
    held: ArcSwapOption<Held>,
    state: Mutex<State>,
    wake: Arc<Notify>,
    /// Counts fetches that ended.
    ended: watch::Sender<u64>,
    failed: AtomicU64,
    held_off: AtomicU64,
}

struct Held {
    set: Arc<KeySet>,
    bytes: usize,
    fetched_s: u64,
    fresh_until_ns: u64,
    dropped_at_ns: u64,
    is_pinned: bool,
}

struct State {
    phase: Phase,
    /// When the next fetch begins by itself.
    due_ns: u64,
    /// From when on a request may have one.
    free_ns: u64,
    failures: u32,
    error: Option<Arc<str>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    /// Somebody waits for it.
    Wanted,
    Fetching,
}

/// Ends with the fetch that was asked for.
pub struct Wait(watch::Receiver<u64>);

impl Wait {
    pub async fn end(mut self) {
        // The source is gone: nothing more will come.
        self.0.changed().await.unwrap_or(());
    }
}

impl Source {
    /// Due at once.
    pub fn new(settings: KeySetSource, wake: Arc<Notify>, now_ns: u64, unix_s: u64) -> Self {
        let state = State { phase: Phase::Idle, due_ns: now_ns, free_ns: now_ns, failures: 0, error: None };
        let source = Self {
            held: ArcSwapOption::empty(),
            state: Mutex::new(state),
            wake,
            ended: watch::Sender::new(0),
            failed: AtomicU64::new(0),
            held_off: AtomicU64::new(0),
            settings,
        };
        source.take_pinned(now_ns, unix_s);
        source
    }

    /// None before the first fetch, and when it could not be fetched for too long.
    pub fn set(&self) -> Option<Arc<KeySet>> {
        self.held.load().as_ref().map(|held| Arc::clone(&held.set))
    }

    /// A request would have it fetched: it waits for the fetch that is under way or may begin now; None during
    /// a cool-down.
    pub fn want(&self, now_ns: u64) -> Option<Wait> {
        let mut state = self.locked();
        if state.phase == Phase::Idle {
            if now_ns < state.free_ns {
                self.held_off.fetch_add(1, Ordering::Relaxed);
                return None;
            }
            state.phase = Phase::Wanted;
            self.wake.notify_one();
        }
        // Under the lock: the fetch cannot end in between.
        Some(Wait(self.ended.subscribe()))
    }

    /// An operator would: at once.
    pub fn refresh(&self) -> Wait {
        let mut state = self.locked();
        if state.phase == Phase::Idle {
            state.phase = Phase::Wanted;
            self.wake.notify_one();
        }
        Wait(self.ended.subscribe())
    }

    /// True: it is the caller's to fetch, and to [`Source::end`] it.
    pub fn begin(&self, now_ns: u64) -> bool {
        let mut state = self.locked();
        let begins = match state.phase {
            Phase::Idle => state.due_ns <= now_ns,
            Phase::Wanted => true,
            Phase::Fetching => false,
        };
        if begins {
            state.phase = Phase::Fetching;
            state.free_ns = now_ns.saturating_add(nanoseconds(COOL_DOWN));
        }
        begins
    }

    pub async fn end(&self, fetched: Result<Fetched, String>, now_ns: u64, unix_s: u64, seed: u64) {
        let taken = match fetched {
            Ok(fetched) => self.take(&fetched, now_ns, unix_s).map(|fresh_for| (fresh_for, fetched.document)),
            Err(error) => Err(error),
        };
        let document = {
            let mut state = self.locked();
            state.phase = Phase::Idle;
            match taken {
                Ok((fresh_for, document)) => {
                    if state.failures > 0 {
                        tracing::info!(url = %self.settings.url, "keys can be fetched again");
                    }
                    (state.failures, state.error) = (0, None);
                    state.due_ns = now_ns.saturating_add(nanoseconds(refresh_after(fresh_for, seed)));
                    Some(document)
                }
                Err(error) => {
                    if state.error.as_deref() != Some(&error) {
                        tracing::warn!(url = %self.settings.url, error, "keys cannot be fetched");
                    }
                    let wait = COOL_DOWN.saturating_mul(1 << state.failures.min(8)).min(RETRY_MOST);
                    state.due_ns = now_ns.saturating_add(nanoseconds(wait));
                    // As long as it fails, only time has it fetched: requests do not.
                    state.free_ns = state.due_ns;
                    state.failures = state.failures.saturating_add(1);
                    state.error = Some(error.into());
                    self.failed.fetch_add(1, Ordering::Relaxed);
                    None
                }
            }
        };
        self.ended.send_modify(|ended| *ended = ended.wrapping_add(1));
        if let (Some(document), Some(folder)) = (document, self.settings.pin.clone()) {
            self.keep_pinned(folder, document).await;
        }
    }

    /// Lets go of keys that could not be fetched for as long as they may be used.
    pub fn drop_stale(&self, now_ns: u64) {
        let over = |held: &Arc<Held>| held.dropped_at_ns <= now_ns;
        if self.held.load().as_ref().is_some_and(over) {
            tracing::error!(url = %self.settings.url, "keys are too old to be used: fetching them fails");
            self.swap(None);
        }
    }

    pub fn facts(&self, now_ns: u64, unix_s: u64) -> KeySetFacts {
        let held = self.held.load().as_ref().map(|held| HeldFacts {
            keys: held.set.names(),
            left_out: held.set.left_out(),
            bytes: held.bytes,
            age_s: unix_s.saturating_sub(held.fetched_s),
            is_stale: held.fresh_until_ns <= now_ns,
            is_pinned: held.is_pinned,
        });
        let failed = self.failed.load(Ordering::Relaxed);
        let state = self.locked();
        KeySetFacts {
            url: Arc::clone(&self.settings.url),
            held,
            fetched: self.ended.borrow().saturating_sub(failed),
            failed,
            held_off: self.held_off.load(Ordering::Relaxed),
            is_fetching: state.phase == Phase::Fetching,
            error: state.error.clone(),
        }
    }

    /// How long it is fresh.
    fn take(&self, fetched: &Fetched, now_ns: u64, unix_s: u64) -> Result<Duration, String> {
        let before = self.set();
        let set = KeySet::parse(&fetched.document, before.as_deref()).map_err(|error| error.to_string())?;
        let fresh_for = fetched.said.fresh_for(self.settings.cache);
        let news = before.is_none_or(|before| before.left_out() != set.left_out());
        if news && !set.left_out().is_empty() {
            let (url, left_out) = (&self.settings.url, set.left_out().join("; "));
            tracing::warn!(%url, left_out, used = set.keys.len(), "keys of a set are left out");
        }
        self.swap(Some(Held {
            bytes: fetched.document.len(),
            set: Arc::new(set),
            fetched_s: unix_s,
            fresh_until_ns: now_ns.saturating_add(nanoseconds(fresh_for)),
            dropped_at_ns: now_ns.saturating_add(nanoseconds(self.settings.stale.max(fresh_for))),
            is_pinned: false,
        }));
        Ok(fresh_for)
    }

    fn swap(&self, held: Option<Held>) {
        let held = held.map(Arc::new);
        let before = self.held.swap(held.clone());
        let Some(before) = before else { return };
        // After the swap: what is verified by the older set from here on is not kept either.
        match held {
            Some(held) => before.set.superseded_by(&held.set),
            None => before.set.superseded_by(&KeySet::default()),
        }
    }

    fn take_pinned(&self, now_ns: u64, unix_s: u64) {
        let Some(folder) = &self.settings.pin else { return };
        let Some(pinned) = pin::read(folder, &self.settings.url) else { return };
        let age = Duration::from_secs(unix_s.saturating_sub(pinned.fetched_s));
        let (url, folder) = (&self.settings.url, folder.display());
        let Some(left) = self.settings.stale.checked_sub(age).filter(|left| !left.is_zero()) else {
            tracing::warn!(%url, %folder, age_s = age.as_secs(), "the pinned copy is too old to be used");
            return;
        };
        match KeySet::parse(&pinned.document, None) {
            Ok(set) => self.swap(Some(Held {
                set: Arc::new(set),
                bytes: pinned.document.len(),
                fetched_s: pinned.fetched_s,
                fresh_until_ns: now_ns,
                dropped_at_ns: now_ns.saturating_add(nanoseconds(left)),
                is_pinned: true,
            })),
            Err(error) => tracing::warn!(%url, %folder, %error, "the pinned copy is not used"),
        }
    }

    async fn keep_pinned(&self, folder: std::path::PathBuf, document: Vec<u8>) {
        let url = Arc::clone(&self.settings.url);
        let written = tokio::task::spawn_blocking(move || pin::write(&folder, &url, &document)).await;
        if let Ok(Err(error)) = written {
            tracing::warn!(url = %self.settings.url, %error, "the set cannot be pinned");
        }
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// No API names it any more: what its keys verified is not kept for one that names it again.
impl Drop for Source {
    fn drop(&mut self) {
        self.swap(None);
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
