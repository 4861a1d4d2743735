//! The lists in the kernel: tries that hold two generations, the gate in front of them, and the counters
//! by list. A small change is made in place, in an order that no packet can see half of; a large one
//! goes into the idle generation, which then takes over whole.

use aya::maps::lpm_trie::Key;
use aya::maps::{LpmTrie, Map, MapData, MapError, PerCpuArray, PerCpuValues};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use weir_ebpf::abi::{Count, GENERATION_BITS, LIST_CELLS, Mark, list_key4, list_key6, maps};

use super::gate::Gate;
use super::lists::{Change, List, Marks};
use super::maps::{MapsError, in_map, open};
use super::names::Names;
use super::pins::PinDir;

/// Rows that are changed in place at most: beyond, the idle generation is filled.
const IN_PLACE_MAX: usize = 256;

/// What writes the lists.
pub(super) struct Tries {
    v4: LpmTrie<MapData, [u8; 8], u32>,
    v6: LpmTrie<MapData, [u32; 5], u32>,
    gate: Gate,
    listed: PerCpuArray<MapData, Count>,
    /// What the generation in force holds; None until it was read.
    held: Option<Marks>,
}

/// Lists that are written and wait for the rules that name their generation.
pub(super) struct Written {
    pub generation: u64,
    /// Rows of the generation before, which go when no packet reads them any more.
    old: Option<Marks>,
}

/// What one list met since its counters began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListCount {
    pub name: String,
    pub packets: u64,
    pub bytes: u64,
}

impl Tries {
    pub fn open(pins: &PinDir) -> Result<Self, MapsError> {
        Ok(Self {
            v4: open(pins, maps::LISTS4, Map::LpmTrie)?,
            v6: open(pins, maps::LISTS6, Map::LpmTrie)?,
            gate: Gate::open(pins)?,
            listed: open(pins, maps::LISTED, Map::PerCpuArray)?,
            held: None,
        })
    }

    /// Writes `lists` beside or into `generation`, which is in force. On an error what is in force stays.
    pub fn write(
        &mut self,
        names: &mut Names,
        lists: &[List],
        overrides: &[(u8, &[IpNet])],
        generation: u64,
    ) -> Result<Written, MapsError> {
        let wanted = Marks::compile(lists, &self.cells(names, lists)?, overrides);
        let held = match self.held.take() {
            Some(held) => held,
            None => self.read(generation)?,
        };
        let change = held.change_to(&wanted);
        if change.is_empty() {
            self.held = Some(held);
            return Ok(Written { generation, old: None });
        }
        if change.len() <= IN_PLACE_MAX {
            self.change(generation, &change)?;
            self.held = Some(wanted);
            return Ok(Written { generation, old: None });
        }
        let idle = generation ^ 1;
        self.gate.clear(idle);
        // Where that fails, what was inserted goes with the next reading.
        self.insert(idle, wanted.rows())?;
        self.held = Some(wanted);
        Ok(Written { generation: idle, old: Some(held) })
    }

    /// Takes the generation before out; its packets have been judged.
    pub fn finish(&mut self, written: Written) -> Result<(), MapsError> {
        let Some(old) = written.old else { return Ok(()) };
        let generation = written.generation ^ 1;
        for (net, _) in old.rows() {
            self.remove(generation, net)?;
        }
        self.gate.clear(generation);
        Ok(())
    }

    /// Packets by list.
    pub fn counts(&self, names: &Names) -> Result<Vec<ListCount>, MapsError> {
        let mut counts = Vec::new();
        for cell in 1..LIST_CELLS {
            let name = names.name(cell)?;
            if name.is_empty() {
                continue;
            }
            let per_cpu = in_map(maps::LISTED, self.listed.get(&cell, 0))?;
            counts.push(ListCount {
                name,
                packets: per_cpu.iter().map(|count| count.packets).sum(),
                bytes: per_cpu.iter().map(|count| count.bytes).sum(),
            });
        }
        Ok(counts)
    }

    /// Rows of the generation in force; those that a writer left in the other when it ended go.
    fn read(&mut self, generation: u64) -> Result<Marks, MapsError> {
        let (mut rows, mut stale) = (Vec::new(), Vec::new());
        for row in self.v4.iter() {
            let (key, mark) = in_map(maps::LISTS4, row)?;
            let [_, _, _, of, a, b, c, d] = key.data();
            let net = Ipv4Net::new([a, b, c, d].into(), length(key.prefix_len()));
            sort_row(net.map(IpNet::V4), u64::from(of) == generation, mark, &mut rows, &mut stale);
        }
        for row in self.v6.iter() {
            let (key, mark) = in_map(maps::LISTS6, row)?;
            let [of, words @ ..] = key.data();
            let [_, _, _, of] = of.to_ne_bytes();
            let net = Ipv6Net::new(v6_of(words).into(), length(key.prefix_len()));
            sort_row(net.map(IpNet::V6), u64::from(of) == generation, mark, &mut rows, &mut stale);
        }
        for net in &stale {
            self.remove(generation ^ 1, net)?;
        }
        Ok(Marks::from_rows(rows))
    }

    fn change(&mut self, generation: u64, change: &Change) -> Result<(), MapsError> {
        if let Err(error) = self.insert(generation, &change.inserted) {
            for (net, _) in &change.inserted {
                self.remove(generation, net)?;
            }
            return Err(error);
        }
        self.insert(generation, &change.updated)?;
        change.removed.iter().try_for_each(|net| self.remove(generation, net))
    }

    fn insert(&mut self, generation: u64, rows: &[(IpNet, Mark)]) -> Result<(), MapsError> {
        for (net, mark) in rows {
            self.gate.admit(generation, net);
            let bits = GENERATION_BITS + u32::from(net.prefix_len());
            match net {
                IpNet::V4(net) => {
                    let key = Key::new(bits, list_key4(generation, net.network().octets()));
                    in_map(maps::LISTS4, self.v4.insert(&key, mark.0, 0))?;
                }
                IpNet::V6(net) => {
                    let key = Key::new(bits, list_key6(generation, net.network().octets()));
                    in_map(maps::LISTS6, self.v6.insert(&key, mark.0, 0))?;
                }
            }
        }
        Ok(())
    }

    fn remove(&mut self, generation: u64, net: &IpNet) -> Result<(), MapsError> {
        let bits = GENERATION_BITS + u32::from(net.prefix_len());
        let (name, removed) = match net {
            IpNet::V4(net) => {
                let key = Key::new(bits, list_key4(generation, net.network().octets()));
                (maps::LISTS4, self.v4.remove(&key))
            }
            IpNet::V6(net) => {
                let key = Key::new(bits, list_key6(generation, net.network().octets()));
                (maps::LISTS6, self.v6.remove(&key))
            }
        };
        match removed {
            Err(MapError::SyscallError(error)) if error.io_error.kind() == std::io::ErrorKind::NotFound => {
                Ok(())
            }
            removed => in_map(name, removed),
        }
    }

    /// The lists' cells of LISTED.
    fn cells(&mut self, names: &mut Names, lists: &[List]) -> Result<Vec<u8>, MapsError> {
        let wanted: Vec<_> = lists.iter().map(|list| list.name.as_str()).collect();
        let mut cells = Vec::with_capacity(lists.len());
        for allotted in names.allot(1..LIST_CELLS, &wanted)? {
            let cell = allotted.cell;
            if allotted.is_new {
                let cpus = in_map(maps::LISTED, self.listed.get(&cell, 0))?.len();
                let zeros =
                    PerCpuValues::try_from(vec![Count::default(); cpus]).map_err(|_| MapsError::Names)?;
                in_map(maps::LISTED, self.listed.set(cell, zeros, 0))?;
            }
            cells.push(u8::try_from(cell).map_err(|_| MapsError::Names)?);
        }
        Ok(cells)
    }
}

fn sort_row<E>(
    net: Result<IpNet, E>,
    in_force: bool,
    mark: u32,
    rows: &mut Vec<(IpNet, Mark)>,
    stale: &mut Vec<IpNet>,
) {
    match net {
        Ok(net) if in_force => rows.push((net, Mark(mark))),
        Ok(net) => stale.push(net),
        // Longer than an address: no writer of ours made it.
        Err(_) => {}
    }
}

fn length(bits: u32) -> u8 {
    u8::try_from(bits.saturating_sub(GENERATION_BITS)).unwrap_or(u8::MAX)
}

fn v6_of(words: [u32; 4]) -> [u8; 16] {
    let mut octets = [0; 16];
    for (to, from) in octets.iter_mut().zip(words.iter().flat_map(|word| word.to_ne_bytes())) {
        *to = from;
    }
    octets
}
