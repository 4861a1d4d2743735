//! Who counts in which cell: NAMES, kept beside the counters, so that a list and a port rule keep theirs
//! over reloads and restarts.

use std::ops::Range;

use aya::maps::{Array, Map, MapData};
use weir_ebpf::abi::{NAME_BYTES, maps};

use super::maps::{MapsError, in_map, open};
use super::pins::PinDir;

/// NAMES.
pub(super) struct Names(Array<MapData, [u8; NAME_BYTES]>);

/// A name's cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Allotted {
    pub cell: u32,
    /// It was another's, or nobody's: its counters must begin anew.
    pub is_new: bool,
}

impl Names {
    pub fn open(pins: &PinDir) -> Result<Self, MapsError> {
        open(pins, maps::NAMES, Map::Array).map(Self)
    }

    /// Cells of `wanted` among `cells`: each name keeps its own, a new one takes a free one, or one whose
    /// name is not wanted any more.
    pub fn allot(&mut self, cells: Range<u32>, wanted: &[&str]) -> Result<Vec<Allotted>, MapsError> {
        let mut names = cells.clone().map(|cell| self.name(cell)).collect::<Result<Vec<_>, _>>()?;
        let mut allotted = Vec::with_capacity(wanted.len());
        for name in wanted.iter().map(|name| shown(name)) {
            let is_free = |held: &String| !wanted.iter().any(|name| shown(name) == held);
            let own = names.iter().position(|held| held == name);
            let place = own.or_else(|| names.iter().position(String::is_empty));
            let place = place.or_else(|| names.iter().position(is_free)).ok_or(MapsError::Names)?;
            let cell = cells.start + u32::try_from(place).unwrap_or(u32::MAX);
            if own.is_none() {
                self.write(cell, name)?;
                if let Some(held) = names.get_mut(place) {
                    name.clone_into(held);
                }
            }
            allotted.push(Allotted { cell, is_new: own.is_none() });
        }
        Ok(allotted)
    }

    /// The name of a cell; empty for none.
    pub fn name(&self, cell: u32) -> Result<String, MapsError> {
        let bytes = in_map(maps::NAMES, self.0.get(&cell, 0))?;
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(NAME_BYTES);
        Ok(String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned())
    }

    fn write(&mut self, cell: u32, name: &str) -> Result<(), MapsError> {
        let mut bytes = [0; NAME_BYTES];
        for (to, from) in bytes.iter_mut().zip(name.bytes()) {
            *to = from;
        }
        in_map(maps::NAMES, self.0.set(cell, bytes, 0))
    }
}

/// As much of a name as NAMES holds.
fn shown(name: &str) -> &str {
    name.get(..name.floor_char_boundary(NAME_BYTES)).unwrap_or(name)
}
