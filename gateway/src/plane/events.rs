//! Sampled decisions of the packet path, as the kernel hands them out.

use std::os::fd::{AsFd, BorrowedFd};

use aya::maps::{Map, MapData, RingBuf};
use weir_ebpf::abi::{Event, maps};

use super::maps::open;
use super::{MapsError, PinDir};

/// The reading end of EVENTS; one reader at a time makes sense. Poll the fd for reading.
pub struct Events {
    ring: RingBuf<MapData>,
}

impl Events {
    pub fn open(pins: &PinDir) -> Result<Self, MapsError> {
        Ok(Self { ring: open(pins, maps::EVENTS, Map::RingBuf)? })
    }

    /// The next event; None when there is none now.
    pub fn next_event(&mut self) -> Option<Event> {
        loop {
            let item = self.ring.next()?;
            if item.len() >= size_of::<Event>() {
                // SAFETY: Event is Pod and the item holds at least its bytes; alignment is not assumed.
                return Some(unsafe { item.as_ptr().cast::<Event>().read_unaligned() });
            }
        }
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        use std::os::fd::AsRawFd as _;
        // SAFETY: the ring owns the fd and lives as long as self.
        unsafe { BorrowedFd::borrow_raw(self.ring.as_raw_fd()) }
    }
}
