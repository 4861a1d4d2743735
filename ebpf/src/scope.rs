//! Which packets are ours to judge, and by which rule: those to a protected (protocol, port) of this
//! host. A byte a port, so that a rule set of any size costs one array look-up.

use crate::abi::{ClientKey, OWN_NEAR_WORDS};
use crate::packet::{Address, Packet, Transport};

/// Words of `SCOPE`: both generations.
pub const SCOPE_WORDS: u32 = 2 * SCOPE_GENERATION;
/// Words of eight ports: TCP's, then UDP's, then one for what has no port.
pub const SCOPE_GENERATION: u32 = 2 * PROTOCOL_WORDS + 1;
const PROTOCOL_WORDS: u32 = 65_536 / 8;

/// Where the number of a port's rule stands in a generation of `SCOPE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortCell {
    word_idx: u32,
    shift: u32,
}

impl PortCell {
    /// Fragments without ports, which may belong to any that is protected.
    pub const FRAGMENT: Self = Self { word_idx: 2 * PROTOCOL_WORDS, shift: 0 };
    /// ICMP echo requests, of both families.
    pub const ECHO: Self = Self { word_idx: 2 * PROTOCOL_WORDS, shift: 8 };

    #[inline(always)]
    pub const fn tcp(port: u16) -> Self {
        Self { word_idx: (port >> 3) as u32, shift: (port & 7) as u32 * 8 }
    }

    #[inline(always)]
    pub const fn udp(port: u16) -> Self {
        Self { word_idx: PROTOCOL_WORDS + (port >> 3) as u32, shift: (port & 7) as u32 * 8 }
    }

    /// The cell that decides about `packet`.
    #[inline(always)]
    pub fn of(packet: &Packet) -> Self {
        match packet.transport {
            Transport::Tcp { port, .. } => Self::tcp(port),
            Transport::Udp { port } => Self::udp(port),
            Transport::Fragment => Self::FRAGMENT,
            Transport::Echo => Self::ECHO,
        }
    }

    /// From 1 on; its own among all cells.
    #[inline(always)]
    pub const fn number(self) -> u32 {
        self.word_idx * 8 + (self.shift >> 3) + 1
    }

    /// Index of its word in `SCOPE`.
    #[inline(always)]
    pub const fn word_idx(self, generation: u64) -> u32 {
        (generation & 1) as u32 * SCOPE_GENERATION + self.word_idx
    }

    /// The rule's number, of its word.
    #[inline(always)]
    pub const fn read(self, word: u64) -> u8 {
        (word >> self.shift) as u8
    }

    /// The word with this cell set, where it held 0.
    pub const fn write(self, word: u64, rule: u8) -> u64 {
        word | (rule as u64) << self.shift
    }
}

/// What an in-scope source address may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceKind {
    Client,
    /// fe80::/10: neighbours and routers of the link; never limited.
    LinkLocal,
    /// ::ffff:0:0/96 and 4000::/3: no packet has them, and IPv4 keys live there.
    Bad,
}

impl SourceKind {
    #[inline(always)]
    pub fn of(source: &Address) -> Self {
        let Address::V6([b0, b1, b2, b3, b4, b5, b6, b7, b8, b9, b10, b11, ..]) = *source else {
            return Self::Client;
        };
        let mapped = u64::from_be_bytes([b0, b1, b2, b3, b4, b5, b6, b7]) == 0
            && u32::from_be_bytes([b8, b9, b10, b11]) == 0x0000_ffff;
        if mapped || b0 >> 5 == 0b010 {
            Self::Bad
        } else if b0 == 0xfe && b1 & 0xc0 == 0x80 {
            Self::LinkLocal
        } else {
            Self::Client
        }
    }
}

/// Where a key of `OWN` stands in `OWN_NEAR`, if it is the one that stands there.
#[inline(always)]
pub const fn near_idx(own_key: u64) -> u32 {
    (own_key ^ own_key >> 32) as u32 & (OWN_NEAR_WORDS - 1)
}

/// Key of a destination in `OWN`. IPv6 addresses are folded to 64 bits: a stranger's address that
/// folds onto one of ours is merely judged as if it were ours.
#[inline(always)]
pub fn own_key(address: &Address) -> u64 {
    match *address {
        Address::V4(octets) => ClientKey::v4(octets).0,
        Address::V6(octets) => {
            let bits = u128::from_be_bytes(octets);
            let (upper, lower) = ((bits >> 64) as u64, bits as u64);
            upper.rotate_left(23) ^ lower.wrapping_mul(0x9e37_79b9_7f4a_7c15)
        }
    }
}
