//! What is known of every master at this moment, and the state that this makes: up, slow or down. It
//! says each change once, on the log and to whoever listens.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::{Address, Fault, Kind};
use crate::store::clock;

/// An answer in time makes a store prompt again when none was late for so long.
const SLOW_FOR: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Every master answers in time.
    Up,
    /// Answers are late, and used.
    Slow,
    /// A master is not there, or does not do its work.
    Down,
}

impl State {
    pub fn label(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Slow => "slow",
            Self::Down => "down",
        }
    }
}

/// A master's row.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    pub address: Option<Address>,
    pub is_connected: bool,
    /// Why it is not, or what it refuses to do.
    pub fault: Option<Fault>,
    slow_until: Option<Instant>,
    pub connects: u64,
    pub answered: Option<Instant>,
    pub took: Option<Duration>,
    pub clock_offset_ms: Option<i64>,
    pub script_loads: u64,
}

impl Row {
    pub fn state(&self) -> State {
        match (self.is_connected && self.fault.is_none(), self.slow_until) {
            (false, _) => State::Down,
            (true, Some(_)) => State::Slow,
            (true, None) => State::Up,
        }
    }
}

/// A place on the board.
pub(super) type RowId = u64;

#[derive(Debug)]
pub(super) struct Board {
    inner: Mutex<Inner>,
    told: watch::Sender<State>,
}

#[derive(Debug)]
struct Inner {
    rows: BTreeMap<RowId, Row>,
    next: RowId,
    /// What is wrong with the whole: Sentinels that do not answer, slots without a master.
    trouble: Option<Fault>,
    /// None until something is known.
    state: Option<State>,
    reason: Option<Fault>,
    since: Instant,
    changes: u64,
}

/// The whole of it, at one moment.
pub(super) struct Seen {
    pub rows: Vec<(RowId, Row)>,
    pub state: State,
    pub reason: Option<Fault>,
    pub since: Instant,
    pub changes: u64,
}

impl Board {
    pub fn new() -> Self {
        let inner = Inner {
            rows: BTreeMap::new(),
            next: 0,
            trouble: None,
            state: None,
            reason: None,
            since: clock::now(),
            changes: 0,
        };
        Self { inner: Mutex::new(inner), told: watch::Sender::new(State::Down) }
    }

    fn locked(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn subscribe(&self) -> watch::Receiver<State> {
        self.told.subscribe()
    }

    pub fn see(&self) -> Seen {
        let inner = self.locked();
        Seen {
            rows: inner.rows.iter().map(|(id, row)| (*id, row.clone())).collect(),
            state: inner.state.unwrap_or(State::Down),
            reason: inner.reason.clone(),
            since: inner.since,
            changes: inner.changes,
        }
    }

    /// A row for another master; nothing is known of it.
    pub fn add(&self, address: Option<Address>) -> RowId {
        let mut inner = self.locked();
        let id = inner.next;
        inner.next += 1;
        inner.rows.insert(id, Row { address, ..Row::default() });
        id
    }

    pub fn remove(&self, id: RowId) {
        self.change(|inner| {
            inner.rows.remove(&id);
        });
    }

    pub fn connected(&self, id: RowId, address: &Address) {
        self.row(id, |row| {
            row.address = Some(address.clone());
            row.is_connected = true;
            row.fault = None;
            row.connects += 1;
        });
    }

    pub fn lost(&self, id: RowId, fault: &Fault) {
        self.row(id, |row| {
            row.is_connected = false;
            row.slow_until = None;
            row.fault = Some(fault.clone());
        });
    }

    /// It is there, and refuses to work.
    pub fn impaired(&self, id: RowId, fault: &Fault) {
        self.row(id, |row| row.fault = Some(fault.clone()));
    }

    /// It does again what it refused to, if that was `kind`.
    pub fn works(&self, id: RowId, kind: Kind) {
        if self.fault_of(id).is_some_and(|fault| fault.kind == kind) {
            self.row(id, |row| row.fault = row.fault.take().filter(|_| !row.is_connected));
        }
    }

    pub fn fault_of(&self, id: RowId) -> Option<Fault> {
        self.locked().rows.get(&id)?.fault.clone()
    }

    /// An answer is owed for too long.
    pub fn late(&self, id: RowId) {
        let now = clock::now();
        self.row(id, |row| row.slow_until = Some(now + SLOW_FOR));
    }

    pub fn answered(&self, id: RowId, took: Duration) {
        let now = clock::now();
        self.row(id, |row| {
            row.answered = Some(now);
            row.took = Some(took);
            row.slow_until = row.slow_until.filter(|until| now < *until);
        });
    }

    pub fn clock_offset(&self, id: RowId, offset_ms: i64) {
        self.row(id, |row| row.clock_offset_ms = Some(offset_ms));
    }

    pub fn loaded_script(&self, id: RowId) {
        self.row(id, |row| row.script_loads += 1);
    }

    pub fn troubled(&self, trouble: Option<Fault>) {
        self.change(|inner| inner.trouble = trouble);
    }

    fn row(&self, id: RowId, set: impl FnOnce(&mut Row)) {
        self.change(|inner| {
            if let Some(row) = inner.rows.get_mut(&id) {
                set(row);
            }
        });
    }

    fn change(&self, set: impl FnOnce(&mut Inner)) {
        let mut inner = self.locked();
        set(&mut inner);
        let Some((state, reason)) = inner.sum() else { return };
        let is_new_cause = |was: &Option<Fault>| {
            let denied =
                |fault: &Option<Fault>| fault.as_ref().is_some_and(|fault| fault.kind == Kind::Denied);
            denied(&reason) && !denied(was)
        };
        let (was, why) = (inner.state, inner.reason.clone());
        let lasted = inner.since.elapsed();
        inner.reason.clone_from(&reason);
        if was == Some(state) && !is_new_cause(&why) {
            return;
        }
        if was != Some(state) {
            inner.state = Some(state);
            inner.since = clock::now();
            inner.changes += 1;
        }
        drop(inner);
        say(state, reason.as_ref(), was.map(|was| (was, lasted)));
        self.told.send_replace(state);
    }
}

impl Inner {
    /// None while nothing is known yet.
    fn sum(&self) -> Option<(State, Option<Fault>)> {
        if let Some(trouble) = &self.trouble {
            return Some((State::Down, Some(trouble.clone())));
        }
        let is_known = |row: &&Row| row.is_connected || row.fault.is_some();
        let worst = self.rows.values().filter(is_known).max_by_key(|row| row.state())?;
        let state = worst.state();
        if state == State::Up && self.rows.values().any(|row| !is_known(&row)) {
            return None;
        }
        let named = |fault: &Fault| {
            let place = worst.address.as_ref().map_or_else(String::new, |address| format!("{address}: "));
            Fault::new(fault.kind, format!("{place}{fault}"))
        };
        Some((state, worst.fault.as_ref().map(named)))
    }
}

/// One line for each change.
fn say(state: State, reason: Option<&Fault>, was: Option<(State, Duration)>) {
    let seconds = was.map(|(_, lasted)| lasted.as_secs_f32());
    match (state, reason) {
        (State::Up, _) => match was {
            None => tracing::info!("the store is up"),
            Some((was, _)) => tracing::info!(was = was.label(), seconds, "the store is up again"),
        },
        (State::Slow, _) => {
            tracing::warn!("the store is slow: its answers are late, and used when they come")
        }
        (State::Down, reason) => {
            let reason = reason.map_or_else(String::new, ToString::to_string);
            tracing::warn!(reason, "the store is down: limits hold on this node alone until it is back");
        }
    }
}
