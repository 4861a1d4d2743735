//! Handles of the pinned maps, for who writes rules and lists and for who reads counters. Opening
//! wants the permission of the pins' files only; no capability.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aya::maps::{Array, HashMap, IterableMap as _, Map, MapData, MapError, PerCpuArray};
use ipnet::IpNet;
use weir_ebpf::abi::{
    Budget, CLASSES, ClientEntry, LIMIT_ROWS, LIST_CELLS, Leases, NAME_CELLS, OWN_NEAR_WORDS, PORT_RULES,
    Rules, WORDS, flags, maps,
};
use weir_ebpf::gcra::Limit;
use weir_ebpf::packet::Address;
use weir_ebpf::scope::{PortCell, near_idx, own_key};

use super::aggregates::{Aggregate, AggregateRows, Tables, tables};
use super::clock::now_ns;
use super::kernel::{Charge, ChargeError};
use super::lists::List;
use super::names::Names;
use super::pins::PinDir;
use super::ports::{PortRule, Ports, RuleCount};
use super::tries::{ListCount, Tries};
use crate::model::ClientKey;

/// Readers of the idle rules have finished by then: a packet takes microseconds.
const FLIP_REST: Duration = Duration::from_millis(10);

/// Open handles of one instance's maps.
pub struct Maps {
    writer: Mutex<Writer>,
    clients: Mutex<aya::maps::HashMap<MapData, u64, ClientEntry>>,
    budget: PerCpuArray<MapData, Budget>,
    clock: Array<MapData, u64>,
    leases: Array<MapData, Leases>,
}

/// What `apply` changes, under one lock.
struct Writer {
    rules: Array<MapData, Rules>,
    active: Array<MapData, u64>,
    ports: Ports,
    aggregates: AggregateRows,
    names: Names,
    own: HashMap<MapData, u64, u64>,
    own_near: Array<MapData, u64>,
    tries: Tries,
    flipped_ns: u64,
}

/// All that the packet path applies; [`Maps::apply`] makes the maps say it.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The seed and the generation of the lists are filled in by `apply`.
    pub rules: Rules,
    /// Protected by no rule of their own.
    pub ports: Vec<PortCell>,
    pub port_rules: Vec<PortRule>,
    /// Addresses of this host.
    pub own: Vec<IpAddr>,
    /// In the order in which they count, where several name a source.
    pub lists: Vec<List>,
    pub overrides: Vec<LimitRow>,
    /// Of who has no override; at most [`weir_ebpf::abi::AGGREGATES_MAX`] a family.
    pub aggregates: Vec<Aggregate>,
}

/// Overrides of one configuration: the first row is everybody's.
pub const OVERRIDES_MAX: usize = LIMIT_ROWS as usize - 1;

/// Other limits for some prefixes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitRow {
    /// Unique; it keeps its row by it.
    pub name: String,
    pub prefixes: Vec<IpNet>,
    /// By [`weir_ebpf::abi::Word`].
    pub limits: [Limit; WORDS],
    pub aggregates: Vec<Aggregate>,
}

/// What an entry of RULES has of its own, with what goes with it.
#[derive(Clone, Copy)]
struct Terms {
    limits: [Limit; WORDS],
    tables: Tables,
}

/// One line of COUNTERS, summed over the CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CounterRow {
    pub verdict: &'static str,
    pub action: &'static str,
    pub packets: u64,
    pub bytes: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum MapsError {
    #[error("map {name}: {source}")]
    Map { name: &'static str, source: Box<MapError> },
    #[error("map {0} cannot be mapped: {1}")]
    Mapping(&'static str, nix::errno::Errno),
    #[error("more names of lists or port rules than there are counters")]
    Names,
}

pub(super) fn in_map<T>(name: &'static str, result: Result<T, MapError>) -> Result<T, MapsError> {
    result.map_err(|source| MapsError::Map { name, source: Box::new(source) })
}

/// Opens the pinned map `name` as `T`.
pub(super) fn open<T>(pins: &PinDir, name: &'static str, wrap: fn(MapData) -> Map) -> Result<T, MapsError>
where
    T: TryFrom<Map, Error = MapError>,
{
    let data = in_map(name, MapData::from_pin(pins.map(name)))?;
    in_map(name, T::try_from(wrap(data)))
}

impl Maps {
    pub fn open(pins: &PinDir) -> Result<Self, MapsError> {
        let writer = Writer {
            rules: open(pins, maps::RULES, Map::Array)?,
            active: open(pins, maps::ACTIVE, Map::Array)?,
            ports: Ports::open(pins)?,
            aggregates: AggregateRows::open(pins)?,
            names: Names::open(pins)?,
            own: open(pins, maps::OWN, Map::HashMap)?,
            own_near: open(pins, maps::OWN_NEAR, Map::Array)?,
            tries: Tries::open(pins)?,
            flipped_ns: 0,
        };
        Ok(Self {
            writer: Mutex::new(writer),
            clients: Mutex::new(open(pins, maps::CLIENTS, Map::LruHashMap)?),
            budget: open(pins, maps::BUDGET, Map::PerCpuArray)?,
            clock: open(pins, maps::CLOCK, Map::Array)?,
            leases: open(pins, maps::LEASES, Map::Array)?,
        })
    }

    /// Makes the maps say `wanted`. Lists grow before they shrink, and the rules change last and
    /// whole: at no moment is a packet judged by half of two rule sets. Clients keep every TAT.
    /// `seed` is taken where there was no seed yet.
    pub fn apply(&self, wanted: &Wanted, seed: u64) -> Result<(), MapsError> {
        let mut writer = self.locked_writer();
        writer.write_own(&wanted.own)?;
        // Whoever read the idle generations has finished.
        writer.rest();
        let in_force = writer.rules_in_force()?;
        let Writer { tries, ports, names, .. } = &mut *writer;
        let (scope, generation) = (in_force.scope ^ 1, in_force.lists);
        ports.write(scope, names, &wanted.ports, &wanted.port_rules)?;
        let first = LIST_CELLS + PORT_RULES + 1;
        let named: Vec<_> = wanted.overrides.iter().map(|row| row.name.as_str()).collect();
        let allotted = names.allot(first..NAME_CELLS, &named)?;
        let row_of = |cell: u32| u8::try_from(cell - first + 1).map_err(|_| MapsError::Names);
        let rows = allotted.iter().map(|allotted| row_of(allotted.cell)).collect::<Result<Vec<_>, _>>()?;
        let prefixes = wanted.overrides.iter().map(|row| row.prefixes.as_slice());
        let prefixes: Vec<_> = rows.iter().copied().zip(prefixes).collect();
        let written = tries.write(names, &wanted.lists, &prefixes, generation)?;
        let terms = |limits, aggregates: &[Aggregate]| Terms { limits, tables: tables(aggregates) };
        let overrides = wanted.overrides.iter().map(|row| terms(row.limits, &row.aggregates));
        let everybodys = terms(wanted.rules.limits, &wanted.aggregates);
        let rows = std::iter::once((0, everybodys)).chain(rows.into_iter().zip(overrides)).collect();
        writer.write_rules(Rules { lists: written.generation, scope, ..wanted.rules }, &rows, seed)?;
        if written.generation != generation {
            rest_for(FLIP_REST);
        }
        writer.tries.finish(written)
    }

    /// Another map stands in the place of CLIENTS.
    pub fn reopen_clients(&self, pins: &PinDir) -> Result<(), MapsError> {
        let clients = open(pins, maps::CLIENTS, Map::LruHashMap)?;
        *self.locked_clients() = clients;
        Ok(())
    }

    /// Packets from sources that the lists name, by list.
    pub fn list_counts(&self) -> Result<Vec<ListCount>, MapsError> {
        let writer = self.locked_writer();
        writer.tries.counts(&writer.names)
    }

    /// Sends no more SYN cookies.
    pub fn stop_cookies(&self) -> Result<(), MapsError> {
        let mut writer = self.locked_writer();
        let (active, rules) = (writer.active_idx()?, writer.rules_in_force()?);
        let flags = rules.flags & !flags::SYN_COOKIES;
        if flags == rules.flags {
            return Ok(());
        }
        let mut rows = BTreeMap::new();
        for row in 0..LIMIT_ROWS {
            let place = active + 2 * row;
            let limits = in_map(maps::RULES, writer.rules.get(&place, 0))?.limits;
            let terms = Terms { limits, tables: writer.aggregates.tables(place)? };
            rows.insert(u8::try_from(row).unwrap_or(0), terms);
        }
        writer.write_rules(Rules { flags, ..rules }, &rows, rules.seed)
    }

    /// Addresses of this host, whatever else is in force.
    pub fn set_own(&self, own: &[IpAddr]) -> Result<(), MapsError> {
        self.locked_writer().write_own(own)
    }

    /// The rules in force.
    pub fn rules(&self) -> Result<Rules, MapsError> {
        self.locked_writer().rules_in_force()
    }

    /// Packets by verdict and action since the maps were made; lines that never counted are left out.
    pub fn counters(&self) -> Result<Vec<CounterRow>, MapsError> {
        let mut rows: Vec<CounterRow> = Vec::new();
        for RuleCount { row, .. } in self.rule_counts()? {
            match rows.iter_mut().find(|sum| sum.verdict == row.verdict && sum.action == row.action) {
                Some(sum) => {
                    sum.packets += row.packets;
                    sum.bytes += row.bytes;
                }
                None => rows.push(row),
            }
        }
        Ok(rows)
    }

    /// As [`Maps::counters`], by port rule.
    pub fn rule_counts(&self) -> Result<Vec<RuleCount>, MapsError> {
        let writer = self.locked_writer();
        writer.ports.counts(&writer.names)
    }

    /// Packets refused because their class's budget was spent: SYN, other TCP, everything else.
    pub fn exhausted(&self) -> Result<[u64; CLASSES], MapsError> {
        let per_cpu = in_map(maps::BUDGET, self.budget.get(&0, 0))?;
        let mut sums = [0; CLASSES];
        for budget in per_cpu.iter() {
            for (sum, refused) in sums.iter_mut().zip(budget.exhausted) {
                *sum += refused;
            }
        }
        Ok(sums)
    }

    /// Unproved sources that their debt earned an entry.
    pub fn promoted(&self) -> Result<u64, MapsError> {
        let per_cpu = in_map(maps::BUDGET, self.budget.get(&0, 0))?;
        Ok(per_cpu.iter().map(|budget| budget.promoted).sum())
    }

    /// The client's entry; a look-up from user space does not keep it alive.
    pub fn entry(&self, key: ClientKey) -> Result<Option<ClientEntry>, MapsError> {
        match self.locked_clients().get(&key.0, 0) {
            Ok(entry) => Ok(Some(entry)),
            Err(MapError::KeyNotFound | MapError::ElementNotFound) => Ok(None),
            Err(source) => in_map(maps::CLIENTS, Err(source)),
        }
    }

    /// Every client that has an entry; entries that come or go meanwhile may be missed.
    pub fn clients(&self) -> Result<Vec<(ClientKey, ClientEntry)>, MapsError> {
        let clients = self.locked_clients();
        let rows = clients.iter().map(|row| row.map(|(key, entry)| (ClientKey(key), entry)));
        in_map(maps::CLIENTS, rows.collect())
    }

    /// Shows at most `most` entries, in no order; those that come or go meanwhile may be missed.
    pub fn visit_clients(
        &self,
        most: usize,
        mut show: impl FnMut(ClientKey, ClientEntry),
    ) -> Result<(), MapsError> {
        for row in self.locked_clients().iter().take(most) {
            match row {
                Ok((key, entry)) => show(ClientKey(key), entry),
                // Evicted between its key and its value.
                Err(MapError::KeyNotFound | MapError::ElementNotFound) => {}
                Err(source) => return in_map(maps::CLIENTS, Err(source)),
            }
        }
        Ok(())
    }

    /// Whether the packet path drops nothing because a lease has run out; `charge` tells the time.
    pub fn is_unattended(&self, charge: &Charge) -> Result<bool, ChargeError> {
        charge.tell_jiffies()?;
        let leases = self.leases.get(&0, 0).unwrap_or_default();
        Ok(leases.over(self.told_jiffies().unwrap_or_default()))
    }

    /// What the last `charge` with [`weir_ebpf::abi::Op::Clock`] wrote.
    pub(super) fn told_jiffies(&self) -> Result<u64, MapsError> {
        in_map(maps::CLOCK, self.clock.get(&0, 0))
    }

    fn locked_writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn locked_clients(&self) -> MutexGuard<'_, HashMap<MapData, u64, ClientEntry>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Type and size of a map, as the kernel has it.
    pub fn capacity_of_clients(&self) -> Result<u32, MapsError> {
        let clients = self.locked_clients();
        in_map(maps::CLIENTS, clients.map().info().map(|info| info.max_entries()))
    }
}

impl Writer {
    fn active_idx(&self) -> Result<u32, MapsError> {
        Ok((in_map(maps::ACTIVE, self.active.get(&0, 0))? & 1) as u32)
    }

    fn rules_in_force(&self) -> Result<Rules, MapsError> {
        let active = self.active_idx()?;
        in_map(maps::RULES, self.rules.get(&active, 0))
    }

    /// Waits until nobody reads what the last flip put out of force.
    fn rest(&self) {
        let rested = Duration::from_nanos(now_ns().saturating_sub(self.flipped_ns));
        if let Some(left) = FLIP_REST.checked_sub(rested) {
            rest_for(left);
        }
    }

    /// `rows` by their number; where one is missing everybody's, row 0, stands.
    fn write_rules(
        &mut self,
        mut rules: Rules,
        rows: &BTreeMap<u8, Terms>,
        seed: u64,
    ) -> Result<(), MapsError> {
        let active = self.active_idx()?;
        let present = self.rules_in_force()?;
        rules.seed = if present.seed == 0 { seed } else { present.seed };
        self.rest();
        let idle = active ^ 1;
        let everybodys = rows.get(&0).copied().unwrap_or(Terms { limits: rules.limits, tables: tables(&[]) });
        for row in 0..LIMIT_ROWS {
            let own = u8::try_from(row).ok().and_then(|row| rows.get(&row)).copied();
            let Terms { limits, tables: sums } = own.unwrap_or(everybodys);
            let flag = if sums == tables(&[]) { 0 } else { flags::AGGREGATES };
            let place = idle + 2 * row;
            let flags = rules.flags & !flags::AGGREGATES | flag;
            let rules = Rules { limits, flags, place: place.into(), ..rules };
            self.aggregates.write(place, &sums)?;
            in_map(maps::RULES, self.rules.set(place, rules, 0))?;
        }
        in_map(maps::ACTIVE, self.active.set(0, u64::from(idle), 0))?;
        self.flipped_ns = now_ns();
        Ok(())
    }

    fn write_own(&mut self, own: &[IpAddr]) -> Result<(), MapsError> {
        let wanted: BTreeSet<u64> = own.iter().map(|address| own_key(&packet_address(*address))).collect();
        let present: BTreeSet<u64> = in_map(maps::OWN, self.own.keys().collect())?;
        for key in wanted.difference(&present) {
            in_map(maps::OWN, self.own.insert(key, 1, 0))?;
        }
        self.write_own_near(&wanted)?;
        for key in present.difference(&wanted) {
            in_map(maps::OWN, self.own.remove(key))?;
        }
        Ok(())
    }

    fn write_own_near(&mut self, wanted: &BTreeSet<u64>) -> Result<(), MapsError> {
        let near: BTreeMap<u32, u64> = wanted.iter().map(|key| (near_idx(*key), *key)).collect();
        for idx in 0..OWN_NEAR_WORDS {
            let key = near.get(&idx).copied().unwrap_or(0);
            if in_map(maps::OWN_NEAR, self.own_near.get(&idx, 0))? != key {
                in_map(maps::OWN_NEAR, self.own_near.set(idx, key, 0))?;
            }
        }
        Ok(())
    }
}

pub(super) fn packet_address(address: IpAddr) -> Address {
    match address {
        IpAddr::V4(v4) => Address::V4(v4.octets()),
        IpAddr::V6(v6) => Address::V6(v6.octets()),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the rest is a bound on readers in the kernel, who signal nothing"
)]
fn rest_for(left: Duration) {
    std::thread::sleep(left);
}
