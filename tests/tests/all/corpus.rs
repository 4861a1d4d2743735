//! The fuzzer's corpus through host and kernel: no difference. That the corpus is worth it, each
//! verdict of the parser in it, is part of the test.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use weir_ebpf::abi::{CLASSES, ClientKey};
use weir_ebpf::packet::{Address, Packet, Transport, parse};
use weir_ebpf::verdict::{Verdict, label};
use weir_tests::corpus::frames;
use weir_tests::root::require_root;
use weir_tests::twin::{KERNEL_BYTES_MIN, Twin};
use weir_tests::world::{kernel_world, lists};

/// What only a frame that does not parse can be, beside what is malformed.
const PARSER: [Verdict; 3] = [Verdict::NotIp, Verdict::Icmp, Verdict::NoPort];
/// What the world of the table has clients for.
const WORLD: [Verdict; 11] = [
    Verdict::OutOfScope,
    Verdict::LinkLocal,
    Verdict::BadSource,
    Verdict::Allowed,
    Verdict::Denied,
    Verdict::Banned,
    Verdict::Unproved,
    Verdict::Conforming,
    Verdict::Packets,
    Verdict::Bytes,
    Verdict::Syns,
];

#[test]
fn the_corpus_reaches_all_that_the_parser_can_say() -> Result<()> {
    let parsed: Vec<_> = frames()?.iter().map(|frame| parse(frame.as_slice())).collect();
    let missed: Vec<_> = (Verdict::TruncatedEthernet as u8..=Verdict::BadUdp as u8)
        .map(label)
        .chain(PARSER.map(Verdict::label))
        .filter(|label| {
            !parsed.iter().any(|parsed| matches!(parsed, Err(verdict) if verdict.label() == *label))
        })
        .collect();
    assert_eq!(missed, [""; 0], "`cargo xtask fuzz --keep` finds frames for them");
    let packets: BTreeSet<_> = parsed.iter().filter_map(|parsed| parsed.ok().as_ref().map(shape)).collect();
    assert_eq!(packets.len(), 10, "syn, other tcp, udp, fragment, echo, by both families: {packets:?}");
    Ok(())
}

/// Family and transport of a packet.
fn shape(packet: &Packet) -> (&'static str, &'static str) {
    let family = match packet.source {
        Address::V4(_) => "ipv4",
        Address::V6(_) => "ipv6",
    };
    let transport = match packet.transport {
        Transport::Tcp { syn: true, .. } => "syn",
        Transport::Tcp { syn: false, .. } => "tcp",
        Transport::Udp { .. } => "udp",
        Transport::Fragment => "fragment",
        Transport::Echo => "echo",
    };
    (family, transport)
}

#[test]
fn host_and_kernel_judge_the_corpus_alike() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let frames = frames()?;
    let mut twin = Twin::new()?;
    let mut unproved = Vec::new();
    let mut labels = BTreeSet::new();
    for frame in &frames {
        let decided = twin.compare(frame).with_context(|| format!("{frame:02x?}"))?;
        labels.insert(decided.verdict.label());
        if let Some(packet) = decided.packet.filter(|_| decided.verdict == Verdict::Unproved) {
            unproved.push((frame, packet.client()));
        }
    }
    let missed: Vec<_> =
        WORLD.map(Verdict::label).into_iter().filter(|label| !labels.contains(label)).collect();
    assert_eq!(missed, [""; 0], "`cargo xtask fuzz --keep` finds frames for them");
    check_clients(&unproved)?;
    let short = frames.iter().filter(|frame| frame.len() < KERNEL_BYTES_MIN).count();
    println!("{} frames, {short} of them by the host only, {} verdicts", frames.len(), labels.len());
    Ok(())
}

/// With no budget left every unproved packet is dropped, and the event names whom it met.
fn check_clients(unproved: &[(&Vec<u8>, ClientKey)]) -> Result<()> {
    let mut kernel = kernel_world()?;
    let mut wanted = lists();
    wanted.rules.budget = [0; CLASSES];
    kernel.maps.apply(&wanted, 1)?;
    let mut events = kernel.events()?;
    for (frame, client) in unproved {
        assert_eq!(kernel.run(frame)?, 1, "no budget: {frame:02x?}");
        let event = events.next_event().with_context(|| format!("no event: {frame:02x?}"))?;
        assert_eq!(ClientKey(event.key), *client, "kernel's client: {frame:02x?}");
    }
    Ok(())
}
