//! A flood of spoofed sources: never the same one again after its packets were sent.

use weir_ebpf::abi::ClientKey;

use super::clients::Class;
use crate::replay::{Event, Family, Kind};

const SECOND_NS: u64 = 1_000_000_000;

/// Where a source's packets stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gap {
    /// One behind the other.
    None,
    /// With so long between them, in which the others send.
    Ms(u64),
}

/// A third each of UDP, SYN and stray TCP, so that every class's budget meets its share.
#[derive(Clone, Copy, Debug)]
pub struct Flood {
    pub packets_per_second: u64,
    pub packets_per_source: u64,
    pub gap: Gap,
}

impl Flood {
    /// When its `n`th packet is due, after the stream's begin.
    pub(super) fn due_ns(&self, n: u64) -> u64 {
        n * SECOND_NS / self.packets_per_second
    }

    /// The `n`th packet: in each round every source of a moving window sends its next one.
    pub(super) fn event(&self, n: u64, family: Family, at_ns: u64) -> (Class, Event) {
        let behind = match self.gap {
            Gap::None => 0,
            Gap::Ms(ms) => self.packets_per_second / self.packets_per_source * ms / 1_000,
        };
        let source = (n / self.packets_per_source).wrapping_sub(n % self.packets_per_source * behind);
        let kind = match source % 3 {
            0 => Kind::Udp,
            1 => Kind::Syn,
            _ => Kind::Stray,
        };
        // An odd factor is a bijection on the 24 bits: 16,777,216 sources before one comes again.
        let bits = source.wrapping_mul(0x9e37_79b9_7f4a_7c15) & 0xff_ffff;
        let base = match family {
            Family::V4 => ClientKey::V4_TAG | 0x0b00_0000,
            Family::V6 => 0x2001_0db8_0b00_0000,
        };
        (Class::Flood, Event { key: ClientKey(base | bits), at_ns, kind })
    }
}
