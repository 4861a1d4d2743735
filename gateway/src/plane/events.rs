//! Sampled decisions of the packet path, as the kernel hands them out.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use aya::maps::{Map, MapData, RingBuf};
use tokio::io::unix::AsyncFd;
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

impl AsRawFd for Events {
    fn as_raw_fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }
}

impl Events {
    /// For waiting in the current runtime.
    pub fn register(self) -> io::Result<AsyncFd<Self>> {
        // SAFETY: the ring owns its descriptor and keeps it, the same one, for as long as it lives.
        unsafe { AsyncFd::register(self) }.map_err(io::Error::from)
    }
}
