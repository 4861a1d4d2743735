//! The maps behind functions, and the path's [`Maps`] over them. The only place that touches a map.
//! CLIENTS and BANS are no statics: they stand in slots, where the keeper puts maps of any capacity.

use core::intrinsics::{AtomicOrdering::Relaxed, atomic_cxchg};
use core::ptr::{read_volatile, write_volatile};

use aya_ebpf::EbpfContext as _;
use aya_ebpf::btf_maps;
use aya_ebpf::macros::{btf_map, map};
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf};
use aya_ebpf::programs::XdpContext;
use weir_ebpf::abi::{
    Ban, Budget, ClientKey, Count, EVENTS_BYTES, Event, FRONT_LINES, KEPT_WORDS, LIMIT_ROWS,
    LISTENERS as LISTENERS_MAX, Lease, Leases, Mark, NAME_BYTES, NAME_CELLS, OWN_ADDRESSES, OWN_NEAR_WORDS,
    PORT_RULES, PortRow, RULES_ENTRIES, Rules, SEEN_CELLS, Word, slot,
};
use weir_ebpf::aggregate::{Share, Summed};
use weir_ebpf::front::{self, Fronted, Place, SLOTS};
use weir_ebpf::gcra::Cell;
use weir_ebpf::packet::Address;
use weir_ebpf::path::Maps;
use weir_ebpf::scope::{SCOPE_WORDS, near_idx};
use weir_ebpf::verdict::COUNTER_CELLS;
use weir_ebpf::{budget, seen};

use crate::clock::{jiffies, now_ns};
use crate::{cookie, socket};

mod lists;

mod clients;

mod aggregates;

pub use clients::{ClientRef, client, insert_client};

/// 64 bytes, so that a source's eight slots are one cache line.
#[repr(C, align(64))]
pub struct FrontLine([u64; SLOTS]);

type BanMap = btf_maps::HashMap<u64, Ban, 1>;

/// Flags of map creation: memory as it fills, which tries must have; memory that user space may map.
const NO_PREALLOC: u32 = 1;
const MMAPABLE: u32 = 1 << 10;
/// bpf_map_update_elem: insert only.
const NOEXIST: u64 = 1;
const EEXIST: i32 = -17;
const ENOENT: i32 = -2;

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
/// Whose cells those are; written and read by user space.
#[map]
static NAMES: Array<[u8; NAME_BYTES]> = Array::with_max_entries(NAME_CELLS, 0);
#[map]
static SEEN: Array<u64> = Array::with_max_entries(SEEN_CELLS / 8, 0);
/// Where BANS is. What stands in a slot may have any capacity; the template's is of no meaning.
#[btf_map]
static BANS_SLOTS: btf_maps::ArrayOfMaps<BanMap, 1> = btf_maps::ArrayOfMaps::new();
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
        // SAFETY: points at an aligned u64 of a map value; made only here and by ClientRef::cell.
        unsafe { read_volatile(self.0) }
    }

    #[inline(always)]
    fn swap(self, old: u64, new: u64) -> bool {
        // SAFETY: as load; cmpxchg is one instruction of the BPF instruction set (v3), fully ordered.
        unsafe { atomic_cxchg::<u64, { Relaxed }, { Relaxed }>(self.0, old, new).1 }
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
        lists::gate_word(word_idx)
    }

    #[inline(always)]
    fn mark(&self, generation: u64, source: &Address) -> Mark {
        lists::mark(generation, source)
    }

    #[inline(always)]
    fn rules_of(&self, place: u64, row: u8) -> Option<&Rules> {
        RULES.get((place & 1) as u32 + 2 * (u32::from(row) % LIMIT_ROWS))
    }

    #[inline(always)]
    fn count_listed(&self, mark: Mark, length_bytes: u32) {
        lists::count(mark, length_bytes);
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
        clients::client(key.0)
    }

    #[inline(always)]
    fn is_connected(&self, key: ClientKey) -> bool {
        let connected = socket::is_connected(self.0.as_ptr().cast()) != 0;
        if connected {
            clients::prove_apart(key.0);
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
    fn aggregate(&self, rules: &Rules, share: Share, now_ns: u64) -> Summed {
        aggregates::charge(rules, share, now_ns)
    }

    #[inline(always)]
    fn promote(&self, key: ClientKey, word: Word, debt_ns: u64) {
        clients::promote_apart(key.0, word as u64, debt_ns);
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
