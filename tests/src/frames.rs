//! Frames by hand: Ethernet, VLAN, IPv4, IPv6 with extension headers, TCP, UDP. Each builder puts
//! its header in front of what it is given, so that a frame reads from the outside in.

use std::net::{Ipv4Addr, Ipv6Addr};

pub const SYN: u8 = 0x02;
pub const ACK: u8 = 0x10;

pub const TCP: u8 = 6;
pub const UDP: u8 = 17;

pub fn ethernet(ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    frame.extend(ether_type.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A tag's two words behind the outer type: control information, then the inner type.
pub fn tagged(inner_type: u16, payload: &[u8]) -> Vec<u8> {
    let mut tag = vec![0, 7];
    tag.extend(inner_type.to_be_bytes());
    tag.extend(payload);
    tag
}

/// What a row may change in an IPv4 header.
#[derive(Clone, Copy)]
pub struct V4 {
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    pub protocol: u8,
    pub fragment: u16,
    /// Words of options.
    pub option_words: u8,
}

impl V4 {
    pub fn bytes(self, payload: &[u8]) -> Vec<u8> {
        let words = 5 + self.option_words;
        let total = usize::from(words) * 4 + payload.len();
        let mut header = vec![0x40 | words, 0];
        header.extend(u16::try_from(total).expect("short frames").to_be_bytes());
        header.extend([0, 1]);
        header.extend(self.fragment.to_be_bytes());
        header.extend([64, self.protocol, 0, 0]);
        header.extend(self.source.octets());
        header.extend(self.destination.octets());
        header.extend(std::iter::repeat_n(1, usize::from(self.option_words) * 4));
        header.extend(payload);
        header
    }
}

pub fn v6(source: Ipv6Addr, destination: Ipv6Addr, next_header: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = vec![0x60, 0, 0, 0];
    header.extend(u16::try_from(payload.len()).expect("short frames").to_be_bytes());
    header.extend([next_header, 64]);
    header.extend(source.octets());
    header.extend(destination.octets());
    header.extend(payload);
    header
}

/// An IPv6 extension header of `units` + 1 times eight bytes.
pub fn extension(next_header: u8, units: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = vec![next_header, units];
    header.extend(std::iter::repeat_n(0, 6 + usize::from(units) * 8));
    header.extend(payload);
    header
}

/// RFC 4302: the length is in words of four bytes, minus two.
pub fn authentication(next_header: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = vec![next_header, 4];
    header.extend([0; 22]);
    header.extend(payload);
    header
}

/// RFC 8200 section 4.5; `offset` in units of eight bytes.
pub fn fragment(next_header: u8, offset: u16, more: bool, payload: &[u8]) -> Vec<u8> {
    let mut header = vec![next_header, 0];
    header.extend((offset << 3 | u16::from(more)).to_be_bytes());
    header.extend([0, 0, 0, 9]);
    header.extend(payload);
    header
}

pub fn tcp(port: u16, flags: u8) -> Vec<u8> {
    tcp_from(40_000, port, flags)
}

pub fn tcp_from(source_port: u16, port: u16, flags: u8) -> Vec<u8> {
    let mut header = source_port.to_be_bytes().to_vec();
    header.extend(port.to_be_bytes());
    header.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    header
}

pub fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
    let mut header = vec![0x9c, 0x40];
    header.extend(port.to_be_bytes());
    header.extend(u16::try_from(8 + payload.len()).expect("short frames").to_be_bytes());
    header.extend([0, 0]);
    header.extend(payload);
    header
}
