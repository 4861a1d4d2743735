//! The packet path over maps of the process: the same `path::decide` as in the kernel, with a clock
//! that stands still, for comparing the two.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;

use weir::plane::{Marks, Wanted};
use weir_ebpf::abi::{Budget, ClientEntry, ClientKey, FRONT_LINES, Mark, PROVED, Rules, SEEN_CELLS, Word};
use weir_ebpf::front::{self, Fronted, Place, SLOTS};
use weir_ebpf::gate;
use weir_ebpf::gcra;
use weir_ebpf::packet::Address;
use weir_ebpf::path::{Decided, Entry, Maps, decide};
use weir_ebpf::scope::own_key;
use weir_ebpf::seen;

/// A world of clients, lists and bans.
pub struct HostPath {
    lists: Wanted,
    marks: Marks,
    gate: HashMap<u32, u64>,
    bans: HashMap<ClientKey, u64>,
    clients: HashMap<ClientKey, HostEntry>,
    /// SEEN and FRONT as the kernel lays them out; mostly pages that nobody touches.
    seen: Vec<u64>,
    front: Vec<u64>,
    budget: Budget,
}

/// The moment of every decision.
pub const NOW_NS: u64 = 1 << 50;
pub const JIFFIES: u64 = 1 << 33;

impl HostPath {
    pub fn new(lists: Wanted) -> Self {
        let cells: Vec<u8> = (1..).take(lists.lists.len()).collect();
        let marks = Marks::compile(&lists.lists, &cells);
        let mut gate = HashMap::new();
        for (net, _) in marks.rows() {
            let address = packet_address(net.network());
            gate::marks(lists.rules.lists, &address, net.prefix_len().into(), |bit| {
                *gate.entry(bit.word_idx).or_default() |= bit.mask;
            });
        }
        Self {
            lists,
            marks,
            gate,
            bans: HashMap::new(),
            clients: HashMap::new(),
            seen: vec![0; SEEN_CELLS as usize / 8],
            front: vec![0; FRONT_LINES as usize * SLOTS],
            budget: Budget::default(),
        }
    }

    pub fn decide(&mut self, frame: &[u8]) -> Decided {
        let rules = self.lists.rules;
        decide(frame, u32::try_from(frame.len()).expect("short frames"), &self.maps(), &rules)
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
        seen::see(self.maps().seen_word(place.word_idx), place, epoch);
    }

    /// Bans until a moment in jiffies.
    pub fn ban(&mut self, key: ClientKey, until_jiffies: u64) {
        self.bans.insert(key, until_jiffies);
        let (place, _) = self.place_of(key);
        assert!(seen::mark(self.maps().seen_word(place.word_idx), place));
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
        let rules = &self.lists.rules;
        (seen::Place::of(key.0, rules.seed), seen::epoch(JIFFIES, rules.epoch_shift))
    }

    fn maps(&mut self) -> HostMaps<'_> {
        HostMaps {
            lists: &self.lists,
            marks: &self.marks,
            gate: &self.gate,
            bans: &self.bans,
            clients: &self.clients,
            seen: Cell::from_mut(self.seen.as_mut_slice()).as_slice_of_cells(),
            front: Cell::from_mut(self.front.as_mut_slice()).as_slice_of_cells(),
            budget: RefCell::new(&mut self.budget),
        }
    }
}

#[derive(Default)]
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
pub struct HostCell<'a>(&'a Cell<u64>);

impl gcra::Cell for HostCell<'_> {
    fn load(self) -> u64 {
        self.0.get()
    }

    fn swap(self, old: u64, new: u64) -> bool {
        assert_eq!(self.0.get(), old);
        self.0.set(new);
        true
    }
}

impl<'a> Entry for &'a HostEntry {
    type Cell = HostCell<'a>;

    fn cell(self, word: Word) -> HostCell<'a> {
        HostCell(self.cell_of(word))
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

/// The maps for one decision.
struct HostMaps<'a> {
    lists: &'a Wanted,
    marks: &'a Marks,
    gate: &'a HashMap<u32, u64>,
    bans: &'a HashMap<ClientKey, u64>,
    clients: &'a HashMap<ClientKey, HostEntry>,
    seen: &'a [Cell<u64>],
    front: &'a [Cell<u64>],
    budget: RefCell<&'a mut Budget>,
}

impl<'a> HostMaps<'a> {
    fn seen_word(&self, word_idx: u32) -> HostCell<'a> {
        HostCell(self.seen.get(word_idx as usize).expect("a word of SEEN"))
    }
}

impl<'a> Maps for HostMaps<'a> {
    type Cell = HostCell<'a>;
    type Entry = &'a HostEntry;

    fn scope_word(&self, word_idx: u32) -> u64 {
        self.lists.ports.iter().filter(|bit| bit.word_idx == word_idx).fold(0, |word, bit| word | bit.mask)
    }

    fn is_own(&self, key: u64) -> bool {
        self.lists.own.iter().any(|address| own_key(&packet_address(*address)) == key)
    }

    fn gate_word(&self, word_idx: u32) -> u64 {
        self.gate.get(&word_idx).copied().unwrap_or(0)
    }

    fn count_listed(&self, _: Mark, _: u32) {}

    fn mark(&self, _: u64, source: &Address) -> Mark {
        let address = match *source {
            Address::V4(octets) => IpAddr::from(octets),
            Address::V6(octets) => IpAddr::from(octets),
        };
        self.marks.find(address)
    }

    fn ban_until(&self, key: ClientKey) -> Option<u64> {
        self.bans.get(&key).copied()
    }

    fn seen(&self, word_idx: u32) -> Option<HostCell<'a>> {
        Some(self.seen_word(word_idx))
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
        let line = self.front.chunks_exact(SLOTS).nth(place.line_idx as usize).expect("a line of FRONT");
        let slot_at = |idx: usize| HostCell(line.get(idx).expect("an index below SLOTS"));
        front::charge(slot_at, place.fingerprint, cost_ns, tau_ns, NOW_NS)
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
