//! The gate in front of the lists, as user space writes it.

use std::sync::atomic::Ordering;

use ipnet::IpNet;
use weir_ebpf::abi::maps;
use weir_ebpf::gate::{GATE_WORDS, GENERATION_WORDS, marks};

use super::maps::{MapsError, packet_address};
use super::pins::PinDir;
use super::words::Words;

/// GATE, mapped.
pub(super) struct Gate(Words);

impl Gate {
    pub fn open(pins: &PinDir) -> Result<Self, MapsError> {
        Words::open(pins, maps::GATE, GATE_WORDS).map(Self)
    }

    /// Lets sources below `net` through to the lists of `generation`.
    pub fn admit(&self, generation: u64, net: &IpNet) {
        marks(generation, &packet_address(net.network()), u32::from(net.prefix_len()), |bit| {
            if let Some(word) = self.0.get().get(bit.word_idx as usize) {
                word.fetch_or(bit.mask, Ordering::Relaxed);
            }
        });
    }

    /// Closes the gate of `generation`.
    pub fn clear(&self, generation: u64) {
        let (first, second) = self.0.get().split_at(GENERATION_WORDS as usize);
        for word in if generation & 1 == 0 { first } else { second } {
            // A page that was never written costs nothing, and stays so.
            if word.load(Ordering::Relaxed) != 0 {
                word.store(0, Ordering::Relaxed);
            }
        }
    }
}
