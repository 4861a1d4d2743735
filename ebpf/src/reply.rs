//! The SYN-ACK that answers a SYN by a cookie, as words in the order of memory: IP and TCP headers
//! with one option, the segment size (RFC 9293 section 3.7.1). What a cookie cannot carry (window
//! scale, selective acknowledgements, timestamps) is not offered.

#[cfg(test)]
mod tests;

/// Words of a TCP header with one option, and of the packets that carry it.
const TCP_WORDS: usize = 6;
pub const V4_WORDS: usize = 5 + TCP_WORDS;
pub const V6_WORDS: usize = 10 + TCP_WORDS;

/// What Linux offers at first to an Ethernet peer: 44 segments of 1,460 bytes.
const WINDOW: u16 = 64_240;
/// The largest segment of an Ethernet frame: a cookie may stand for a larger one, our link may not carry it.
const V4_SEGMENT: u16 = 1_460;
const V6_SEGMENT: u16 = 1_440;
/// Don't fragment (RFC 791): path MTU discovery.
const DONT_FRAGMENT: u8 = 0x40;
const HOPS: u8 = 64;
const TCP: u8 = 6;

/// The SYN to answer: ports as one word of the frame, numbers in host order.
#[derive(Clone, Copy)]
pub struct Syn {
    /// Source port, then destination port, as they lie in memory.
    pub ports: u32,
    pub sequence: u32,
}

/// The cookie as `bpf_tcp_raw_gen_syncookie_*` gives it.
#[derive(Clone, Copy)]
pub struct Cookie {
    pub sequence: u32,
    pub segment: u16,
}

/// To `source`, from `destination`: the SYN's addresses as they lie in memory.
#[inline(always)]
pub fn v4(source: u32, destination: u32, syn: Syn, cookie: Cookie) -> [u32; V4_WORDS] {
    let [t0, t1, t2, t3, t4, t5] = tcp(syn, cookie, V4_SEGMENT, sum(&[source, destination]));
    let first = word([0x45, 0, 0, (V4_WORDS * 4) as u8]);
    let flags = word([0, 0, DONT_FRAGMENT, 0]);
    let header = sum(&[first, flags, word([HOPS, TCP, 0, 0]), source, destination]);
    let [low, high] = folded(header).to_ne_bytes();
    [first, flags, word([HOPS, TCP, low, high]), destination, source, t0, t1, t2, t3, t4, t5]
}

/// As [`v4`].
#[inline(always)]
pub fn v6(source: [u32; 4], destination: [u32; 4], syn: Syn, cookie: Cookie) -> [u32; V6_WORDS] {
    let [t0, t1, t2, t3, t4, t5] = tcp(syn, cookie, V6_SEGMENT, sum(&source) + sum(&destination));
    let ([s0, s1, s2, s3], [d0, d1, d2, d3]) = (source, destination);
    [
        word([0x60, 0, 0, 0]),
        word([0, (TCP_WORDS * 4) as u8, TCP, HOPS]),
        d0,
        d1,
        d2,
        d3,
        s0,
        s1,
        s2,
        s3,
        t0,
        t1,
        t2,
        t3,
        t4,
        t5,
    ]
}

/// The header, between addresses whose words add up to `addresses`.
#[inline(always)]
fn tcp(syn: Syn, cookie: Cookie, segment_max: u16, addresses: u64) -> [u32; TCP_WORDS] {
    let segment = if cookie.segment > segment_max { segment_max } else { cookie.segment };
    let ([segment_hi, segment_lo], [window_hi, window_lo]) = (segment.to_be_bytes(), WINDOW.to_be_bytes());
    const SYN_ACK: u8 = 0x12;
    const HEADER_WORDS: u8 = (TCP_WORDS as u8) << 4;
    const SEGMENT_SIZE: [u8; 2] = [2, 4];
    let [kind, length] = SEGMENT_SIZE;
    let ports = syn.ports.rotate_left(16);
    let (sequence, acknowledged) = (cookie.sequence.to_be(), syn.sequence.wrapping_add(1).to_be());
    let flags = word([HEADER_WORDS, SYN_ACK, window_hi, window_lo]);
    let option = word([kind, length, segment_hi, segment_lo]);
    let pseudo = word([0, TCP, 0, (TCP_WORDS * 4) as u8]);
    let checksum = folded(addresses + sum(&[pseudo, ports, sequence, acknowledged, flags, option]));
    [ports, sequence, acknowledged, flags, u32::from(checksum), option]
}

#[inline(always)]
const fn word(bytes: [u8; 4]) -> u32 {
    u32::from_ne_bytes(bytes)
}

/// The Internet checksum needs no byte order (RFC 1071 section 2): words as they lie in memory.
#[inline(always)]
fn sum<const N: usize>(words: &[u32; N]) -> u64 {
    words.iter().fold(0, |sum, word| sum + u64::from(*word))
}

#[inline(always)]
fn folded(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    !(sum as u16)
}
