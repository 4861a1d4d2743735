//! A census of CLIENTS: how many entries there are, and whether the map is large enough. The kernel tells
//! nobody whom it evicts; so some who owe are remembered from one census to the next, and who is gone
//! before the debt is paid was evicted too early, and has got its burst back.

use weir_ebpf::abi::{ClientEntry, PROVED};

use super::maps::{Maps, MapsError};
use crate::model::ClientKey;

/// Entries that a census looks at: two system calls each, so a quarter of a second at most.
pub const VISITS_MAX: usize = 1 << 19;
/// Clients who owe that are remembered; they stand for the others.
const REMEMBERED: usize = 4_096;

/// What a census found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Entries, at most [`VISITS_MAX`]: then there are more.
    pub entries: u64,
    pub proved: u64,
    /// Entries with a debt.
    pub owing: u64,
    /// Entries evicted since the first census while they owed; estimated from those remembered.
    pub evicted_owing: u64,
}

/// What is remembered between two.
#[derive(Debug, Default)]
pub struct Memory {
    /// Who owes, and until when, in ns of CLOCK_MONOTONIC.
    debtors: Vec<(ClientKey, u64)>,
    /// For how many each of them stands.
    each_for: f64,
    evicted_owing: f64,
}

impl Memory {
    /// Takes a census.
    pub fn census(&mut self, maps: &Maps, now_ns: u64) -> Result<Census, MapsError> {
        let mut gone = 0_u32;
        for (key, until_ns) in &self.debtors {
            if *until_ns > now_ns && maps.entry(*key)?.is_none() {
                gone += 1;
            }
        }
        self.evicted_owing += f64::from(gone) * self.each_for;
        self.debtors.clear();
        let mut census = Census { evicted_owing: self.evicted_owing as u64, ..Census::default() };
        maps.visit_clients(VISITS_MAX, |key, entry| {
            census.entries += 1;
            census.proved += u64::from(entry.flags & PROVED != 0);
            let until_ns = owes_until_ns(&entry);
            if until_ns > now_ns {
                census.owing += 1;
                if self.debtors.len() < REMEMBERED {
                    self.debtors.push((key, until_ns));
                }
            }
        })?;
        self.each_for = census.owing as f64 / self.debtors.len().max(1) as f64;
        Ok(census)
    }
}

fn owes_until_ns(entry: &ClientEntry) -> u64 {
    entry.tat.into_iter().max().unwrap_or(0)
}
