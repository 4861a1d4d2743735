//! A frame from another one. Half of the time libFuzzer's own mutations, which know no headers; the
//! other half changes that keep most of the frame parseable, so that what lies behind is reached.

use crate::frame::{self, IPV6, TAGS};
use crate::random::Random;

const ETHERNET_BYTES: usize = 14;
const IPV6_BYTES: usize = 40;

/// Where headers without tags and options have the fields that decide.
const FIELDS: [usize; 16] = [12, 13, 14, 16, 17, 20, 21, 23, 36, 37, 38, 39, 46, 47, 54, 55];
const VALUES: [u8; 16] = [0, 1, 4, 6, 17, 43, 44, 45, 46, 51, 58, 59, 60, 0x60, 0x81, 0xff];

/// What `LLVMFuzzerCustomMutator` does: the new size of the frame in `data`, which has room for `room`.
pub fn mutate(
    data: &mut [u8],
    size: usize,
    room: usize,
    seed: u32,
    unknowing: fn(&mut [u8], usize, usize) -> usize,
) -> usize {
    let mut random = Random::new(seed);
    let old = data.get(..size).unwrap_or_default();
    let new = match random.below(12) {
        0 | 1 => frame::frame(&mut random),
        2 => field(&mut random, old),
        3 => tag(&mut random, old),
        4 => extend(&mut random, old),
        5 => readdress(&mut random, old),
        6 => old.get(..random.below(size + 1)).unwrap_or_default().to_vec(),
        _ => return unknowing(data, size, room),
    };
    match data.get_mut(..new.len()) {
        Some(space) if new.len() <= room => {
            space.copy_from_slice(&new);
            new.len()
        }
        _ => unknowing(data, size, room),
    }
}

/// One deciding byte becomes one of the values that mean something.
fn field(random: &mut Random, old: &[u8]) -> Vec<u8> {
    let mut new = old.to_vec();
    let tags_bytes = 4 * random.below(3);
    if let Some(byte) = new.get_mut(random.pick(&FIELDS) + tags_bytes) {
        *byte = random.pick(&VALUES);
    }
    new
}

/// A tag behind the addresses.
fn tag(random: &mut Random, old: &[u8]) -> Vec<u8> {
    let [hi, lo] = random.pick(&TAGS).to_be_bytes();
    inserted(old, ETHERNET_BYTES - 2, &[hi, lo, 0, random.byte()])
}

/// An extension header between an IPv6 header and what follows it.
fn extend(random: &mut Random, old: &[u8]) -> Vec<u8> {
    let next_at = ETHERNET_BYTES + 6;
    let is_ipv6 = old.get(12..14) == Some(&IPV6.to_be_bytes());
    let Some(next) = old.get(next_at).copied().filter(|_| is_ipv6) else { return frame::frame(random) };
    let (number, header) = frame::extended(random, next, &[]);
    let mut new = inserted(old, ETHERNET_BYTES + IPV6_BYTES, &header);
    if let Some(byte) = new.get_mut(next_at) {
        *byte = number;
    }
    new
}

/// The source becomes another of the world's clients.
fn readdress(random: &mut Random, old: &[u8]) -> Vec<u8> {
    let mut new = old.to_vec();
    let (at, address) = if old.get(12..14) == Some(&IPV6.to_be_bytes()) {
        (ETHERNET_BYTES + 8, frame::v6_source(random).octets().to_vec())
    } else {
        (ETHERNET_BYTES + 12, frame::v4_source(random).octets().to_vec())
    };
    if let Some(space) = new.get_mut(at..at + address.len()) {
        space.copy_from_slice(&address);
    }
    new
}

/// The bytes with others at `at`; at the end where they are too short for it.
pub fn inserted(old: &[u8], at: usize, what: &[u8]) -> Vec<u8> {
    let (before, behind) = old.split_at(at.min(old.len()));
    [before, what, behind].concat()
}
