//! Frames of a flood before the generator varies them: headers of one flow without a source, and
//! the checksum words of everything else.

use std::net::{IpAddr, Ipv4Addr};

/// Smallest Ethernet frame without its checksum.
const FRAME_BYTES_MIN: usize = 60;
const ETHERNET_BYTES: usize = 14;
const TTL: u8 = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Syn,
    /// Of no connection.
    Ack,
}

/// Where frames go.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    pub source_mac: [u8; 6],
    pub destination_mac: [u8; 6],
    pub destination: IpAddr,
    pub port: u16,
    pub transport: Transport,
}

/// A frame without source address, source port and checksums.
pub struct Template {
    pub bytes: Vec<u8>,
    /// Sums of 16-bit words: the IPv4 header (0 for IPv6), and the segment with its pseudo header.
    pub network_sum: u64,
    pub transport_sum: u64,
}

impl Flow {
    pub fn template(&self) -> Template {
        let mut segment = self.segment();
        let headers = ETHERNET_BYTES + if self.destination.is_ipv4() { 20 } else { 40 };
        segment.resize(segment.len().max(FRAME_BYTES_MIN - headers), 0);
        if self.transport == Transport::Udp {
            let length = u16::try_from(segment.len()).unwrap_or(u16::MAX).to_be_bytes();
            segment.splice(4..6, length);
        }
        let length = u16::try_from(segment.len()).unwrap_or(u16::MAX);
        let protocol = self.transport.protocol();
        let pseudo = u64::from(protocol) + u64::from(length);
        let mut bytes = [self.destination_mac, self.source_mac].concat();
        let (network, network_sum, destination_sum) = match self.destination {
            IpAddr::V4(to) => {
                let [high, low] = (length + 20).to_be_bytes();
                let mut header = vec![0x45, 0, high, low, 0, 0, 0x40, 0, TTL, protocol, 0, 0, 0, 0, 0, 0];
                header.extend(to.octets());
                bytes.extend([0x08, 0x00]);
                let sum = sum(&header);
                (header, sum, self::sum(&to.octets()))
            }
            IpAddr::V6(to) => {
                let [high, low] = length.to_be_bytes();
                let mut header = vec![0x60, 0, 0, 0, high, low, protocol, TTL];
                // The lower half of the source stays ::1: a client is its upper half.
                header.extend([0; 15]);
                header.push(1);
                header.extend(to.octets());
                bytes.extend([0x86, 0xdd]);
                (header, 0, 1 + sum(&to.octets()))
            }
        };
        bytes.extend(network);
        let transport_sum = pseudo + destination_sum + sum(&segment);
        bytes.extend(segment);
        Template { bytes, network_sum, transport_sum }
    }

    fn segment(&self) -> Vec<u8> {
        let mut segment = vec![0, 0];
        segment.extend(self.port.to_be_bytes());
        match self.transport {
            // Length and checksum.
            Transport::Udp => segment.extend([0; 4]),
            // Sequence 1, no acknowledgment, five words, SYN, a full window, and an MSS option as real SYNs have.
            Transport::Syn => {
                segment
                    .extend([0, 0, 0, 1, 0, 0, 0, 0, 0x60, 0x02, 0xff, 0xff, 0, 0, 0, 0, 2, 4, 0x05, 0xb4]);
            }
            // Sequence and acknowledgment 1, five words, ACK, a full window.
            Transport::Ack => {
                segment.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0]);
            }
        }
        segment
    }
}

impl Template {
    /// The IPv4 frame of one source, for a test run. Checksums stay empty: no XDP program reads them.
    pub fn from(&self, source: Ipv4Addr, port: u16) -> Vec<u8> {
        let mut frame = self.bytes.clone();
        let at = ETHERNET_BYTES + 12;
        let varied = source.octets().into_iter().chain(self.bytes.iter().copied().skip(at + 4).take(4));
        let varied: Vec<_> = varied.chain(port.to_be_bytes()).collect();
        frame.splice(at..at + varied.len(), varied);
        frame
    }
}

impl Transport {
    fn protocol(self) -> u8 {
        match self {
            Self::Udp => 17,
            Self::Syn | Self::Ack => 6,
        }
    }
}

fn sum(bytes: &[u8]) -> u64 {
    bytes
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => u64::from(u16::from_be_bytes([*high, *low])),
            [high] => u64::from(*high) << 8,
            _ => 0,
        })
        .sum()
}
