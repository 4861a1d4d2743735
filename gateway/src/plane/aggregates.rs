//! Limits above the single client, as they stand in AGGREGATE_ROWS: a table for each family beside each
//! entry of RULES.

use aya::maps::{Array, HashMap, IterableMap as _, Map, MapData, MapError};
use weir_ebpf::abi::{AGGREGATES_MAX, AggregateKey, AggregateRow, aggregates_at, maps};
use weir_ebpf::aggregate::{Party, Share, word_of};
use weir_ebpf::gcra::Limit;
use weir_ebpf::scope::PortCell;

use super::maps::{MapsError, in_map, open};
use super::pins::PinDir;
use crate::model::ClientKey;

/// A limit that the clients of a prefix share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aggregate {
    pub prefix: AggregatePrefix,
    pub ports: AggregatePorts,
    /// Packets.
    pub limit: Limit,
}

/// Whose packets have a word together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AggregatePrefix {
    /// IPv4 clients of a /24.
    V4Net24,
    /// IPv6 clients, each a /64, of a /56.
    V6Net56,
    V6Net48,
}

/// Which of their packets count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AggregatePorts {
    /// To all protected ports, in one word.
    Together,
    /// To all protected ports, each of which has a word of its own.
    Each,
    Only(PortCell),
}

/// IPv4's rows and IPv6's; what does not fit is left out.
pub type Tables = [[AggregateRow; AGGREGATES_MAX as usize]; 2];

/// The tables of `aggregates`.
pub fn tables(aggregates: &[Aggregate]) -> Tables {
    [true, false].map(|is_v4| {
        let mut table = [AggregateRow::default(); AGGREGATES_MAX as usize];
        let own = aggregates.iter().filter(|one| one.prefix.is_v4() == is_v4 && one.limit.is_set());
        for (place, one) in table.iter_mut().zip(own) {
            *place = one.row();
        }
        table
    })
}

impl Aggregate {
    fn row(&self) -> AggregateRow {
        let (port, kept) = match self.ports {
            AggregatePorts::Together => (0, 0),
            AggregatePorts::Each => (0, u32::MAX),
            AggregatePorts::Only(cell) => (cell.number(), u32::MAX),
        };
        AggregateRow { limit: self.limit, shift: self.prefix.shift(), port, kept, spare: 0 }
    }
}

impl AggregatePrefix {
    pub fn is_v4(self) -> bool {
        matches!(self, Self::V4Net24)
    }

    /// Bits of a client's key beyond the prefix: an IPv4 key ends with the address, an IPv6 key is a /64.
    fn shift(self) -> u32 {
        match self {
            Self::V4Net24 | Self::V6Net56 => 8,
            Self::V6Net48 => 16,
        }
    }
}

/// What the proved clients of `key`'s prefix owe under each aggregate, as TATs in ns; where each port has a
/// word, the port that owes most.
pub fn aggregate_tats(
    pins: &PinDir,
    key: ClientKey,
    aggregates: &[Aggregate],
) -> Result<Vec<u64>, MapsError> {
    let words: HashMap<MapData, AggregateKey, u64> = open(pins, maps::AGGREGATES, Map::LruHashMap)?;
    let of = |aggregate: &Aggregate| {
        let row = aggregate.row();
        let port = row.port.max(1);
        let Some(word) = word_of(&row, Share { key, port, n: 1, party: Party::Proved }) else { return Ok(0) };
        if aggregate.ports != AggregatePorts::Each {
            return match words.get(&word, 0) {
                Ok(tat_ns) => Ok(tat_ns),
                Err(MapError::KeyNotFound | MapError::ElementNotFound) => Ok(0),
                Err(source) => in_map(maps::AGGREGATES, Err(source)),
            };
        }
        let is_of = |other: &AggregateKey| other.prefix == word.prefix && other.of >> 32 == word.of >> 32;
        // Words that are pushed out meanwhile owe nothing any more.
        let rows =
            words.iter().filter_map(Result::ok).filter(|(other, _)| is_of(other) && other.of as u32 != 0);
        Ok(rows.map(|(_, tat_ns)| tat_ns).max().unwrap_or(0))
    };
    aggregates.iter().map(of).collect()
}

/// Words that AGGREGATES has room for.
pub fn capacity_of_aggregates(pins: &PinDir) -> Result<u32, MapsError> {
    let words: HashMap<MapData, AggregateKey, u64> = open(pins, maps::AGGREGATES, Map::LruHashMap)?;
    in_map(maps::AGGREGATES, words.map().info().map(|info| info.max_entries()))
}

/// AGGREGATE_ROWS.
pub(super) struct AggregateRows(Array<MapData, AggregateRow>);

impl AggregateRows {
    pub fn open(pins: &PinDir) -> Result<Self, MapsError> {
        open(pins, maps::AGGREGATE_ROWS, Map::Array).map(Self)
    }

    /// What goes with the entry of RULES at `place`.
    pub fn tables(&self, place: u32) -> Result<Tables, MapsError> {
        let mut tables = tables(&[]);
        for (is_v4, table) in [true, false].into_iter().zip(&mut tables) {
            for (idx, row) in (aggregates_at(place.into(), is_v4)..).zip(table) {
                *row = in_map(maps::AGGREGATE_ROWS, self.0.get(&idx, 0))?;
            }
        }
        Ok(tables)
    }

    /// For an entry that no packet reads.
    pub fn write(&mut self, place: u32, tables: &Tables) -> Result<(), MapsError> {
        for (is_v4, table) in [true, false].into_iter().zip(tables) {
            for (idx, row) in (aggregates_at(place.into(), is_v4)..).zip(table) {
                in_map(maps::AGGREGATE_ROWS, self.0.set(idx, row, 0))?;
            }
        }
        Ok(())
    }
}
