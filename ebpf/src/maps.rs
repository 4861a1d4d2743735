//! The maps behind functions, and the path's [`Maps`] over them. The only place that touches a map.
//! CLIENTS and BANS are no statics: they stand in slots, where the keeper puts maps of any capacity.

use core::intrinsics::{AtomicOrdering::Relaxed, atomic_cxchg};
use core::ptr::{null_mut, read_volatile, write_volatile};

use aya_ebpf::EbpfContext as _;
use aya_ebpf::btf_maps;
use aya_ebpf::helpers::bpf_map_update_elem;
use aya_ebpf::macros::{btf_map, map};
use aya_ebpf::maps::lpm_trie::{Key, LpmTrie};
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf};
use aya_ebpf::programs::XdpContext;
use weir_ebpf::abi::{
    AddedKey, Ban, Budget, ClientEntry, ClientKey, Count, EVENTS_BYTES, Event, FRONT_LINES, GENERATION_BITS,
    KEPT_WORDS, LIMIT_ROWS, LIST_CELLS, LISTENERS as LISTENERS_MAX, Lease, Leases, Mark, NAME_BYTES,
    NAME_CELLS, OWN_ADDRESSES, OWN_NEAR_WORDS, PORT_RULES, PREFIXES_MAX, PROVED, PortRow, RULES_ENTRIES,
    Rules, SEEN_CELLS, TRIE_PREFIXES, Word, list_key4, list_key6, slot,
};
use weir_ebpf::front::{self, Fronted, Place, SLOTS};
use weir_ebpf::gate::GATE_WORDS;
use weir_ebpf::gcra::Cell;
use weir_ebpf::packet::Address;
use weir_ebpf::path::{Entry, Maps};
use weir_ebpf::scope::{SCOPE_WORDS, near_idx};
use weir_ebpf::verdict::COUNTER_CELLS;
use weir_ebpf::{budget, seen};

use crate::clock::{jiffies, now_ns};
use crate::{cookie, proof, socket};

/// 64 bytes, so that a source's eight slots are one cache line.
#[repr(C, align(64))]
pub struct FrontLine([u64; SLOTS]);

type BanMap = btf_maps::HashMap<u64, Ban, 1>;
type ClientMap = btf_maps::LruHashMap<u64, ClientEntry, 1>;

/// Flags of map creation: memory as it fills, which tries must have; memory that user space may map.
const NO_PREALLOC: u32 = 1;
const MMAPABLE: u32 = 1 << 10;
/// bpf_map_update_elem: insert only.
const NOEXIST: u64 = 1;

#[map]
static RULES: Array<Rules> = Array::with_max_entries(RULES_ENTRIES, 0);
#[map]
static ACTIVE: Array<u64> = Array::with_max_entries(1, 0);
#[map]
static SCOPE: Array<u64> = Array::with_max_entries(SCOPE_WORDS, MMAPABLE);
#[map]
static PORTS: Array<PortRow> = Array::with_max_entries(2 * PORT_RULES, 0);
#[map]
static OWN: HashMap<u64, u64> = HashMap::with_max_entries(OWN_ADDRESSES, 0);
/// Keys of OWN where they can be read without a look-up in a hash; those that share a word stand in OWN alone.
#[map]
static OWN_NEAR: Array<u64> = Array::with_max_entries(OWN_NEAR_WORDS, 0);
#[map]
static GATE: Array<u64> = Array::with_max_entries(GATE_WORDS, MMAPABLE);
#[map]
static LISTS4: LpmTrie<[u8; 8], Mark> = LpmTrie::with_max_entries(TRIE_PREFIXES, NO_PREALLOC);
#[map]
static LISTS6: LpmTrie<[u32; 5], Mark> = LpmTrie::with_max_entries(TRIE_PREFIXES, NO_PREALLOC);
#[map]
static LISTED: PerCpuArray<Count> = PerCpuArray::with_max_entries(LIST_CELLS, 0);
/// Whose cells those are; written and read by user space.
#[map]
static NAMES: Array<[u8; NAME_BYTES]> = Array::with_max_entries(NAME_CELLS, 0);
/// What operators added to the lists, kept here so that it survives the process that wrote it.
#[map]
static ADDED: HashMap<AddedKey, u64> = HashMap::with_max_entries(PREFIXES_MAX, NO_PREALLOC);
#[map]
static SEEN: Array<u64> = Array::with_max_entries(SEEN_CELLS / 8, 0);
/// Where BANS is. What stands in a slot may have any capacity; the template's is of no meaning.
#[btf_map]
static BANS_SLOTS: btf_maps::ArrayOfMaps<BanMap, 1> = btf_maps::ArrayOfMaps::new();
/// Where CLIENTS is, and where its entries come from while its capacity changes.
#[btf_map]
static CLIENTS_SLOTS: btf_maps::ArrayOfMaps<ClientMap, 2> = btf_maps::ArrayOfMaps::new();
#[map]
static BUDGET: PerCpuArray<Budget> = PerCpuArray::with_max_entries(1, 0);
#[map]
static FRONT: Array<FrontLine> = Array::with_max_entries(FRONT_LINES, 0);
/// When a listener was last given a SYN beyond the budget, by address and port.
#[map]
static LISTENERS: LruHashMap<u64, u64> = LruHashMap::with_max_entries(LISTENERS_MAX, 0);
#[map]
static COUNTERS: PerCpuArray<Count> = PerCpuArray::with_max_entries(COUNTER_CELLS, 0);
#[map]
static EVENTS: RingBuf = RingBuf::with_byte_size(EVENTS_BYTES, 0);
#[map]
static CLOCK: Array<u64> = Array::with_max_entries(1, 0);
/// What user space found and has to put back; never read here.
#[map]
static KEPT: Array<u64> = Array::with_max_entries(KEPT_WORDS, 0);
#[map]
static LEASES: Array<Leases> = Array::with_max_entries(1, 0);

/// The rules in force. User space writes the idle entry and flips ACTIVE, so what is read here stays as it is.
#[inline(always)]
pub fn rules() -> Option<&'static Rules> {
    let active = ACTIVE.get_ptr(0)?;
    // SAFETY: the map's only value; user space changes it by single stores.
    let idx = unsafe { read_volatile(active) };
    RULES.get((idx & 1) as u32)
}

/// Counts a packet; whether to tell user space of it.
#[inline(always)]
pub fn count(cell: u32, length_bytes: u32, told: Option<&Rules>) -> bool {
    let Some(count) = COUNTERS.get_ptr_mut(cell) else { return false };
    let count = add(count, length_bytes);
    told.is_some_and(|rules| budget::may_tell(count, rules, jiffies()))
}

#[inline(always)]
fn add(count: *mut Count, length_bytes: u32) -> &'static mut Count {
    // SAFETY: per-CPU memory; the program is not re-entered on one CPU.
    let count = unsafe { &mut *count };
    count.packets = count.packets.wrapping_add(1);
    count.bytes = count.bytes.wrapping_add(u64::from(length_bytes));
    count
}

/// Hands a decision to user space; lost when the ring is full. What is small comes in one word, in the
/// order of [`Event`]; a function of its own, for the event's sake on the stack.
#[inline(never)]
pub extern "C" fn tell(key: u64, ifindex: u32, length_bytes: u32, small: u64) {
    let Some(mut room) = EVENTS.reserve::<Event>(0) else { return };
    let [verdict, action, protocol, class, port_low, port_high, ..] = small.to_le_bytes();
    room.write(Event {
        jiffies: jiffies(),
        key,
        ifindex,
        length_bytes,
        verdict,
        action,
        protocol,
        class,
        destination_port: u16::from_le_bytes([port_low, port_high]),
        spare: 0,
    });
    room.submit(0);
}

/// Writes the kernel's jiffies where user space can read them.
#[inline(always)]
pub fn publish_jiffies() {
    if let Some(word) = CLOCK.get_ptr_mut(0) {
        // SAFETY: the map's only value, one aligned store.
        unsafe { write_volatile(word, jiffies()) };
    }
}

/// Whether nothing may be dropped, for whoever had to stay alive for it did not. Inline: a function of its
/// own costs each drop 9 ns.
#[inline(always)]
pub fn is_unattended() -> bool {
    let Some(leases) = LEASES.get_ptr(0) else { return false };
    // SAFETY: the map's only value; each of its words is aligned and changes by single stores.
    let ends = |idx: usize| unsafe { read_volatile((&raw const (*leases).ends).cast::<u64>().add(idx)) };
    Leases { ends: [ends(Lease::Keeper as usize), ends(Lease::Apply as usize)] }.over(jiffies())
}

/// Has a lease end `jiffies_ahead` from now; 0: there is none any more. False: no such lease.
#[inline(always)]
pub fn set_lease(lease: u64, jiffies_ahead: u64) -> bool {
    let idx = if lease == Lease::Keeper as u64 {
        Lease::Keeper as usize
    } else if lease == Lease::Apply as u64 {
        Lease::Apply as usize
    } else {
        return false;
    };
    let Some(leases) = LEASES.get_ptr_mut(0) else { return false };
    let end = if jiffies_ahead == 0 { 0 } else { jiffies().saturating_add(jiffies_ahead) };
    // SAFETY: idx is one of the two above, so the word is inside the value; one aligned store.
    unsafe { write_volatile((&raw mut (*leases).ends).cast::<u64>().add(idx), end) };
    true
}

/// The client's entry. While the capacity changes it may still be in the map before: then it comes over
/// here, when it is first wanted.
#[inline(always)]
pub fn client(key: u64) -> Option<ClientRef> {
    let entry = find(key);
    if entry.is_null() { None } else { Some(ClientRef(entry)) }
}

/// A function of its own, for what it needs of the stack.
#[inline(never)]
extern "C" fn find(key: u64) -> *mut ClientEntry {
    if let Some(entry) = CLIENTS_SLOTS.get_value_ptr_mut(slot::NOW, &key) {
        return entry;
    }
    if carry(key) == 0 {
        return null_mut();
    }
    CLIENTS_SLOTS.get_value_ptr_mut(slot::NOW, &key).unwrap_or(null_mut())
}

/// First jiffy after the ban of a key; 0 without a ban, which is the same.
///
/// A function of its own, for what it needs of the stack: only marked cells lead here.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn ban_until(key: u64) -> u64 {
    let Some(ban) = BANS_SLOTS.get_value_ptr_mut(slot::NOW, &key) else { return 0 };
    // SAFETY: a map value; user space replaces it whole, and until is one aligned word.
    unsafe { read_volatile(&raw const (*ban).until_jiffies) }
}

/// Copies an entry from the map before to the one now; 1 where there was one. User space does the same
/// for all of them: whoever is first wins, and both bring the same words, for nobody changes the map
/// before any more.
///
/// A global function, which the verifier reads once, however many paths look a client up.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn carry(key: u64) -> u64 {
    let Some(entry) = CLIENTS_SLOTS.get_value_ptr_mut(slot::BEFORE, &key) else { return 0 };
    match insert_client(key, entry) {
        Ok(()) | Err(EEXIST) => 1,
        Err(_) => 0,
    }
}

/// Inserts; never over an entry that is there (that would evict a stranger). An errno on failure.
#[inline(always)]
pub fn insert_client(key: u64, entry: *const ClientEntry) -> Result<(), i32> {
    let Some(clients) = CLIENTS_SLOTS.get(slot::NOW) else { return Err(ENOENT) };
    let map: *const ClientMap = clients;
    // SAFETY: a map of the kernel's, its key, and a whole value on the stack or in a map.
    match unsafe {
        bpf_map_update_elem(map.cast_mut().cast(), (&raw const key).cast(), entry.cast(), NOEXIST)
    } {
        0 => Ok(()),
        errno => Err(errno as i32),
    }
}

const EEXIST: i32 = -17;
const ENOENT: i32 = -2;

/// Whether it is the listener's turn to see a SYN in this period (1 or 0); it has had it then.
#[inline(never)]
extern "C" fn is_due(listener: u64, period: u64) -> u64 {
    let last = LISTENERS.get_ptr_mut(&listener);
    // SAFETY: a map value, one aligned word; two CPUs at once give the listener two SYNs.
    if last.is_some_and(|last| unsafe { read_volatile(last) } == period) {
        return 0;
    }
    if with_budget(budget::may_open) != Some(true) {
        return 0;
    }
    match last {
        // SAFETY: as above.
        Some(last) => unsafe { write_volatile(last, period) },
        None => LISTENERS.insert(&listener, &period, NOEXIST).unwrap_or(()),
    }
    1
}

#[inline(always)]
fn with_budget<T>(use_it: impl FnOnce(&mut Budget) -> T) -> Option<T> {
    let budget = BUDGET.get_ptr_mut(0)?;
    // SAFETY: per-CPU memory; the program is not re-entered on one CPU, and the closure ends before we return.
    Some(use_it(unsafe { &mut *budget }))
}

/// Whether user space protects this port.
#[inline(always)]
pub fn scope_word(word_idx: u32) -> u64 {
    SCOPE.get(word_idx).copied().unwrap_or(0)
}

/// A word of map memory.
#[derive(Clone, Copy)]
pub struct Shared(*mut u64);

impl Cell for Shared {
    #[inline(always)]
    fn load(self) -> u64 {
        // SAFETY: points at an aligned u64 of a map value; made only by ClientRef::cell and front_slots.
        unsafe { read_volatile(self.0) }
    }

    #[inline(always)]
    fn swap(self, old: u64, new: u64) -> bool {
        // SAFETY: as load; cmpxchg is one instruction of the BPF instruction set (v3), fully ordered.
        unsafe { atomic_cxchg::<u64, { Relaxed }, { Relaxed }>(self.0, old, new).1 }
    }
}

/// An entry of CLIENTS. The kernel may give an evicted entry's memory to another client while we
/// hold it: one charge then lands on a stranger, which GCRA forgets within its interval.
#[derive(Clone, Copy)]
pub struct ClientRef(*mut ClientEntry);

impl ClientRef {
    #[inline(always)]
    pub fn prove(self) {
        // SAFETY: a map value; flags only ever gains PROVED, so a plain store loses nothing.
        unsafe { write_volatile(&raw mut (*self.0).flags, PROVED) };
    }
}

impl Entry for ClientRef {
    type Cell = Shared;

    #[inline(always)]
    fn cell(self, word: Word) -> Shared {
        // SAFETY: word is below WORDS, so the offset stays inside the value.
        Shared(unsafe { (&raw mut (*self.0).tat).cast::<u64>().add(word as usize) })
    }

    #[inline(always)]
    fn is_proved(self) -> bool {
        // SAFETY: a map value.
        unsafe { read_volatile(&raw const (*self.0).flags) & PROVED != 0 }
    }

    #[inline(always)]
    fn hot(self) -> u64 {
        // SAFETY: a map value, one aligned word.
        unsafe { read_volatile(&raw const (*self.0).hot) }
    }

    #[inline(always)]
    fn set_hot(self, word: u64) {
        // SAFETY: as hot; a refusal that another CPU counts at the same time is lost.
        unsafe { write_volatile(&raw mut (*self.0).hot, word) };
    }

    #[inline(always)]
    fn note_passed(self) {
        // SAFETY: a map value; a count lost between CPUs is accepted (abi::ClientEntry).
        unsafe { (*self.0).passed = (*self.0).passed.wrapping_add(1) };
    }

    #[inline(always)]
    fn note_dropped(self) {
        // SAFETY: as note_passed.
        unsafe { (*self.0).dropped = (*self.0).dropped.wrapping_add(1) };
    }
}

#[inline(always)]
fn seen_word(word_idx: u32) -> Option<Shared> {
    SEEN.get_ptr_mut(word_idx).map(Shared)
}

/// The key's cell, and what it holds when the client is seen now.
#[inline(always)]
fn seen_cell(key: u64) -> Option<(Shared, seen::Place, u8)> {
    let rules = rules()?;
    let place = seen::Place::of(key, rules.seed);
    Some((seen_word(place.word_idx)?, place, seen::epoch(jiffies(), rules.epoch_shift)))
}

/// The gate lets the client through from now on, for an epoch or two.
#[inline(always)]
pub fn see(key: u64) {
    if let Some((word, place, epoch)) = seen_cell(key) {
        seen::see(word, place, epoch);
    }
}

/// Sends the key's packets to BANS first, or no longer. False when neighbours were faster.
#[inline(always)]
pub fn mark(key: u64, banned: bool) -> bool {
    let Some((word, place, epoch)) = seen_cell(key) else { return false };
    if banned { seen::mark(word, place) } else { seen::unmark(word, place, epoch) }
}

/// The maps as the path sees them, and the packet's context for what only helpers know.
pub struct Kernel<'a>(pub &'a XdpContext);

impl Maps for Kernel<'_> {
    type Cell = Shared;
    type Entry = ClientRef;

    #[inline(always)]
    fn scope_word(&self, word_idx: u32) -> u64 {
        scope_word(word_idx)
    }

    #[inline(always)]
    fn port_row(&self, generation: u64, rule: u8) -> PortRow {
        let row_idx = (generation & 1) as u32 * PORT_RULES + u32::from(rule) % PORT_RULES;
        PORTS.get(row_idx).copied().unwrap_or_default()
    }

    #[inline(always)]
    fn is_own(&self, own_key: u64) -> bool {
        let near = OWN_NEAR.get_ptr(near_idx(own_key));
        // SAFETY: a map value, one aligned word.
        let is_near = near.is_some_and(|near| unsafe { read_volatile(near) } == own_key);
        // A word that nobody has is 0, which is the key of `::` too.
        (own_key != 0 && is_near) || OWN.get_ptr(&own_key).is_some()
    }

    #[inline(always)]
    fn gate_word(&self, word_idx: u32) -> u64 {
        GATE.get_ptr(word_idx).map_or(0, |word| {
            // SAFETY: a map value, which user space changes by single stores.
            unsafe { read_volatile(word) }
        })
    }

    #[inline(always)]
    fn mark(&self, generation: u64, source: &Address) -> Mark {
        match *source {
            Address::V4(octets) => Mark(mark4(u64::from_ne_bytes(list_key4(generation, octets))) as u32),
            Address::V6(octets) => {
                let [generation, a, b, c, d] = list_key6(generation, octets);
                let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
                Mark(mark6(u64::from(generation), pair(a, b), pair(c, d)) as u32)
            }
        }
    }

    #[inline(always)]
    fn rules_of(&self, place: u64, row: u8) -> Option<&Rules> {
        RULES.get((place & 1) as u32 + 2 * (u32::from(row) % LIMIT_ROWS))
    }

    #[inline(always)]
    fn count_listed(&self, mark: Mark, length_bytes: u32) {
        if let Some(count) = LISTED.get_ptr_mut(u32::from(mark.cell())) {
            add(count, length_bytes);
        }
    }

    #[inline(always)]
    fn ban_until(&self, key: ClientKey) -> Option<u64> {
        match ban_until(key.0) {
            0 => None,
            until_jiffies => Some(until_jiffies),
        }
    }

    #[inline(always)]
    fn seen(&self, word_idx: u32) -> Option<Shared> {
        seen_word(word_idx)
    }

    #[inline(always)]
    fn client(&self, key: ClientKey) -> Option<ClientRef> {
        client(key.0)
    }

    #[inline(always)]
    fn is_connected(&self, key: ClientKey) -> bool {
        let connected = socket::is_connected(self.0.as_ptr().cast()) != 0;
        if connected {
            prove_apart(key.0);
        }
        connected
    }

    #[inline(always)]
    fn returns_cookie(&self) -> bool {
        cookie::returns_cookie(self.0.as_ptr().cast()) != 0
    }

    #[inline(always)]
    fn is_due(&self, period: u64) -> bool {
        let listener = cookie::listener(self.0.as_ptr().cast());
        listener != 0 && is_due(listener, period) != 0
    }

    #[inline(always)]
    fn answer_syn(&self) -> bool {
        cookie::answer_syn(self.0.as_ptr().cast()) != 0
    }

    #[inline(always)]
    fn with_budget<T>(&self, use_it: impl FnOnce(&mut Budget) -> T) -> Option<T> {
        with_budget(use_it)
    }

    #[inline(always)]
    fn front(&self, key: ClientKey, rules: &Rules, cost_ns: u64, tau_ns: u64) -> Fronted {
        let place = Place::of(key.0, rules.seed, FRONT_LINES);
        match front_charge(place.line_idx, place.fingerprint, cost_ns, tau_ns) {
            OVER => Fronted::Over,
            debt_ns => Fronted::Conforming { debt_ns },
        }
    }

    #[inline(always)]
    fn promote(&self, key: ClientKey, word: Word, debt_ns: u64) {
        promote_apart(key.0, word as u64, debt_ns);
    }

    #[inline(always)]
    fn jiffies(&self) -> u64 {
        jiffies()
    }

    #[inline(always)]
    fn now_ns(&self) -> u64 {
        now_ns()
    }
}

/// Functions of their own, for a trie's key is on the stack; global ones, which the verifier reads once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn mark4(key: u64) -> u64 {
    let key = Key::new(GENERATION_BITS + 32, key.to_ne_bytes());
    LISTS4.get(&key).map_or(0, |mark| u64::from(mark.0))
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn mark6(generation: u64, upper: u64, lower: u64) -> u64 {
    let words = [generation as u32, upper as u32, (upper >> 32) as u32, lower as u32, (lower >> 32) as u32];
    let key = Key::new(GENERATION_BITS + 128, words);
    LISTS6.get(&key).map_or(0, |mark| u64::from(mark.0))
}

/// A function of its own, for its entry is a good part of the stack.
#[inline(never)]
extern "C" fn prove_apart(key: u64) {
    // Where the map refuses, the next packet is known by its socket again.
    proof::prove(key).unwrap_or(());
}

/// As [`prove_apart`].
#[inline(never)]
extern "C" fn promote_apart(key: u64, word: u64, debt_ns: u64) {
    let tat_ns = now_ns().wrapping_add(debt_ns);
    let tat = if word == Word::Syns as u64 { [0, 0, tat_ns, 0] } else { [tat_ns, 0, 0, 0] };
    let entry = ClientEntry { tat, hot: 0, flags: 0, passed: 0, dropped: 0 };
    // Where the map refuses, the slot goes on counting.
    insert_client(key, &entry).unwrap_or(());
}

/// What [`front_charge`] answers to a charge that does not conform; else what is owed, in ns.
const OVER: u64 = u64::MAX;

/// A global function, which the verifier reads once: else every path to it multiplies its eight branches.
/// Nothing is owed where the line is missing.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn front_charge(line_idx: u32, fingerprint: u32, cost_ns: u64, tau_ns: u64) -> u64 {
    let Some(line) = FRONT.get_ptr_mut(line_idx) else { return 0 };
    let base = line.cast::<u64>();
    // SAFETY: a line has SLOTS words and idx is below, so each offset stays inside the value.
    let slot_at = |idx: usize| Shared(unsafe { base.add(idx) });
    match front::charge(slot_at, fingerprint, cost_ns, tau_ns, now_ns()) {
        Fronted::Over => OVER,
        Fronted::Conforming { debt_ns } => debt_ns,
    }
}
