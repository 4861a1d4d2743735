//! CLIENTS, BANS and AGGREGATES at another capacity, with their entries, under traffic. The programs turn to the
//! new map first and fetch from the old one what they miss, so at no moment does a client have two
//! entries that count: what is carried over here is what nobody wanted meanwhile.

use aya::maps::{HashMap, Map, MapData, MapError};
use weir_ebpf::abi::{AGGREGATES_MIN, AggregateKey, Ban, ClientEntry, PROVED, maps};

use super::Config;
use super::load::LoadError;
use super::slots::{Slots, create, in_map, open_before, open_pin, pin, remove, rename};
use crate::plane::{Charge, Maps, PinDir, kernel_jiffies, now_ns};

/// What can change while packets pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacities {
    pub clients: u32,
    pub bans: u32,
    pub aggregates: u32,
}

impl Capacities {
    pub fn of(config: &Config) -> Self {
        let aggregates = config.aggregates.max(AGGREGATES_MIN);
        Self { clients: config.clients, bans: config.bans, aggregates }
    }
}

type Clients = HashMap<MapData, u64, ClientEntry>;
type BanRows = HashMap<MapData, u64, Ban>;
type Words = HashMap<MapData, AggregateKey, u64>;

/// A new map is filled up to this part at most: an LRU map that is full evicts what it was just given.
const FILLED_OF_8: usize = 7;
/// Pins of maps that are not in their slots yet.
const BANS_NEXT: &str = "BANS_NEXT";
const AGGREGATES_NEXT: &str = "AGGREGATES_NEXT";

/// Gives the maps their capacities. A map for which that is refused is as it was.
pub fn resize(pins: &PinDir, wanted: Capacities) -> Result<(), LoadError> {
    let mut slots = Slots::open(pins)?;
    let bans = resize_bans(pins, &mut slots, wanted.bans);
    let aggregates = resize_aggregates(pins, &mut slots, wanted.aggregates);
    resize_clients(pins, &mut slots, wanted.clients).and(bans).and(aggregates)
}

fn resize_clients(pins: &PinDir, slots: &mut Slots, capacity: u32) -> Result<(), LoadError> {
    if let Some(before) = open_before(pins)? {
        finish(pins, slots, before, open_pin(pins, maps::CLIENTS)?)?;
    }
    let old = open_pin(pins, maps::CLIENTS)?;
    let present = entries_of(&old, maps::CLIENTS)?;
    if present == capacity {
        return Ok(());
    }
    let new = create(maps::CLIENTS, capacity)?;
    rename(&pins.map(maps::CLIENTS), &pins.map(maps::CLIENTS_BEFORE))?;
    pin(&new, pins, maps::CLIENTS)?;
    slots.set_clients(&new, &old)?;
    let carried = finish(pins, slots, old, new)?;
    tracing::info!(from = present, to = capacity, carried, "CLIENTS has another capacity");
    Ok(())
}

/// Carries over what the programs did not fetch, and lets the old map go.
fn finish(pins: &PinDir, slots: &mut Slots, old: MapData, new: MapData) -> Result<usize, LoadError> {
    let failed = |error: MapError| in_map(maps::CLIENTS, &error);
    let old: Clients = Map::LruHashMap(old).try_into().map_err(failed)?;
    let mut new: Clients = Map::LruHashMap(new).try_into().map_err(failed)?;
    let carried = carry_over(&old, &mut new).map_err(failed)?;
    slots.set_clients(map_of(&new), map_of(&new))?;
    remove(pins.map(maps::CLIENTS_BEFORE))?;
    Ok(carried)
}

/// Those who owe most come last, so that an LRU map which runs full forgets them last.
fn carry_over(old: &Clients, new: &mut Clients) -> Result<usize, MapError> {
    let room = map_of(new).info()?.max_entries() as usize / 8 * FILLED_OF_8;
    let now_ns = now_ns();
    let mut ranked = Vec::new();
    for row in old.iter() {
        let (key, entry) = row?;
        if let Some(rank) = Rank::of(&entry, now_ns) {
            ranked.push((rank, key));
        }
    }
    ranked.sort_unstable();
    let kept = ranked.split_off(ranked.len().saturating_sub(room));
    for (_, key) in &kept {
        // Nobody changes the old map any more: what is read is what the programs would fetch.
        unless_there(new.insert(key, old.get(key, 0)?, NOEXIST))?;
    }
    Ok(kept.len())
}

/// A program was first.
fn unless_there(inserted: Result<(), MapError>) -> Result<(), MapError> {
    match inserted {
        Err(MapError::SyscallError(error)) if error.io_error.kind() == std::io::ErrorKind::AlreadyExists => {
            Ok(())
        }
        inserted => inserted,
    }
}

/// bpf_map_update_elem: insert only.
const NOEXIST: u64 = 1;

/// Who is kept first: who owes most, then who was charged last, then who is proved.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    tat_ns: u64,
    proved: bool,
}

impl Rank {
    /// None for an entry that says nothing: no proof, no debt.
    fn of(entry: &ClientEntry, now_ns: u64) -> Option<Self> {
        let tat_ns = entry.tat.into_iter().max().unwrap_or_default();
        let proved = entry.flags & PROVED != 0;
        (proved || tat_ns > now_ns).then_some(Self { tat_ns, proved })
    }
}

fn resize_bans(pins: &PinDir, slots: &mut Slots, capacity: u32) -> Result<(), LoadError> {
    let failed = |error: MapError| in_map(maps::BANS, &error);
    let old: BanRows = Map::HashMap(open_pin(pins, maps::BANS)?).try_into().map_err(failed)?;
    let present = entries_of(map_of(&old), maps::BANS)?;
    if present == capacity {
        return Ok(());
    }
    let kept = kept_bans(pins, &old, capacity)?;
    let new = create(maps::BANS, capacity)?;
    let mut new: BanRows = Map::HashMap(new).try_into().map_err(failed)?;
    for (key, ban) in &kept {
        new.insert(key, ban, 0).map_err(failed)?;
    }
    pin_next(map_of(&new), pins, BANS_NEXT)?;
    slots.set_bans(map_of(&new))?;
    rename(&pins.map(BANS_NEXT), &pins.map(maps::BANS))?;
    tracing::info!(from = present, to = capacity, carried = kept.len(), "BANS has another capacity");
    Ok(())
}

/// Words that owe nothing are left behind, and so is what is charged while the others are copied.
fn resize_aggregates(pins: &PinDir, slots: &mut Slots, capacity: u32) -> Result<(), LoadError> {
    let failed = |error: MapError| in_map(maps::AGGREGATES, &error);
    let old: Words = Map::LruHashMap(open_pin(pins, maps::AGGREGATES)?).try_into().map_err(failed)?;
    let present = entries_of(map_of(&old), maps::AGGREGATES)?;
    if present == capacity {
        return Ok(());
    }
    let new = create(maps::AGGREGATES, capacity)?;
    let mut new: Words = Map::LruHashMap(new).try_into().map_err(failed)?;
    let room = capacity as usize / 8 * FILLED_OF_8;
    let now_ns = now_ns();
    let mut owing = Vec::new();
    for row in old.iter() {
        let (key, tat_ns) = row.map_err(failed)?;
        if tat_ns > now_ns {
            owing.push((tat_ns, key));
        }
    }
    owing.sort_unstable();
    let kept = owing.split_off(owing.len().saturating_sub(room));
    for (tat_ns, key) in &kept {
        new.insert(key, tat_ns, 0).map_err(failed)?;
    }
    pin_next(map_of(&new), pins, AGGREGATES_NEXT)?;
    slots.set_aggregates(map_of(&new))?;
    rename(&pins.map(AGGREGATES_NEXT), &pins.map(maps::AGGREGATES))?;
    tracing::info!(from = present, to = capacity, carried = kept.len(), "AGGREGATES has another capacity");
    Ok(())
}

/// Over what a predecessor left that ended at this point.
fn pin_next(map: &MapData, pins: &PinDir, name: &str) -> Result<(), LoadError> {
    let path = pins.map(name);
    if path.exists() {
        remove(path)?;
    }
    pin(map, pins, name)
}

/// Every ban of an operator that holds, and of the shed those that end last.
fn kept_bans(pins: &PinDir, old: &BanRows, capacity: u32) -> Result<Vec<(u64, Ban)>, LoadError> {
    let jiffies =
        Maps::open(pins).map_err(|error| LoadError::Kernel(error.to_string())).and_then(|maps| {
            let charge = Charge::open(pins).map_err(|error| LoadError::Kernel(error.to_string()))?;
            kernel_jiffies(&maps, &charge).map_err(|error| LoadError::Kernel(error.to_string()))
        })?;
    let rows: Result<Vec<_>, MapError> = old.iter().collect();
    let mut rows = rows.map_err(|error| in_map(maps::BANS, &error))?;
    rows.retain(|(_, ban)| ban.until_jiffies > jiffies);
    let operators = rows.iter().filter(|(_, ban)| ban.reason == Ban::OPERATOR).count();
    let room = capacity as usize;
    if operators > room {
        return Err(LoadError::OperatorBans { bans: operators, capacity });
    }
    rows.sort_by_key(|(_, ban)| std::cmp::Reverse((ban.reason == Ban::OPERATOR, ban.until_jiffies)));
    rows.truncate(room);
    Ok(rows)
}

fn entries_of(map: &MapData, name: &str) -> Result<u32, LoadError> {
    Ok(map.info().map_err(|error| in_map(name, &error))?.max_entries())
}

fn map_of<K: aya::Pod, V: aya::Pod>(map: &HashMap<MapData, K, V>) -> &MapData {
    aya::maps::IterableMap::map(map)
}
