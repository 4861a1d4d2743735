//! Which packets are ours to judge: those to a protected (protocol, port) of this host. A bit a port,
//! so that a rule set of any size costs one array look-up.

use crate::abi::{ClientKey, OWN_NEAR_WORDS};
use crate::packet::{Address, Packet, Transport};

/// Words of 64 ports in `SCOPE`: TCP's, then UDP's, then one for "any port at all" (fragments).
pub const SCOPE_WORDS: u32 = 2 * PROTOCOL_WORDS + 1;
const PROTOCOL_WORDS: u32 = 65_536 / 64;

/// Where a port's bit stands in `SCOPE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortBit {
    pub word_idx: u32,
    pub mask: u64,
}

impl PortBit {
    /// Set when any port is protected: a fragment without ports may belong to it.
    pub const ANY: Self = Self { word_idx: 2 * PROTOCOL_WORDS, mask: 1 };

    #[inline(always)]
    pub const fn tcp(port: u16) -> Self {
        Self { word_idx: (port >> 6) as u32, mask: 1 << (port & 63) }
    }

    #[inline(always)]
    pub const fn udp(port: u16) -> Self {
        Self { word_idx: PROTOCOL_WORDS + (port >> 6) as u32, mask: 1 << (port & 63) }
    }

    /// The bit that decides about `packet`.
    #[inline(always)]
    pub fn of(packet: &Packet) -> Self {
        match packet.transport {
            Transport::Tcp { port, .. } => Self::tcp(port),
            Transport::Udp { port } => Self::udp(port),
            Transport::Fragment => Self::ANY,
        }
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
