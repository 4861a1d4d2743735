//! AGGREGATES: the words that the proved clients of a prefix share, and the rows that say which do.

use aya_ebpf::btf_maps;
use aya_ebpf::helpers::bpf_map_update_elem;
use aya_ebpf::macros::{btf_map, map};
use aya_ebpf::maps::Array;
use weir_ebpf::abi::{
    AGGREGATE_ROWS as ROWS, AggregateKey, AggregateRow, FRONT_LINES, Rules, aggregates_at, slot,
};
use weir_ebpf::aggregate::{self, Party, Share, Summed};
use weir_ebpf::front::Place;
use weir_ebpf::gcra::{self, Charged, Limit, Outcome};

use super::{EEXIST, NOEXIST, OVER, Shared, front_charge};

type WordMap = btf_maps::LruHashMap<AggregateKey, u64, 1>;

#[map]
static AGGREGATE_ROWS: Array<AggregateRow> = Array::with_max_entries(ROWS, 0);
/// Where AGGREGATES is.
#[btf_map]
static AGGREGATE_SLOTS: btf_maps::ArrayOfMaps<WordMap, 1> = btf_maps::ArrayOfMaps::new();

/// Charges what the packet counts for.
#[inline(always)]
pub fn charge(rules: &Rules, share: Share, now_ns: u64) -> Summed {
    let first = aggregates_at(rules.place, share.key.is_v4());
    summed(charge_rows(first.into(), share.key.0, share.packed(), now_ns, rules.seed))
        .unwrap_or(Summed::Within)
}

/// [`charge_row`]'s answer behind the last row.
const NO_ROW: u64 = 3;

#[inline(always)]
const fn summed(number: u64) -> Option<Summed> {
    match number {
        0 => Some(Summed::Within),
        1 => Some(Summed::Over),
        2 => Some(Summed::Contended),
        _ => None,
    }
}

/// A [`Summed`] as its number. A global function, which the verifier reads once, for both kinds of clients.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn charge_rows(first: u64, key: u64, packed: u64, now_ns: u64, seed: u64) -> u64 {
    aggregate::charge(|idx| summed(charge_row(first.wrapping_add(idx.into()), key, packed, now_ns, seed)))
        as u64
}

/// As [`charge_rows`], which each row would multiply.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn charge_row(row_idx: u64, key: u64, packed: u64, now_ns: u64, seed: u64) -> u64 {
    let share = Share::unpacked(key, packed);
    let Some(row) = AGGREGATE_ROWS.get(row_idx as u32).filter(|row| row.limit.is_set()) else {
        return NO_ROW;
    };
    let Some(word) = aggregate::word_of(row, share) else { return Summed::Within as u64 };
    let summed = match share.party {
        Party::Proved => charge_word(&word, &row.limit, share.n, now_ns),
        Party::Unproved => {
            let place = Place::of(aggregate::front_key(word), seed, FRONT_LINES);
            match front_charge(
                place.line_idx,
                place.fingerprint,
                row.limit.cost_ns(share.n),
                row.limit.tau_ns,
            ) {
                OVER => Summed::Over,
                _ => Summed::Within,
            }
        }
    };
    summed as u64
}

/// Where the map has no room the packet passes: its client's own limit holds.
#[inline(always)]
fn charge_word(key: &AggregateKey, limit: &Limit, n: u64, now_ns: u64) -> Summed {
    let word = match AGGREGATE_SLOTS.get_value_ptr_mut(slot::NOW, key) {
        Some(word) => word,
        None => {
            let Outcome::Conforming { tat_ns } = limit.decide(0, now_ns, n) else { return Summed::Over };
            if insert(key, tat_ns) != EEXIST {
                return Summed::Within;
            }
            let Some(word) = AGGREGATE_SLOTS.get_value_ptr_mut(slot::NOW, key) else { return Summed::Within };
            word
        }
    };
    match gcra::charge(Shared(word), limit, n, now_ns) {
        Charged::Conforming { .. } => Summed::Within,
        Charged::Over { .. } => Summed::Over,
        Charged::Contended => Summed::Contended,
    }
}

/// Never over a word that is there (that would evict a stranger). 0 or an errno.
#[inline(always)]
fn insert(key: &AggregateKey, tat_ns: u64) -> i32 {
    let Some(words) = AGGREGATE_SLOTS.get(slot::NOW) else { return 0 };
    let (map, key): (*const WordMap, *const AggregateKey) = (words, key);
    // SAFETY: a map of the kernel's, its key, and a whole value on the stack.
    unsafe {
        bpf_map_update_elem(map.cast_mut().cast(), key.cast(), (&raw const tat_ns).cast(), NOEXIST) as i32
    }
}
