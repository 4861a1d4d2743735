//! A frame from nothing: tags, addresses of the world's clients, extension headers, fragments and
//! transports as they come, now and then with a byte that is wrong or an end that is missing.

use std::net::{Ipv4Addr, Ipv6Addr};

use weir_tests::frames::{
    ACK, SYN, TCP, UDP, V4, authentication, ethernet, extension, fragment, tagged, tcp, udp, v6,
};
use weir_tests::world::{DNS, OWN4, OWN6, PORT, v4_client, v6_client};

use crate::random::Random;

pub const IPV4: u16 = 0x0800;
pub const IPV6: u16 = 0x86dd;
pub const TAGS: [u16; 2] = [0x8100, 0x88a8];
/// TCP and UDP more often than what has no ports: ICMP, ICMPv6, GRE, ESP, none, unknown.
pub const PROTOCOLS: [u8; 12] = [TCP, TCP, TCP, TCP, UDP, UDP, 1, 58, 47, 50, 59, 253];
/// IPv6 extension headers whose length counts eight bytes each.
pub const EXTENSIONS: [u8; 6] = [0, 43, 60, 135, 139, 140];
pub const AUTHENTICATION: u8 = 51;
pub const FRAGMENT: u8 = 44;

/// Kinds of clients that the world knows, and one that it does not.
const KINDS: usize = 11;
const TAGS_MOST: usize = 3;
const EXTENSIONS_MOST: usize = 9;

pub fn frame(random: &mut Random) -> Vec<u8> {
    let (mut ether_type, mut packet) = match random.below(2) {
        0 => (IPV4, ipv4(random)),
        _ => (IPV6, ipv6(random)),
    };
    if random.one_in(32) {
        ether_type = random.bits() as u16;
    }
    if random.one_in(2) {
        for _ in 0..=random.below(TAGS_MOST) {
            packet = tagged(ether_type, &packet);
            ether_type = random.pick(&TAGS);
        }
    }
    let mut frame = ethernet(ether_type, &packet);
    if random.one_in(3) {
        let at = random.below(frame.len());
        if let Some(byte) = frame.get_mut(at) {
            *byte = random.byte();
        }
    }
    if random.one_in(4) {
        frame.truncate(random.below(frame.len() + 1));
    }
    frame
}

/// The source of an IPv4 packet: mostly one that the world knows.
pub fn v4_source(random: &mut Random) -> Ipv4Addr {
    if random.one_in(16) { Ipv4Addr::from_bits(random.bits() as u32) } else { v4_client(kind(random)) }
}

/// The source of an IPv6 packet: one that the world knows, of the link, or that none may have.
pub fn v6_source(random: &mut Random) -> Ipv6Addr {
    match random.below(16) {
        0 => Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1),
        1 => Ipv4Addr::from_bits(random.bits() as u32).to_ipv6_mapped(),
        2 => Ipv6Addr::from_bits(u128::from(random.bits()) << 64),
        _ => v6_client(kind(random)),
    }
}

fn kind(random: &mut Random) -> u8 {
    random.below(KINDS) as u8
}

fn ipv4(random: &mut Random) -> Vec<u8> {
    let protocol = random.pick(&PROTOCOLS);
    let destination = random.pick(&[OWN4, OWN4, OWN4, Ipv4Addr::LOCALHOST, Ipv4Addr::BROADCAST]);
    let fragment = random.pick(&[0, 0, 0, 0x4000, 0x2000, 0x2010, 0x0010]);
    let option_words = if random.one_in(4) { random.below(11) as u8 } else { 0 };
    let header = V4 { source: v4_source(random), destination, protocol, fragment, option_words };
    header.bytes(&segment(random, protocol))
}

fn ipv6(random: &mut Random) -> Vec<u8> {
    let mut next = random.pick(&PROTOCOLS);
    let mut payload = segment(random, next);
    if random.one_in(2) {
        for _ in 0..=random.below(EXTENSIONS_MOST) {
            (next, payload) = extended(random, next, &payload);
        }
    }
    let destination = random.pick(&[OWN6, OWN6, OWN6, Ipv6Addr::LOCALHOST, Ipv6Addr::from_bits(1 << 120)]);
    v6(v6_source(random), destination, next, &payload)
}

/// Another extension header in front.
pub fn extended(random: &mut Random, next: u8, payload: &[u8]) -> (u8, Vec<u8>) {
    match random.below(8) {
        0 => (AUTHENTICATION, authentication(next, payload)),
        1 => (FRAGMENT, fragment(next, random.pick(&[0, 0, 0, 185]), random.one_in(2), payload)),
        _ => (random.pick(&EXTENSIONS), extension(next, random.pick(&[0, 0, 0, 1, 5]), payload)),
    }
}

fn segment(random: &mut Random, protocol: u8) -> Vec<u8> {
    let any_port = random.bits() as u16;
    let port = random.pick(&[PORT, PORT, DNS, DNS, 0, any_port]);
    match protocol {
        TCP => tcp(port, random.pick(&[SYN, ACK, SYN | ACK, 0x04, 0x11, 0])),
        UDP => udp(port, random.pick(&[b"".as_slice(), b"?"])),
        _ => vec![random.byte(); random.below(24)],
    }
}
