//! The gate in front of the lists, as user space writes it: GATE in this process's memory, so that a
//! million bits are a million stores and not a million system calls.

use std::ffi::c_void;
use std::num::NonZero;
use std::os::fd::AsFd as _;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use aya::maps::MapData;
use ipnet::IpNet;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use weir_ebpf::abi::maps;
use weir_ebpf::gate::{GATE_WORDS, GENERATION_WORDS, marks};

use super::maps::{MapsError, packet_address};
use super::pins::PinDir;

const BYTES: usize = GATE_WORDS as usize * size_of::<u64>();

/// GATE, mapped.
pub(super) struct Gate {
    words: NonNull<c_void>,
}

// SAFETY: the memory is shared with the kernel anyway and is only touched as atomics.
unsafe impl Send for Gate {}

impl Gate {
    pub fn open(pins: &PinDir) -> Result<Self, MapsError> {
        let refused = |source| MapsError::Map { name: maps::GATE, source: Box::new(source) };
        let map = MapData::from_pin(pins.map(maps::GATE)).map_err(refused)?;
        let length = NonZero::new(BYTES).expect("a gate has words");
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a fresh mapping at an address that the kernel chooses; load.rs checked type and sizes of
        // the pinned map, which outlives its descriptor.
        let mapped = unsafe { mmap(None, length, access, MapFlags::MAP_SHARED, map.fd().as_fd(), 0) };
        let words = mapped.map_err(MapsError::Gate)?;
        Ok(Self { words })
    }

    /// Lets sources below `net` through to the lists of `generation`.
    pub fn admit(&self, generation: u64, net: &IpNet) {
        marks(generation, &packet_address(net.network()), u32::from(net.prefix_len()), |bit| {
            if let Some(word) = self.words().get(bit.word_idx as usize) {
                word.fetch_or(bit.mask, Ordering::Relaxed);
            }
        });
    }

    /// Closes the gate of `generation`.
    pub fn clear(&self, generation: u64) {
        let (first, second) = self.words().split_at(GENERATION_WORDS as usize);
        for word in if generation & 1 == 0 { first } else { second } {
            // A page that was never written costs nothing, and stays so.
            if word.load(Ordering::Relaxed) != 0 {
                word.store(0, Ordering::Relaxed);
            }
        }
    }

    fn words(&self) -> &[AtomicU64] {
        // SAFETY: `open` mapped so many words, page-aligned, and Drop is what unmaps them; the kernel reads
        // and never writes them, and AtomicU64 has the layout of u64.
        unsafe { std::slice::from_raw_parts(self.words.as_ptr().cast(), GATE_WORDS as usize) }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        // SAFETY: what `open` mapped; nobody holds a reference into it, since `words` borrows self.
        if let Err(error) = unsafe { munmap(self.words, BYTES) } {
            tracing::debug!(%error, "the gate stays mapped");
        }
    }
}
