//! Ethernet, VLAN, IPv4, IPv6 with extension headers, TCP, UDP: a frame becomes a [`Packet`], or
//! the verdict that says why not. Follows RFC 791, 8200, 9293, 768 and IEEE 802.1Q; knows no maps.

use crate::abi::{Class, ClientKey};
use crate::frame::Frame;
use crate::verdict::Verdict;

/// What the path needs of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    pub source: Address,
    pub destination: Address,
    pub transport: Transport,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    V4([u8; 4]),
    V6([u8; 16]),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Tcp {
        source_port: u16,
        port: u16,
        syn: bool,
    },
    Udp {
        port: u16,
    },
    /// A fragment without ports: any but the first, or a first one too short for them.
    Fragment,
    /// An ICMP echo request; every other ICMP message is nobody's to judge.
    Echo,
}

impl Packet {
    /// The source's key.
    #[inline(always)]
    pub fn client(&self) -> ClientKey {
        match self.source {
            Address::V4(octets) => ClientKey::v4(octets),
            Address::V6(octets) => ClientKey::v6(octets),
        }
    }

    /// The budget it draws on when its source is unproved.
    #[inline(always)]
    pub fn class(&self) -> Class {
        match self.transport {
            Transport::Tcp { syn: true, .. } => Class::Syn,
            Transport::Tcp { syn: false, .. } => Class::Tcp,
            Transport::Udp { .. } => Class::Udp,
            Transport::Fragment => Class::Fragment,
            Transport::Echo => Class::Echo,
        }
    }

    /// Destination port; 0 for a fragment.
    #[inline(always)]
    pub fn port(&self) -> u16 {
        match self.transport {
            Transport::Tcp { port, .. } | Transport::Udp { port } => port,
            Transport::Fragment | Transport::Echo => 0,
        }
    }
}

/// Reads the headers of `frame`.
#[inline(always)]
pub fn parse<F: Frame + ?Sized>(frame: &F) -> Result<Packet, Verdict> {
    let (ether_type, offset) = ethernet(frame)?;
    match ether_type {
        EtherType::IPV4 => ipv4(frame, offset),
        EtherType::IPV6 => ipv6(frame, offset),
        _ => Err(Verdict::NotIp),
    }
}

/// IEEE 802 numbers; a type of its own so that it never meets an IP protocol number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct EtherType([u8; 2]);

impl EtherType {
    pub const IPV4: Self = Self([0x08, 0x00]);
    pub const IPV6: Self = Self([0x86, 0xdd]);
    const VLAN: Self = Self([0x81, 0x00]);
    const QINQ: Self = Self([0x88, 0xa8]);

    fn is_tag(self) -> bool {
        self == Self::VLAN || self == Self::QINQ
    }
}

/// IANA protocol numbers, which IPv6 uses as next headers.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Protocol(u8);

impl Protocol {
    const HOP_BY_HOP: Self = Self(0);
    const ICMP: Self = Self(1);
    const TCP: Self = Self(6);
    const UDP: Self = Self(17);
    const ROUTING: Self = Self(43);
    const FRAGMENT: Self = Self(44);
    const AUTHENTICATION: Self = Self(51);
    const ICMPV6: Self = Self(58);
    const DESTINATION: Self = Self(60);
    const MOBILITY: Self = Self(135);
    const HIP: Self = Self(139);
    const SHIM6: Self = Self(140);
}

const ETHERNET_BYTES: usize = 14;
const TAG_BYTES: usize = 4;
/// 802.1ad: one service and one customer tag.
const TAGS_MAX: usize = 2;
/// RFC 8200 section 4.1 recommends an order in which seven can stand.
const EXTENSIONS_MAX: usize = 8;

/// What the frame carries, and the offset at which it begins: behind up to two tags.
#[inline(always)]
pub fn ethernet<F: Frame + ?Sized>(frame: &F) -> Result<(EtherType, usize), Verdict> {
    let mut ether_type = EtherType(frame.bytes(12).ok_or(Verdict::TruncatedEthernet)?);
    let mut offset = ETHERNET_BYTES;
    for _ in 0..TAGS_MAX {
        if !ether_type.is_tag() {
            return Ok((ether_type, offset));
        }
        ether_type = EtherType(frame.bytes(offset + 2).ok_or(Verdict::TruncatedVlan)?);
        offset += TAG_BYTES;
    }
    if ether_type.is_tag() { Err(Verdict::VlanDepth) } else { Ok((ether_type, offset)) }
}

#[inline(always)]
fn ipv4<F: Frame + ?Sized>(frame: &F, offset: usize) -> Result<Packet, Verdict> {
    let header: [u8; 20] = frame.bytes(offset).ok_or(Verdict::TruncatedIpv4)?;
    let [
        version_ihl,
        _,
        total_hi,
        total_lo,
        _,
        _,
        fragment_hi,
        fragment_lo,
        _,
        protocol,
        _,
        _,
        s0,
        s1,
        s2,
        s3,
        d0,
        d1,
        d2,
        d3,
    ] = header;
    let header_bytes = usize::from(version_ihl & 0x0f) * 4;
    let total_bytes = u16::from_be_bytes([total_hi, total_lo]);
    // A total of 0 is what the stack puts into a frame above 64 KiB (BIG TCP).
    if version_ihl >> 4 != 4
        || header_bytes < 20
        || (total_bytes != 0 && usize::from(total_bytes) < header_bytes)
    {
        return Err(Verdict::BadIpv4);
    }
    let fragment = u16::from_be_bytes([fragment_hi, fragment_lo]);
    let position = Position { offset: fragment & 0x1fff != 0, more: fragment & 0x2000 != 0 };
    let transport = transport(frame, offset + header_bytes, Protocol(protocol), position)?;
    Ok(Packet {
        source: Address::V4([s0, s1, s2, s3]),
        destination: Address::V4([d0, d1, d2, d3]),
        transport,
    })
}

#[inline(always)]
fn ipv6<F: Frame + ?Sized>(frame: &F, offset: usize) -> Result<Packet, Verdict> {
    let [version, _, _, _, _, _, next_header, _]: [u8; 8] =
        frame.bytes(offset).ok_or(Verdict::TruncatedIpv6)?;
    let source = frame.bytes(offset + 8).ok_or(Verdict::TruncatedIpv6)?;
    let destination = frame.bytes(offset + 24).ok_or(Verdict::TruncatedIpv6)?;
    if version >> 4 != 6 {
        return Err(Verdict::BadIpv6);
    }
    let transport = extensions(frame, offset + 40, Protocol(next_header))?;
    Ok(Packet { source: Address::V6(source), destination: Address::V6(destination), transport })
}

/// Walks the extension headers to the transport header (RFC 8200 section 4).
#[inline(always)]
fn extensions<F: Frame + ?Sized>(frame: &F, start: usize, first: Protocol) -> Result<Transport, Verdict> {
    let mut offset = start;
    let mut protocol = first;
    let mut position = Position::WHOLE;
    for _ in 0..EXTENSIONS_MAX {
        let bytes = match protocol {
            Protocol::HOP_BY_HOP
            | Protocol::ROUTING
            | Protocol::DESTINATION
            | Protocol::MOBILITY
            | Protocol::HIP
            | Protocol::SHIM6
            | Protocol::AUTHENTICATION
            | Protocol::FRAGMENT => frame.bytes::<4>(offset).ok_or(Verdict::TruncatedExtension)?,
            _ => return transport(frame, offset, protocol, position),
        };
        let [next, length, fragment_hi, fragment_lo] = bytes;
        let header_bytes = match protocol {
            Protocol::FRAGMENT => {
                let fragment = u16::from_be_bytes([fragment_hi, fragment_lo]);
                position = Position { offset: fragment & 0xfff8 != 0, more: fragment & 1 != 0 };
                8
            }
            // RFC 4302 section 2.2: in 32-bit words, minus 2.
            Protocol::AUTHENTICATION => (usize::from(length) + 2) * 4,
            _ => (usize::from(length) + 1) * 8,
        };
        offset += header_bytes;
        protocol = Protocol(next);
        if position.offset {
            return later_fragment(protocol);
        }
    }
    match protocol {
        Protocol::TCP | Protocol::UDP => transport(frame, offset, protocol, position),
        _ => Err(Verdict::ExtensionDepth),
    }
}

/// Where a fragment stands in its packet.
#[derive(Clone, Copy)]
struct Position {
    offset: bool,
    more: bool,
}

impl Position {
    const WHOLE: Self = Self { offset: false, more: false };
}

#[inline(always)]
fn transport<F: Frame + ?Sized>(
    frame: &F,
    offset: usize,
    protocol: Protocol,
    position: Position,
) -> Result<Transport, Verdict> {
    if position.offset {
        return later_fragment(protocol);
    }
    match protocol {
        Protocol::TCP => tcp(frame, offset, position),
        Protocol::UDP => udp(frame, offset, position),
        Protocol::ICMP => icmp(frame, offset, ECHO_REQUEST),
        Protocol::ICMPV6 => icmp(frame, offset, ECHO_REQUEST_V6),
        _ => Err(Verdict::NoPort),
    }
}

/// RFC 792 and RFC 4443.
const ECHO_REQUEST: u8 = 8;
const ECHO_REQUEST_V6: u8 = 128;

#[inline(always)]
fn icmp<F: Frame + ?Sized>(frame: &F, offset: usize, echo_request: u8) -> Result<Transport, Verdict> {
    // Type, code and checksum: of a single byte LLVM makes a comparison that tells the verifier nothing.
    match frame.bytes::<4>(offset) {
        Some([kind, ..]) if kind == echo_request => Ok(Transport::Echo),
        Some(_) | None => Err(Verdict::Icmp),
    }
}

/// A later fragment shows its ports to nobody: it may belong to any that is protected, also where
/// more extension headers stand before them.
#[inline(always)]
fn later_fragment(protocol: Protocol) -> Result<Transport, Verdict> {
    match protocol {
        Protocol::ICMP | Protocol::ICMPV6 => Err(Verdict::Icmp),
        Protocol::TCP
        | Protocol::UDP
        | Protocol::HOP_BY_HOP
        | Protocol::ROUTING
        | Protocol::DESTINATION
        | Protocol::AUTHENTICATION
        | Protocol::MOBILITY
        | Protocol::HIP
        | Protocol::SHIM6 => Ok(Transport::Fragment),
        _ => Err(Verdict::NoPort),
    }
}

#[inline(always)]
fn tcp<F: Frame + ?Sized>(frame: &F, offset: usize, position: Position) -> Result<Transport, Verdict> {
    // All 20 bytes: the ACK that answers a SYN cookie has no options, and a shorter header is no TCP.
    let Some(header) = frame.bytes::<20>(offset) else {
        return if position.more { Ok(Transport::Fragment) } else { Err(Verdict::TruncatedTcp) };
    };
    let [from_hi, from_lo, port_hi, port_lo, _, _, _, _, _, _, _, _, data_offset, flags, ..] = header;
    if data_offset >> 4 < 5 {
        return Err(Verdict::BadTcp);
    }
    const SYN: u8 = 0x02;
    const ACK: u8 = 0x10;
    Ok(Transport::Tcp {
        source_port: u16::from_be_bytes([from_hi, from_lo]),
        port: u16::from_be_bytes([port_hi, port_lo]),
        syn: flags & (SYN | ACK) == SYN,
    })
}

#[inline(always)]
fn udp<F: Frame + ?Sized>(frame: &F, offset: usize, position: Position) -> Result<Transport, Verdict> {
    let Some([_, _, port_hi, port_lo, length_hi, length_lo, _, _]) = frame.bytes::<8>(offset) else {
        return if position.more { Ok(Transport::Fragment) } else { Err(Verdict::TruncatedUdp) };
    };
    // RFC 768: at least the header; 0 is a jumbogram's (RFC 2675) and what the stack puts into large GSO frames.
    let length_bytes = u16::from_be_bytes([length_hi, length_lo]);
    if length_bytes != 0 && length_bytes < 8 {
        return Err(Verdict::BadUdp);
    }
    Ok(Transport::Udp { port: u16::from_be_bytes([port_hi, port_lo]) })
}
