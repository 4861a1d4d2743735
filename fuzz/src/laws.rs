//! What holds for every frame, whatever is in it. The parser and the path are not repeated here: each
//! law compares their answers to two frames that differ in one known way.

use weir_ebpf::packet::{Packet, Transport, parse};
use weir_ebpf::path::Decided;
use weir_ebpf::verdict::Verdict;
use weir_tests::world::host_world;

use crate::mutate::inserted;

type Parsed = Result<Packet, Verdict>;

/// The cuts of a frame that are tried: what decides lies in its first bytes.
const CUTS_MOST: usize = 256;
const TAGS: [[u8; 2]; 2] = [[0x81, 0x00], [0x88, 0xa8]];
const IPV6: [u8; 2] = [0x86, 0xdd];
const NEXT_AT: usize = 14 + 6;
const IPV6_END: usize = 14 + 40;
const DESTINATION_OPTIONS: u8 = 60;

/// Checks them all; what the path decided.
///
/// # Panics
/// When a law does not hold.
pub fn check(frame: &[u8]) -> Decided {
    let parsed = parse(frame);
    a_cut_misses_something_or_nothing(frame, &parsed);
    a_tag_changes_nothing(frame, &parsed);
    an_extension_changes_nothing(frame, &parsed);
    let decided = host_world().decide(frame);
    assert_eq!(decided.packet, parsed.ok(), "the path keeps what was parsed");
    match parsed {
        Err(verdict) => assert_eq!(decided.verdict, verdict, "the path keeps why not"),
        Ok(_) => assert!(!is_of_parser(decided.verdict), "{:?} of a packet that parsed", decided.verdict),
    }
    decided
}

/// Bytes that are missing are asked for, or were not needed.
fn a_cut_misses_something_or_nothing(frame: &[u8], whole: &Parsed) {
    for length in 0..frame.len().min(CUTS_MOST) {
        let cut = parse(frame.get(..length).unwrap_or_default());
        let misses = match &cut {
            // An ICMP message too short to be an echo request is one of the others.
            Err(Verdict::Icmp) => matches!(whole, Ok(packet) if packet.transport == Transport::Echo),
            Err(verdict) => is_truncated(*verdict),
            // A first fragment may be too short for its ports.
            Ok(packet) => packet.transport == Transport::Fragment,
        };
        assert!(misses || cut == *whole, "cut at {length}: {cut:?}, whole: {whole:?}");
    }
}

fn a_tag_changes_nothing(frame: &[u8], parsed: &Parsed) {
    if frame.len() < 14 {
        return;
    }
    let is_tag_at = |at: usize| TAGS.iter().any(|tag| frame.get(at..at + 2) == Some(tag));
    let tagged = parse(inserted(frame, 12, &[0x81, 0, 0, 7]).as_slice());
    if is_tag_at(12) && is_tag_at(16) {
        assert_eq!(tagged, Err(Verdict::VlanDepth), "three tags");
    } else {
        assert_eq!(tagged, *parsed, "another tag");
    }
}

fn an_extension_changes_nothing(frame: &[u8], parsed: &Parsed) {
    if frame.get(12..14) != Some(&IPV6) || frame.len() < IPV6_END {
        return;
    }
    let next = frame.get(NEXT_AT).copied().unwrap_or_default();
    let mut longer = inserted(frame, IPV6_END, &[next, 0, 0, 0, 0, 0, 0, 0]);
    if let Some(byte) = longer.get_mut(NEXT_AT) {
        *byte = DESTINATION_OPTIONS;
    }
    let extended = parse(longer.as_slice());
    let is_deeper = extended == Err(Verdict::ExtensionDepth);
    assert!(is_deeper || extended == *parsed, "another extension: {extended:?}, without: {parsed:?}");
}

const fn is_truncated(verdict: Verdict) -> bool {
    matches!(
        verdict,
        Verdict::TruncatedEthernet
            | Verdict::TruncatedVlan
            | Verdict::TruncatedIpv4
            | Verdict::TruncatedIpv6
            | Verdict::TruncatedExtension
            | Verdict::TruncatedTcp
            | Verdict::TruncatedUdp
    )
}

/// Whether only a frame that does not parse can have the verdict.
const fn is_of_parser(verdict: Verdict) -> bool {
    let number = verdict as u8;
    let malformed = number >= Verdict::TruncatedEthernet as u8 && number <= Verdict::BadUdp as u8;
    malformed || matches!(verdict, Verdict::NotIp | Verdict::Icmp | Verdict::NoPort)
}
