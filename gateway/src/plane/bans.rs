//! Who is banned: the kernel's BANS where there is a kernel plane, else a bounded map that accept
//! asks. Written by shedding and by operators, never from the packet path.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use crate::model::ClientKey;

/// Both kinds of bans of this node. Full: the shed row that ends first goes; an operator's never.
pub struct Bans {
    rows: RwLock<HashMap<ClientKey, BanRow>>,
    capacity: u32,
}

/// A ban as it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BanRow {
    pub key: ClientKey,
    pub reason: BanReason,
    /// Step of `limit.client.shed`, from 0.
    pub level: u32,
    /// CLOCK_MONOTONIC; None: for ever.
    pub until_ns: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BanReason {
    Shed,
    Operator,
}

#[derive(Debug, thiserror::Error)]
pub enum BanError {
    #[error("all {0} bans are an operator's: remove some, or raise [kernel] bans")]
    Full(u32),
}

impl Bans {
    /// Without a kernel plane.
    pub fn in_process(capacity: u32) -> Self {
        Self { rows: RwLock::default(), capacity }
    }

    /// The ban that holds for `key` now.
    pub fn find(&self, key: ClientKey, now_ns: u64) -> Option<BanRow> {
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        rows.get(&key).copied().filter(|row| row.holds(now_ns))
    }

    /// Bans `key` for `length` (None: for ever), over whatever stood there.
    pub fn add(
        &self,
        key: ClientKey,
        reason: BanReason,
        level: u32,
        length: Option<Duration>,
        now_ns: u64,
    ) -> Result<(), BanError> {
        let until_ns =
            length.map(|length| now_ns.saturating_add(u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)));
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        if rows.len() >= self.capacity as usize && !rows.contains_key(&key) {
            let first = rows
                .values()
                .filter(|row| row.reason == BanReason::Shed)
                .min_by_key(|row| row.until_ns)
                .map(|row| row.key);
            rows.remove(&first.ok_or(BanError::Full(self.capacity))?);
        }
        rows.insert(key, BanRow { key, reason, level, until_ns });
        Ok(())
    }

    /// Lifts the ban; whether one held.
    pub fn remove(&self, key: ClientKey, now_ns: u64) -> bool {
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        rows.remove(&key).is_some_and(|row| row.holds(now_ns))
    }

    /// Those that hold, the first to end first.
    pub fn list(&self, now_ns: u64) -> Vec<BanRow> {
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        let mut held: Vec<_> = rows.values().copied().filter(|row| row.holds(now_ns)).collect();
        held.sort_by_key(|row| (row.until_ns.unwrap_or(u64::MAX), row.key));
        held
    }
}

impl BanRow {
    fn holds(&self, now_ns: u64) -> bool {
        self.until_ns.is_none_or(|until_ns| until_ns > now_ns)
    }
}
