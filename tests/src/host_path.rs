//! The packet path over maps of the process: the same `path::decide` as in the kernel, with a clock
//! that stands still, for comparing the two.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;

use weir::plane::{self, Aggregate, Marks, Tables, Wanted};
use weir_ebpf::abi::{
    AggregateKey, Budget, ClientEntry, ClientKey, FRONT_LINES, Mark, PROVED, PortRow, Rules, Word, flags,
};
use weir_ebpf::aggregate::{self, Party, Share, Summed};
use weir_ebpf::front::{self, Fronted, Place, SLOTS};
use weir_ebpf::gate;
use weir_ebpf::gcra::{self, Outcome};
use weir_ebpf::packet::Address;
use weir_ebpf::path::{Decided, Entry, Maps, decide};
use weir_ebpf::scope::{PortCell, own_key};
use weir_ebpf::seen;

/// A world of clients, lists and bans; a clone is another world that is the same so far.
#[derive(Clone)]
pub struct HostPath {
    rules: Rc<RuleSet>,
    bans: BTreeMap<ClientKey, u64>,
    clients: BTreeMap<ClientKey, HostEntry>,
    seen: Words,
    front: Words,
    aggregates: RefCell<BTreeMap<AggregateKey, u64>>,
    budget: RefCell<Budget>,
}

/// What packets do not change.
struct RuleSet {
    wanted: Wanted,
    marks: Marks,
    gate: BTreeMap<u32, u64>,
    scope: BTreeMap<u32, u64>,
    /// Of the overrides, in their order.
    limits: Vec<Rules>,
    /// Everybody's, then the overrides'.
    tables: Vec<Tables>,
}

/// An array of words, of which few are ever written; the others are 0.
type Words = RefCell<BTreeMap<u32, u64>>;

/// The moment of every decision.
pub const NOW_NS: u64 = 1 << 50;
pub const JIFFIES: u64 = 1 << 33;

impl HostPath {
    pub fn new(wanted: Wanted) -> Self {
        let cells: Vec<u8> = (1..).take(wanted.lists.len()).collect();
        let overrides: Vec<_> =
            (1..).zip(&wanted.overrides).map(|(row, over)| (row, over.prefixes.as_slice())).collect();
        let marks = Marks::compile(&wanted.lists, &cells, &overrides);
        let mut gate = BTreeMap::new();
        for (net, _) in marks.rows() {
            let address = packet_address(net.network());
            gate::marks(wanted.rules.lists, &address, net.prefix_len().into(), |bit| {
                *gate.entry(bit.word_idx).or_default() |= bit.mask;
            });
        }
        let named = (2..).zip(&wanted.port_rules);
        let named = named.flat_map(|(number, rule)| rule.cells.iter().map(move |cell| (*cell, number)));
        let mut cells: BTreeMap<PortCell, u8> = wanted.ports.iter().map(|cell| (*cell, 1)).collect();
        cells.extend(named);
        let mut wanted = wanted;
        let mut tables = vec![plane::tables(&wanted.aggregates)];
        tables.extend(wanted.overrides.iter().map(|over| plane::tables(&over.aggregates)));
        let flag = |aggregates: &[Aggregate]| if aggregates.is_empty() { 0 } else { flags::AGGREGATES };
        let mut limits = Vec::new();
        for (place, over) in (2..).step_by(2).zip(&wanted.overrides) {
            let flags = wanted.rules.flags | flag(&over.aggregates);
            limits.push(Rules { limits: over.limits, flags, place, ..wanted.rules });
        }
        wanted.rules.flags |= flag(&wanted.aggregates);
        let mut scope = BTreeMap::new();
        for (cell, number) in cells {
            let word = scope.entry(cell.word_idx(wanted.rules.scope)).or_default();
            *word = cell.write(*word, number);
        }
        Self {
            rules: Rc::new(RuleSet { wanted, marks, gate, scope, limits, tables }),
            bans: BTreeMap::new(),
            clients: BTreeMap::new(),
            seen: Words::default(),
            front: Words::default(),
            aggregates: RefCell::default(),
            budget: RefCell::default(),
        }
    }

    pub fn decide(&self, frame: &[u8]) -> Decided {
        let length_bytes = u32::try_from(frame.len()).expect("short frames");
        decide(frame, length_bytes, &self, &self.rules.wanted.rules)
    }

    /// A proved client that owes `ahead_ns` on a word.
    pub fn prove(&mut self, key: ClientKey, owes: Option<(Word, u64)>) {
        let entry = HostEntry::default();
        if let Some((word, ahead_ns)) = owes {
            entry.cell_of(word).set(NOW_NS + ahead_ns);
        }
        entry.flags.set(PROVED);
        self.clients.insert(key, entry);
        let (place, epoch) = self.place_of(key);
        seen::see(HostCell::Sparse(&self.seen, place.word_idx), place, epoch);
    }

    /// Bans until a moment in jiffies.
    pub fn ban(&mut self, key: ClientKey, until_jiffies: u64) {
        self.bans.insert(key, until_jiffies);
        let (place, _) = self.place_of(key);
        assert!(seen::mark(HostCell::Sparse(&self.seen, place.word_idx), place));
    }

    /// What the client's entry says now.
    pub fn entry(&self, key: ClientKey) -> Option<ClientEntry> {
        self.clients.get(&key).map(|entry| ClientEntry {
            tat: entry.tat.each_ref().map(Cell::get),
            hot: entry.hot.get(),
            flags: entry.flags.get(),
            passed: entry.passed.get(),
            dropped: entry.dropped.get(),
        })
    }

    fn place_of(&self, key: ClientKey) -> (seen::Place, u8) {
        let rules = &self.rules.wanted.rules;
        (seen::Place::of(key.0, rules.seed), seen::epoch(JIFFIES, rules.epoch_shift))
    }
}

#[derive(Clone, Default)]
pub struct HostEntry {
    tat: [Cell<u64>; 4],
    hot: Cell<u64>,
    flags: Cell<u64>,
    passed: Cell<u64>,
    dropped: Cell<u64>,
}

impl HostEntry {
    fn cell_of(&self, word: Word) -> &Cell<u64> {
        let [packets, bytes, syns, requests] = &self.tat;
        match word {
            Word::Packets => packets,
            Word::Bytes => bytes,
            Word::Syns => syns,
            Word::Requests => requests,
        }
    }
}

/// A word of one thread: a swap always wins.
#[derive(Clone, Copy)]
pub enum HostCell<'a> {
    Own(&'a Cell<u64>),
    Sparse(&'a Words, u32),
}

impl gcra::Cell for HostCell<'_> {
    fn load(self) -> u64 {
        match self {
            Self::Own(word) => word.get(),
            Self::Sparse(words, idx) => words.borrow().get(&idx).copied().unwrap_or_default(),
        }
    }

    fn swap(self, old: u64, new: u64) -> bool {
        assert_eq!(self.load(), old);
        match self {
            Self::Own(word) => word.set(new),
            Self::Sparse(words, idx) => drop(words.borrow_mut().insert(idx, new)),
        }
        true
    }
}

impl<'a> Entry for &'a HostEntry {
    type Cell = HostCell<'a>;

    fn cell(self, word: Word) -> HostCell<'a> {
        HostCell::Own(self.cell_of(word))
    }

    fn is_proved(self) -> bool {
        self.flags.get() & PROVED != 0
    }

    fn hot(self) -> u64 {
        self.hot.get()
    }

    fn set_hot(self, word: u64) {
        self.hot.set(word);
    }

    fn note_passed(self) {
        self.passed.set(self.passed.get() + 1);
    }

    fn note_dropped(self) {
        self.dropped.set(self.dropped.get() + 1);
    }
}

impl<'a> Maps for &'a HostPath {
    type Cell = HostCell<'a>;
    type Entry = &'a HostEntry;

    fn scope_word(&self, word_idx: u32) -> u64 {
        self.rules.scope.get(&word_idx).copied().unwrap_or(0)
    }

    fn port_row(&self, _: u64, rule: u8) -> PortRow {
        let rules = &self.rules.wanted.port_rules;
        let named = usize::from(rule).checked_sub(2).and_then(|idx| rules.get(idx));
        named.map_or(PortRow::default(), |rule| rule.row)
    }

    fn is_own(&self, key: u64) -> bool {
        self.rules.wanted.own.iter().any(|address| own_key(&packet_address(*address)) == key)
    }

    fn gate_word(&self, word_idx: u32) -> u64 {
        self.rules.gate.get(&word_idx).copied().unwrap_or(0)
    }

    fn rules_of(&self, _: u64, row: u8) -> Option<&Rules> {
        usize::from(row).checked_sub(1).and_then(|idx| self.rules.limits.get(idx))
    }

    fn count_listed(&self, _: Mark, _: u32) {}

    fn mark(&self, _: u64, source: &Address) -> Mark {
        let address = match *source {
            Address::V4(octets) => IpAddr::from(octets),
            Address::V6(octets) => IpAddr::from(octets),
        };
        self.rules.marks.find(address)
    }

    fn ban_until(&self, key: ClientKey) -> Option<u64> {
        self.bans.get(&key).copied()
    }

    fn seen(&self, word_idx: u32) -> Option<HostCell<'a>> {
        Some(HostCell::Sparse(&self.seen, word_idx))
    }

    fn client(&self, key: ClientKey) -> Option<&'a HostEntry> {
        self.clients.get(&key)
    }

    /// This host has no sockets.
    fn is_connected(&self, _: ClientKey) -> bool {
        false
    }

    fn returns_cookie(&self) -> bool {
        false
    }

    fn is_due(&self, _: u64) -> bool {
        false
    }

    /// A host build has no keys for cookies.
    fn answer_syn(&self) -> bool {
        false
    }

    fn with_budget<T>(&self, use_it: impl FnOnce(&mut Budget) -> T) -> Option<T> {
        Some(use_it(&mut self.budget.borrow_mut()))
    }

    fn front(&self, key: ClientKey, rules: &Rules, cost_ns: u64, tau_ns: u64) -> Fronted {
        let place = Place::of(key.0, rules.seed, FRONT_LINES);
        let slot_at = |idx: usize| {
            let slot_idx = u32::try_from(idx).expect("an index below SLOTS");
            HostCell::Sparse(&self.front, place.line_idx * SLOTS as u32 + slot_idx)
        };
        front::charge(slot_at, place.fingerprint, cost_ns, tau_ns, NOW_NS)
    }

    fn aggregate(&self, rules: &Rules, share: Share, now_ns: u64) -> Summed {
        let tables = usize::try_from(rules.place / 2).ok().and_then(|row| self.rules.tables.get(row));
        let [v4, v6] = tables.expect("as many as rules");
        let table = if share.key.is_v4() { v4 } else { v6 };
        aggregate::charge(|idx| {
            let row = usize::try_from(idx).ok().and_then(|idx| table.get(idx));
            let row = row.filter(|row| row.limit.is_set())?;
            let Some(word) = aggregate::word_of(row, share) else { return Some(Summed::Within) };
            Some(match share.party {
                Party::Proved => {
                    let mut words = self.aggregates.borrow_mut();
                    let tat_ns = words.entry(word).or_default();
                    match row.limit.decide(*tat_ns, now_ns, share.n) {
                        Outcome::Over { .. } => Summed::Over,
                        Outcome::Conforming { tat_ns: after_ns } => {
                            *tat_ns = after_ns;
                            Summed::Within
                        }
                    }
                }
                Party::Unproved => {
                    let key = ClientKey(aggregate::front_key(word));
                    match Maps::front(self, key, rules, row.limit.cost_ns(share.n), row.limit.tau_ns) {
                        Fronted::Over => Summed::Over,
                        Fronted::Conforming { .. } => Summed::Within,
                    }
                }
            })
        })
    }

    /// At a standing clock a slot keeps what is owed as well as an entry does.
    fn promote(&self, _: ClientKey, _: Word, _: u64) {}

    fn jiffies(&self) -> u64 {
        JIFFIES
    }

    fn now_ns(&self) -> u64 {
        NOW_NS
    }
}

pub fn packet_address(address: IpAddr) -> Address {
    match address {
        IpAddr::V4(v4) => Address::V4(v4.octets()),
        IpAddr::V6(v6) => Address::V6(v6.octets()),
    }
}
