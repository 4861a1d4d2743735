//! CLIENTS: looking an entry up, making one, and its words.

use core::ptr::{null_mut, read_volatile, write_volatile};

use aya_ebpf::btf_maps;
use aya_ebpf::helpers::bpf_map_update_elem;
use aya_ebpf::macros::btf_map;
use weir_ebpf::abi::{ClientEntry, PROVED, Word, slot};
use weir_ebpf::path::Entry;

use super::{EEXIST, ENOENT, NOEXIST, Shared};
use crate::clock::now_ns;
use crate::proof;

type ClientMap = btf_maps::LruHashMap<u64, ClientEntry, 1>;

/// Where CLIENTS is, and where its entries come from while its capacity changes.
#[btf_map]
static CLIENTS_SLOTS: btf_maps::ArrayOfMaps<ClientMap, 2> = btf_maps::ArrayOfMaps::new();

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

/// A function of its own, for its entry is a good part of the stack.
#[inline(never)]
pub extern "C" fn prove_apart(key: u64) {
    // Where the map refuses, the next packet is known by its socket again.
    proof::prove(key).unwrap_or(());
}

/// As [`prove_apart`].
#[inline(never)]
pub extern "C" fn promote_apart(key: u64, word: u64, debt_ns: u64) {
    let tat_ns = now_ns().wrapping_add(debt_ns);
    let tat = if word == Word::Syns as u64 { [0, 0, tat_ns, 0] } else { [tat_ns, 0, 0, 0] };
    let entry = ClientEntry { tat, hot: 0, flags: 0, passed: 0, dropped: 0 };
    // Where the map refuses, the slot goes on counting.
    insert_client(key, &entry).unwrap_or(());
}
