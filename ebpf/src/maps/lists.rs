//! The lists: tries of prefixes, the gate in front of them, and a count for each list.

use core::ptr::read_volatile;

use aya_ebpf::macros::map;
use aya_ebpf::maps::lpm_trie::{Key, LpmTrie};
use aya_ebpf::maps::{Array, HashMap, PerCpuArray};
use weir_ebpf::abi::{
    AddedKey, Count, GENERATION_BITS, LIST_CELLS, Mark, PREFIXES_MAX, TRIE_PREFIXES, list_key4, list_key6,
};
use weir_ebpf::gate::GATE_WORDS;
use weir_ebpf::packet::Address;

use super::{MMAPABLE, NO_PREALLOC, add};

#[map]
static GATE: Array<u64> = Array::with_max_entries(GATE_WORDS, MMAPABLE);
#[map]
static LISTS4: LpmTrie<[u8; 8], Mark> = LpmTrie::with_max_entries(TRIE_PREFIXES, NO_PREALLOC);
#[map]
static LISTS6: LpmTrie<[u32; 5], Mark> = LpmTrie::with_max_entries(TRIE_PREFIXES, NO_PREALLOC);
#[map]
static LISTED: PerCpuArray<Count> = PerCpuArray::with_max_entries(LIST_CELLS, 0);
/// What operators added to the lists, kept here so that it survives the process that wrote it.
#[map]
static ADDED: HashMap<AddedKey, u64> = HashMap::with_max_entries(PREFIXES_MAX, NO_PREALLOC);

/// A word of GATE.
#[inline(always)]
pub fn gate_word(word_idx: u32) -> u64 {
    GATE.get_ptr(word_idx).map_or(0, |word| {
        // SAFETY: a map value, which user space changes by single stores.
        unsafe { read_volatile(word) }
    })
}

/// What the longest prefix of the generation that holds the source says.
#[inline(always)]
pub fn mark(generation: u64, source: &Address) -> Mark {
    match *source {
        Address::V4(octets) => Mark(mark4(u64::from_ne_bytes(list_key4(generation, octets))) as u32),
        Address::V6(octets) => {
            let [generation, a, b, c, d] = list_key6(generation, octets);
            let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
            Mark(mark6(u64::from(generation), pair(a, b), pair(c, d)) as u32)
        }
    }
}

/// Counts a packet for the list that decides.
#[inline(always)]
pub fn count(mark: Mark, length_bytes: u32) {
    if let Some(count) = LISTED.get_ptr_mut(u32::from(mark.cell())) {
        add(count, length_bytes);
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
