//! Who is banned: the kernel's BANS where there is a kernel plane, else a bounded map that accept
//! asks. Written by shedding and by operators, never from the packet path.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aya::maps::{IterableMap as _, Map, MapData, MapError};
use weir_ebpf::abi::{Ban, PROVED, maps};
use weir_ebpf::seen::Place;

use super::clock::jiffies_hz;
use super::maps::open;
use super::{Charge, ChargeError, Maps, MapsError, PinDir};
use crate::model::ClientKey;

#[cfg(test)]
mod tests;

/// The bans of this node. Full: the shed row that ends first goes; an operator's never.
pub struct Bans {
    state: Mutex<State>,
}

/// This process is the only writer while it lives, so what it holds is what BANS holds.
struct State {
    rows: HashMap<ClientKey, BanRow>,
    capacity: u32,
    kernel: Option<KernelRows>,
}

struct KernelRows {
    map: aya::maps::HashMap<MapData, u64, Ban>,
    maps: Arc<Maps>,
    charge: Arc<Charge>,
    tick_ns: u64,
    seed: u64,
    /// Bans by the cell of SEEN that sends packets to them; its mark goes with the last.
    marks: HashMap<Place, u32>,
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
    #[error(transparent)]
    Maps(#[from] MapsError),
    #[error(transparent)]
    Charge(#[from] ChargeError),
}

impl Bans {
    /// Without a kernel plane.
    pub fn in_process(capacity: u32) -> Self {
        Self { state: Mutex::new(State { rows: HashMap::new(), capacity, kernel: None }) }
    }

    /// Over the pinned BANS, with what a predecessor left there.
    pub fn in_kernel(
        pins: &PinDir,
        maps: Arc<Maps>,
        charge: Arc<Charge>,
        now_ns: u64,
    ) -> Result<Self, BanError> {
        let map: aya::maps::HashMap<MapData, u64, Ban> = open(pins, maps::BANS, Map::HashMap)?;
        let capacity = in_bans(map.map().info())?.max_entries();
        let seed = maps.rules()?.seed;
        let tick_ns = 1_000_000_000 / jiffies_hz().max(1);
        let mut kernel = KernelRows { map, maps, charge, tick_ns, seed, marks: HashMap::new() };
        let rows = kernel.read(now_ns)?;
        for key in rows.keys() {
            kernel.charge.mark(*key, true)?;
            kernel.count_mark(*key);
        }
        Ok(Self { state: Mutex::new(State { rows, capacity, kernel: Some(kernel) }) })
    }

    pub fn capacity(&self) -> u32 {
        self.locked().capacity
    }

    /// Another map stands in the place of BANS: it is made to say what is held here, for this process is
    /// the only writer, as far as there is room.
    pub fn reopen(&self, pins: &PinDir, now_ns: u64) -> Result<(), BanError> {
        let mut state = self.locked();
        if state.kernel.is_none() {
            return Ok(());
        }
        let map: aya::maps::HashMap<MapData, u64, Ban> = open(pins, maps::BANS, Map::HashMap)?;
        state.capacity = in_bans(map.map().info())?.max_entries();
        if let Some(kernel) = &mut state.kernel {
            kernel.map = map;
        }
        state.drop_over(now_ns)?;
        while state.rows.len() > state.capacity as usize {
            state.drop_first_shed()?;
        }
        let State { rows, kernel: Some(kernel), .. } = &mut *state else { return Ok(()) };
        let present = kernel.read(now_ns)?;
        for key in present.keys().filter(|key| !rows.contains_key(key)) {
            kernel.remove(*key)?;
        }
        for row in rows.values() {
            if present.get(&row.key).is_none_or(|there| !there.is_as_good_as(row, kernel.tick_ns)) {
                kernel.set(*row, now_ns)?;
            }
        }
        Ok(())
    }

    /// The ban that holds for `key` now.
    pub fn find(&self, key: ClientKey, now_ns: u64) -> Option<BanRow> {
        self.locked().rows.get(&key).copied().filter(|row| row.holds(now_ns))
    }

    /// Whether accept must close this client's connections: only where no kernel drops its packets.
    pub fn closes(&self, key: ClientKey, now_ns: u64) -> bool {
        let state = self.locked();
        state.kernel.is_none() && state.rows.get(&key).is_some_and(|row| row.holds(now_ns))
    }

    /// Bans for `length` (None: for ever), over whatever stood there; an operator's ban is not
    /// replaced by a shed.
    pub fn add(
        &self,
        key: ClientKey,
        reason: BanReason,
        level: u32,
        length: Option<Duration>,
        now_ns: u64,
    ) -> Result<(), BanError> {
        let mut state = self.locked();
        let held = state.rows.get(&key).filter(|row| row.holds(now_ns));
        if held.is_some_and(|held| held.reason == BanReason::Operator) && reason == BanReason::Shed {
            return Ok(());
        }
        if !state.rows.contains_key(&key) && state.rows.len() >= state.capacity as usize {
            state.drop_over(now_ns)?;
        }
        if !state.rows.contains_key(&key) && state.rows.len() >= state.capacity as usize {
            state.drop_first_shed()?;
        }
        let until_ns = length.map(|length| now_ns.saturating_add(as_ns(length)));
        state.set(BanRow { key, reason, level, until_ns }, now_ns)
    }

    /// Lifts the ban; whether one held.
    pub fn remove(&self, key: ClientKey, now_ns: u64) -> Result<bool, BanError> {
        Ok(self.locked().remove(key)?.is_some_and(|row| row.holds(now_ns)))
    }

    /// Those that hold, the first to end first. Those that are over are taken out.
    pub fn list(&self, now_ns: u64) -> Result<Vec<BanRow>, BanError> {
        let mut state = self.locked();
        state.drop_over(now_ns)?;
        let mut held: Vec<_> = state.rows.values().copied().collect();
        held.sort_by_key(|row| (row.until_ns.unwrap_or(u64::MAX), row.key));
        Ok(held)
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BanRow {
    /// What a map says is a tick or two off what it was told.
    fn is_as_good_as(&self, other: &Self, tick_ns: u64) -> bool {
        let end_ns = |row: &Self| row.until_ns.unwrap_or(u64::MAX);
        self.reason == other.reason
            && self.level == other.level
            && end_ns(self).abs_diff(end_ns(other)) <= 2 * tick_ns
    }

    fn holds(&self, now_ns: u64) -> bool {
        self.until_ns.is_none_or(|until_ns| until_ns > now_ns)
    }
}

impl State {
    fn set(&mut self, row: BanRow, now_ns: u64) -> Result<(), BanError> {
        if let Some(kernel) = &mut self.kernel {
            kernel.set(row, now_ns)?;
            if !self.rows.contains_key(&row.key) {
                kernel.count_mark(row.key);
            }
        }
        self.rows.insert(row.key, row);
        Ok(())
    }

    fn remove(&mut self, key: ClientKey) -> Result<Option<BanRow>, BanError> {
        if let Some(kernel) = &mut self.kernel {
            kernel.remove(key)?;
            if self.rows.contains_key(&key) {
                kernel.unmark(key)?;
            }
        }
        Ok(self.rows.remove(&key))
    }

    fn drop_first_shed(&mut self) -> Result<(), BanError> {
        let shed = self.rows.values().filter(|row| row.reason == BanReason::Shed);
        let first = shed.min_by_key(|row| row.until_ns).ok_or(BanError::Full(self.capacity))?.key;
        self.remove(first).map(drop)
    }

    fn drop_over(&mut self, now_ns: u64) -> Result<(), BanError> {
        let over: Vec<_> = self.rows.values().filter(|row| !row.holds(now_ns)).map(|row| row.key).collect();
        for key in over {
            self.remove(key)?;
        }
        Ok(())
    }
}

impl KernelRows {
    fn read(&self, now_ns: u64) -> Result<HashMap<ClientKey, BanRow>, BanError> {
        let jiffies = self.jiffies()?;
        let rows = self.map.iter().map(|row| {
            row.map(|(key, ban)| (ClientKey(key), self.row(ClientKey(key), &ban, jiffies, now_ns)))
        });
        in_bans(rows.collect())
    }

    fn row(&self, key: ClientKey, ban: &Ban, jiffies: u64, now_ns: u64) -> BanRow {
        let left = ban.until_jiffies.saturating_sub(jiffies);
        let until_ns = (ban.until_jiffies != Ban::FOR_EVER)
            .then(|| now_ns.saturating_add(left.saturating_mul(self.tick_ns)));
        let reason = if ban.reason == Ban::OPERATOR { BanReason::Operator } else { BanReason::Shed };
        BanRow { key, reason, level: ban.level, until_ns }
    }

    fn set(&mut self, row: BanRow, now_ns: u64) -> Result<(), BanError> {
        let jiffies = self.jiffies()?;
        // Rounded up, so that a ban is never shorter than told.
        let until_jiffies = row.until_ns.map_or(Ban::FOR_EVER, |until_ns| {
            jiffies.saturating_add(until_ns.saturating_sub(now_ns).div_ceil(self.tick_ns))
        });
        let reason = match row.reason {
            BanReason::Shed => Ban::SHED,
            BanReason::Operator => Ban::OPERATOR,
        };
        self.charge.mark(row.key, true)?;
        in_bans(self.map.insert(row.key.0, Ban { until_jiffies, reason, level: row.level }, 0))
    }

    fn count_mark(&mut self, key: ClientKey) {
        *self.marks.entry(Place::of(key.0, self.seed)).or_default() += 1;
    }

    fn unmark(&mut self, key: ClientKey) -> Result<(), BanError> {
        let place = Place::of(key.0, self.seed);
        match self.marks.get_mut(&place) {
            Some(bans) if *bans > 1 => *bans -= 1,
            Some(_) | None => {
                self.charge.mark(key, false)?;
                self.marks.remove(&place);
            }
        }
        Ok(())
    }

    fn remove(&mut self, key: ClientKey) -> Result<(), BanError> {
        match self.map.remove(&key.0) {
            Err(MapError::KeyNotFound | MapError::ElementNotFound) => Ok(()),
            Err(MapError::SyscallError(error)) if error.io_error.kind() == std::io::ErrorKind::NotFound => {
                Ok(())
            }
            result => in_bans(result),
        }
    }

    fn jiffies(&self) -> Result<u64, BanError> {
        kernel_jiffies(&self.maps, &self.charge)
    }
}

/// Tells a new SEEN of the clients and bans in maps that are older than it.
pub fn remember(pins: &PinDir) -> Result<(), BanError> {
    let (maps, charge) = (Maps::open(pins)?, Charge::open(pins)?);
    for (key, entry) in maps.clients()? {
        if entry.flags & PROVED != 0 {
            charge.see(key)?;
        }
    }
    // After the clients: who shares a cell with a ban is known by the ban's mark.
    let bans: aya::maps::HashMap<MapData, u64, Ban> = open(pins, maps::BANS, Map::HashMap)?;
    for key in bans.keys() {
        charge.mark(ClientKey(in_bans(key)?), true)?;
    }
    Ok(())
}

/// The kernel's jiffies now: the program writes them, the map shows them.
pub fn kernel_jiffies(maps: &Maps, charge: &Charge) -> Result<u64, BanError> {
    charge.tell_jiffies()?;
    Ok(maps.told_jiffies()?)
}

fn in_bans<T>(result: Result<T, MapError>) -> Result<T, BanError> {
    Ok(result.map_err(|source| MapsError::Map { name: maps::BANS, source: Box::new(source) })?)
}

fn as_ns(length: Duration) -> u64 {
    u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)
}
