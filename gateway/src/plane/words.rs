//! Arrays of words in this process's memory, so that a million bits are a million stores and not a
//! million system calls: GATE and SCOPE.

use std::ffi::c_void;
use std::num::NonZero;
use std::os::fd::AsFd as _;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use aya::maps::MapData;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

use super::maps::MapsError;
use super::pins::PinDir;

/// A pinned array of u64 that was made to be mapped.
pub(super) struct Words {
    words: NonNull<c_void>,
    n_words: usize,
}

// SAFETY: the memory is shared with the kernel anyway and is only touched as atomics.
unsafe impl Send for Words {}

impl Words {
    pub fn open(pins: &PinDir, name: &'static str, n_words: u32) -> Result<Self, MapsError> {
        let refused = |source| MapsError::Map { name, source: Box::new(source) };
        let map = MapData::from_pin(pins.map(name)).map_err(refused)?;
        let n_words = n_words as usize;
        let length = NonZero::new(n_words * size_of::<u64>()).expect("an array has words");
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a fresh mapping at an address that the kernel chooses, which refuses one beyond the array's
        // end; the map outlives its descriptor.
        let mapped = unsafe { mmap(None, length, access, MapFlags::MAP_SHARED, map.fd().as_fd(), 0) };
        let words = mapped.map_err(|errno| MapsError::Mapping(name, errno))?;
        Ok(Self { words, n_words })
    }

    pub fn get(&self) -> &[AtomicU64] {
        // SAFETY: `open` mapped so many words, page-aligned, and Drop is what unmaps them; the kernel reads
        // and never writes them, and AtomicU64 has the layout of u64.
        unsafe { std::slice::from_raw_parts(self.words.as_ptr().cast(), self.n_words) }
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        // SAFETY: what `open` mapped; nobody holds a reference into it, since `get` borrows self.
        if let Err(error) = unsafe { munmap(self.words, self.n_words * size_of::<u64>()) } {
            tracing::debug!(%error, "an array stays mapped");
        }
    }
}
