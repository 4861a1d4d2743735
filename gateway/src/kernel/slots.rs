//! CLIENTS, BANS and AGGREGATES stand in slots of an array of maps, so that a map of another capacity can take
//! their place under running programs. Setting a slot waits until no program uses what stood there.

use std::path::{Path, PathBuf};

use aya::maps::{ArrayOfMaps, Map, MapData, MapError};
use weir_ebpf::abi::{maps, slot};

use super::load::{LoadError, check_pin, refused_map, shape};
use super::{Capacities, array_of_maps};
use crate::plane::PinDir;

/// The arrays of maps, open.
pub(super) struct Slots {
    clients: ArrayOfMaps<MapData>,
    bans: ArrayOfMaps<MapData>,
    aggregates: ArrayOfMaps<MapData>,
}

impl Slots {
    pub fn open(pins: &PinDir) -> Result<Self, LoadError> {
        let open = |name| -> Result<ArrayOfMaps<MapData>, LoadError> {
            let map = Map::ArrayOfMaps(open_pin(pins, name)?);
            map.try_into().map_err(|error| in_map(name, &error))
        };
        Ok(Self {
            clients: open(maps::CLIENTS_SLOTS)?,
            bans: open(maps::BANS_SLOTS)?,
            aggregates: open(maps::AGGREGATE_SLOTS)?,
        })
    }

    /// The programs use `now`, and look for what is not there in `before`. Every program has come to
    /// know of `before` when `now` follows, so none misses an entry that is in either.
    pub fn set_clients(&mut self, now: &MapData, before: &MapData) -> Result<(), LoadError> {
        let failed = |error: MapError| in_map(maps::CLIENTS_SLOTS, &error);
        self.clients.set(slot::BEFORE, before, 0).map_err(failed)?;
        self.clients.set(slot::NOW, now, 0).map_err(failed)
    }

    pub fn set_bans(&mut self, now: &MapData) -> Result<(), LoadError> {
        self.bans.set(slot::NOW, now, 0).map_err(|error| in_map(maps::BANS_SLOTS, &error))
    }

    pub fn set_aggregates(&mut self, now: &MapData) -> Result<(), LoadError> {
        self.aggregates.set(slot::NOW, now, 0).map_err(|error| in_map(maps::AGGREGATE_SLOTS, &error))
    }
}

/// Makes CLIENTS, BANS and AGGREGATES where there are none yet. A predecessor's keep their capacity for now.
pub fn make_maps(pins: &PinDir, wanted: Capacities) -> Result<(), LoadError> {
    let (before, clients) = (pins.map(maps::CLIENTS_BEFORE), pins.map(maps::CLIENTS));
    if before.exists() && !clients.exists() {
        // A predecessor ended between two steps of a change: nothing was changed yet.
        rename(&before, &clients)?;
    }
    let maps =
        [(maps::CLIENTS, wanted.clients), (maps::BANS, wanted.bans), (maps::AGGREGATES, wanted.aggregates)];
    for (name, entries) in maps {
        if !pins.map(name).exists() {
            pin(&create(name, entries)?, pins, name)?;
        }
    }
    for (name, entries, template) in SLOTS {
        if !pins.map(name).exists() {
            let made = array_of_maps::create(name, entries, &open_pin(pins, template)?);
            let map = made.map_err(|error| LoadError::Kernel(format!("map {name}: {error}")))?;
            pin(&MapData::from_fd(map).map_err(|error| in_map(name, &error))?, pins, name)?;
        }
    }
    Ok(())
}

/// The arrays, their slots, and the map that the others in them are like.
const SLOTS: [(&str, u32, &str); 3] = [
    (maps::CLIENTS_SLOTS, slot::BEFORE + 1, maps::CLIENTS),
    (maps::BANS_SLOTS, slot::NOW + 1, maps::BANS),
    (maps::AGGREGATE_SLOTS, slot::NOW + 1, maps::AGGREGATES),
];

/// Puts what is pinned into the slots: the programs of a first start find nothing there.
pub fn fill_slots(pins: &PinDir) -> Result<(), LoadError> {
    let mut slots = Slots::open(pins)?;
    let clients = open_pin(pins, maps::CLIENTS)?;
    match open_before(pins)? {
        Some(before) => slots.set_clients(&clients, &before)?,
        None => slots.set_clients(&clients, &clients)?,
    }
    slots.set_bans(&open_pin(pins, maps::BANS)?)?;
    slots.set_aggregates(&open_pin(pins, maps::AGGREGATES)?)
}

/// What an interrupted change of capacity left.
pub(super) fn open_before(pins: &PinDir) -> Result<Option<MapData>, LoadError> {
    if !pins.map(maps::CLIENTS_BEFORE).exists() {
        return Ok(None);
    }
    check_pin(pins, maps::CLIENTS_BEFORE)?;
    open_pin(pins, maps::CLIENTS_BEFORE).map(Some)
}

pub(super) fn open_pin(pins: &PinDir, name: &'static str) -> Result<MapData, LoadError> {
    MapData::from_pin(pins.map(name)).map_err(|error| in_map(name, &error))
}

/// A map as `name` has to be, for `entries`; aya's own maps cannot be made of every type.
pub(super) fn create(name: &'static str, entries: u32) -> Result<MapData, LoadError> {
    let (kind, key_bytes, value_bytes) = shape(name);
    let declared = aya_obj::Map::new_from_params(kind as u32, key_bytes, value_bytes, entries, 0);
    MapData::create(declared, name, None).map_err(refused_map)
}

pub(super) fn pin(map: &MapData, pins: &PinDir, name: &str) -> Result<(), LoadError> {
    let path = pins.map(name);
    map.pin(&path).map_err(|error| LoadError::Kernel(format!("{}: {error}", path.display())))
}

pub(super) fn rename(from: &Path, to: &Path) -> Result<(), LoadError> {
    std::fs::rename(from, to).map_err(|source| LoadError::Folder { path: from.to_owned(), source })
}

pub(super) fn remove(path: PathBuf) -> Result<(), LoadError> {
    std::fs::remove_file(&path).map_err(|source| LoadError::Folder { path, source })
}

pub(super) fn in_map(name: &str, error: &MapError) -> LoadError {
    LoadError::Kernel(format!("map {name}: {error}"))
}
