//! The rig itself: a bench that cannot account for its frames measures nothing.

use std::collections::HashSet;
use std::net::UdpSocket;
use std::time::Duration;

use anyhow::Result;
use weir_tests::flow::{Flow, Transport};
use weir_tests::netns::Netns;
use weir_tests::rig::{Bound, Generator, Pace, Program, Sink, Sources};
use weir_tests::root::require_root;
use weir_tests::wait::wait_for;
use weir_tests::wire::{End, Wire};

const FRAMES: u64 = 200_000;
const PORT: u16 = 8_080;

struct Case {
    name: &'static str,
    address: usize,
    transport: Transport,
    sources: Sources,
}

const CASES: [Case; 4] = [
    Case { name: "one udp source", address: 0, transport: Transport::Udp, sources: Sources::One },
    Case { name: "spoofed syns", address: 0, transport: Transport::Syn, sources: Sources::Millions },
    Case { name: "udp over ipv6", address: 1, transport: Transport::Udp, sources: Sources::Thousands },
    Case { name: "syns over ipv6", address: 1, transport: Transport::Syn, sources: Sources::Millions },
];

#[test]
fn every_frame_is_accounted_for() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let (from, to) = (Netns::new("gen")?, Netns::new("srv")?);
    let generating = End { netns: &from, interface: "g0", host: 1 };
    let receiving = End { netns: &to, interface: "s0", host: 2 };
    let wire = Wire::join(1, generating, receiving)?;
    for case in CASES {
        let flow = Flow {
            source_mac: wire.mac(1),
            destination_mac: wire.mac(2),
            destination: wire.addresses(2)[case.address],
            port: PORT,
            transport: case.transport,
        };
        let sink = Sink::attach(receiving, Program::Ceiling)?;
        let mut generator = Generator::new(generating, &flow, case.sources, 0)?;
        let before = generating.counts()?;
        let bound = Bound { frames: FRAMES, time: Duration::from_secs(20) };
        let sent = generator.send(bound, Pace::Unpaced)?;
        let ring = generating.counts()? - before;
        let seen = wait_for(case.name, Duration::from_secs(2), || {
            let counts = sink.ceiling_counts().ok()?;
            (counts.seen == ring.xmit).then_some(counts)
        })?;
        assert_eq!(sent.frames, FRAMES, "{}: all were made", case.name);
        assert_eq!(sent.frames, ring.xmit + ring.xmit_errors, "{}: sent = arrived + ring full", case.name);
        assert_eq!(seen.dropped, seen.seen, "{}: none is the good client's", case.name);
    }
    Ok(())
}

/// A wrong checksum would die in the stack, and a comparison with the stack would flatter it.
#[test]
fn the_stack_accepts_the_frames() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    // Their pages fit a socket's default buffer.
    const DATAGRAMS: u64 = 32;
    let (from, to) = (Netns::new("gen")?, Netns::new("srv")?);
    let generating = End { netns: &from, interface: "g0", host: 1 };
    let receiving = End { netns: &to, interface: "s0", host: 2 };
    let wire = Wire::join(2, generating, receiving)?;
    for destination in wire.addresses(2) {
        let socket = to.run(|| Ok(UdpSocket::bind((destination, PORT))?))?;
        socket.set_nonblocking(true)?;
        let flow = Flow {
            source_mac: wire.mac(1),
            destination_mac: wire.mac(2),
            destination,
            port: PORT,
            transport: Transport::Udp,
        };
        let _pass = Sink::attach(receiving, Program::Pass)?;
        let mut generator = Generator::new(generating, &flow, Sources::Millions, 0)?;
        generator.send(Bound { frames: DATAGRAMS, time: Duration::from_secs(5) }, Pace::PerSecond(20_000))?;
        let mut sources = HashSet::new();
        wait_for("every datagram", Duration::from_secs(5), || {
            while let Ok((_, source)) = socket.recv_from(&mut [0; 64]) {
                sources.insert(source.ip());
            }
            (sources.len() as u64 == DATAGRAMS).then_some(())
        })?;
    }
    Ok(())
}
