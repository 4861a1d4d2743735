//! Which ports are protected, by which rule, and what each rule met: SCOPE, PORTS and COUNTERS. A rule
//! keeps its number, and so its counters, for as long as its name is wanted.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use aya::maps::{Array, Map, MapData, PerCpuArray, PerCpuValues};
use weir_ebpf::abi::{Count, LIST_CELLS, PORT_RULE_DEFAULT, PORT_RULES, PortRow, maps};
use weir_ebpf::scope::{PortCell, SCOPE_GENERATION, SCOPE_WORDS};
use weir_ebpf::verdict::{RULE_CELLS, cell_labels};

use super::maps::{CounterRow, MapsError, in_map, open};
use super::names::Names;
use super::pins::PinDir;
use super::words::Words;

/// Port rules of one configuration: the first two numbers are taken.
pub const PORT_RULES_MAX: usize = PORT_RULES as usize - 2;

/// Ports with a name, counters and terms of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortRule {
    /// Unique; its counters go by it.
    pub name: String,
    pub cells: Vec<PortCell>,
    pub row: PortRow,
}

/// One line of a port rule's counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleCount {
    /// "default" for ports that no rule names, "none" for what is out of scope or unreadable.
    pub rule: String,
    pub row: CounterRow,
}

/// What writes the port rules and reads their counters.
pub(super) struct Ports {
    scope: Words,
    rows: Array<MapData, PortRow>,
    counters: PerCpuArray<MapData, Count>,
}

impl Ports {
    pub fn open(pins: &PinDir) -> Result<Self, MapsError> {
        Ok(Self {
            scope: Words::open(pins, maps::SCOPE, SCOPE_WORDS)?,
            rows: open(pins, maps::PORTS, Map::Array)?,
            counters: open(pins, maps::COUNTERS, Map::PerCpuArray)?,
        })
    }

    /// Writes `generation`, which no packet reads: rules first, then `ports` where no rule names them.
    pub fn write(
        &mut self,
        generation: u64,
        names: &mut Names,
        ports: &[PortCell],
        rules: &[PortRule],
    ) -> Result<(), MapsError> {
        let first = LIST_CELLS + u32::from(PORT_RULE_DEFAULT) + 1;
        let wanted: Vec<_> = rules.iter().map(|rule| rule.name.as_str()).collect();
        let allotted = names.allot(first..LIST_CELLS + PORT_RULES, &wanted)?;
        let row_idx = |number: u8| (generation & 1) as u32 * PORT_RULES + u32::from(number);
        in_map(maps::PORTS, self.rows.set(row_idx(PORT_RULE_DEFAULT), PortRow::default(), 0))?;
        let mut cells: HashMap<PortCell, u8> = HashMap::new();
        for (rule, allotted) in rules.iter().zip(allotted) {
            let number = u8::try_from(allotted.cell - LIST_CELLS).map_err(|_| MapsError::Names)?;
            in_map(maps::PORTS, self.rows.set(row_idx(number), rule.row, 0))?;
            if allotted.is_new {
                self.begin_counts(number)?;
            }
            for cell in &rule.cells {
                cells.entry(*cell).or_insert(number);
            }
        }
        for cell in ports {
            cells.entry(*cell).or_insert(PORT_RULE_DEFAULT);
        }
        let mut words: HashMap<u32, u64> = HashMap::new();
        for (cell, number) in cells {
            let word = words.entry(cell.word_idx(generation)).or_default();
            *word = cell.write(*word, number);
        }
        let start = (generation & 1) as u32 * SCOPE_GENERATION;
        for (idx, word) in
            self.scope.get().iter().enumerate().skip(start as usize).take(SCOPE_GENERATION as usize)
        {
            let wanted = u32::try_from(idx).ok().and_then(|idx| words.get(&idx)).copied().unwrap_or(0);
            if word.load(Ordering::Relaxed) != wanted {
                word.store(wanted, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Packets by rule, verdict and action; lines that never counted are left out.
    pub fn counts(&self, names: &Names) -> Result<Vec<RuleCount>, MapsError> {
        let mut counts = Vec::new();
        for number in 0..PORT_RULES {
            let rule = match number {
                0 => "none".to_owned(),
                1 => "default".to_owned(),
                _ => names.name(LIST_CELLS + number)?,
            };
            if rule.is_empty() {
                continue;
            }
            for cell in 0..RULE_CELLS {
                let Some((verdict, action)) = cell_labels(cell) else { continue };
                let idx = number * RULE_CELLS + cell;
                let per_cpu = in_map(maps::COUNTERS, self.counters.get(&idx, 0))?;
                let packets = per_cpu.iter().map(|count| count.packets).sum();
                let bytes = per_cpu.iter().map(|count| count.bytes).sum();
                if packets > 0 {
                    let row = CounterRow { verdict, action, packets, bytes };
                    counts.push(RuleCount { rule: rule.clone(), row });
                }
            }
        }
        Ok(counts)
    }

    fn begin_counts(&mut self, number: u8) -> Result<(), MapsError> {
        for cell in 0..RULE_CELLS {
            let idx = u32::from(number) * RULE_CELLS + cell;
            let cpus = in_map(maps::COUNTERS, self.counters.get(&idx, 0))?.len();
            let zeros = PerCpuValues::try_from(vec![Count::default(); cpus]).map_err(|_| MapsError::Names)?;
            in_map(maps::COUNTERS, self.counters.set(idx, zeros, 0))?;
        }
        Ok(())
    }
}
