//! The packet table: every row through the host's build of the path and through the kernel, which
//! must say the same verdict, action, client and counter.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result};
use weir::plane::Events;
use weir_ebpf::abi::{CLASSES, ClientKey, flags};
use weir_ebpf::verdict::{Action, Verdict};
use weir_tests::frames::{
    ACK, SYN, TCP, UDP, V4, authentication, ethernet, extension, fragment, tagged, tcp, udp, v6,
};
use weir_tests::kernel_path::KernelPath;
use weir_tests::root::require_root;
use weir_tests::world::{
    ALLOWED, ALLOWED_AND_DENIED, BAN_OVER, BANNED, DENIED, DNS, NEW, OVER_BYTES, OVER_PACKETS, OVER_SYNS,
    OWN4, OWN6, PORT, PROVED, host_world, kernel_world, lists, v4_client, v6_client,
};

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const VLAN: u16 = 0x8100;
const QINQ: u16 = 0x88a8;
struct Row {
    name: String,
    frame: Vec<u8>,
    verdict: Verdict,
    /// The client that is charged or refused; None where the path does not get that far.
    key: Option<ClientKey>,
}

#[derive(Default)]
struct Table {
    rows: Vec<Row>,
}

impl Table {
    fn add(&mut self, name: impl Into<String>, frame: Vec<u8>, verdict: Verdict, source: Option<IpAddr>) {
        let key = source.map(|source| match source {
            IpAddr::V4(v4) => ClientKey::v4(v4.octets()),
            IpAddr::V6(v6) => ClientKey::v6(v6.octets()),
        });
        self.rows.push(Row { name: name.into(), frame, verdict, key });
    }

    /// A whole frame, then the same cut at every length: what is missing decides the verdict.
    fn add_cut(
        &mut self,
        name: &str,
        frame: &[u8],
        verdict: Verdict,
        source: IpAddr,
        cuts: &[(usize, Verdict)],
    ) {
        self.add(name, frame.to_vec(), verdict, Some(source));
        for length in 0..frame.len() {
            let Some((_, verdict)) = cuts.iter().find(|(below, _)| length < *below) else { break };
            let cut = frame.get(..length).expect("shorter than the frame").to_vec();
            self.add(format!("{name}, cut at {length}"), cut, *verdict, None);
        }
    }
}

fn v4_header(kind: u8, protocol: u8) -> V4 {
    V4 { source: v4_client(kind), destination: OWN4, protocol, fragment: 0, option_words: 0 }
}

fn v4_frame(kind: u8, protocol: u8, payload: &[u8]) -> Vec<u8> {
    ethernet(IPV4, &v4_header(kind, protocol).bytes(payload))
}

fn v6_frame(kind: u8, next_header: u8, payload: &[u8]) -> Vec<u8> {
    ethernet(IPV6, &v6(v6_client(kind), OWN6, next_header, payload))
}

#[test]
fn host_and_kernel_judge_every_packet_alike() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let mut table = Table::default();
    link_layer(&mut table);
    ipv4_rows(&mut table);
    ipv6_rows(&mut table);
    client_rows(&mut table);
    assert!(table.rows.len() >= 80, "{} rows", table.rows.len());
    let mut kernel = kernel_world()?;
    table.rows.iter().for_each(check_host);
    // BPF_PROG_TEST_RUN takes no frame below an Ethernet header.
    let (by_kernel, by_host): (Vec<_>, Vec<_>) = table.rows.iter().partition(|row| row.frame.len() >= 14);
    for rule_flags in [0, flags::OBSERVE, flags::DROP_MALFORMED] {
        let mut wanted = lists();
        wanted.rules.flags = rule_flags;
        kernel.maps.apply(&wanted, 1)?;
        for row in &by_kernel {
            check_kernel(&mut kernel, row, rule_flags)?;
        }
    }
    let mut wanted = lists();
    wanted.rules.budget = [0; CLASSES];
    kernel.maps.apply(&wanted, 1)?;
    for row in &by_kernel {
        check_key(&mut kernel, row)?;
    }
    println!("{} rows, {} of them below 14 bytes and so by the host only", table.rows.len(), by_host.len());
    Ok(())
}

fn link_layer(table: &mut Table) {
    let source = Some(IpAddr::V4(v4_client(NEW)));
    let packet = v4_header(NEW, TCP).bytes(&tcp(PORT, ACK));
    table.add("arp", ethernet(0x0806, &[0; 28]), Verdict::NotIp, None);
    table.add("llc length field", ethernet(0x0040, &[0; 64]), Verdict::NotIp, None);
    table.add("lldp", ethernet(0x88cc, &[0; 64]), Verdict::NotIp, None);
    table.add("mpls", ethernet(0x8847, &packet), Verdict::NotIp, None);
    table.add("one tag", ethernet(VLAN, &tagged(IPV4, &packet)), Verdict::Unproved, source);
    table.add("priority tag of 802.1ad", ethernet(QINQ, &tagged(IPV4, &packet)), Verdict::Unproved, source);
    let two = ethernet(QINQ, &tagged(VLAN, &tagged(IPV4, &packet)));
    table.add("two tags", two, Verdict::Unproved, source);
    let three = ethernet(QINQ, &tagged(VLAN, &tagged(VLAN, &tagged(IPV4, &packet))));
    table.add("three tags", three, Verdict::VlanDepth, None);
    table.add("tag, cut", ethernet(VLAN, &[0, 7, 8]), Verdict::TruncatedVlan, None);
    table.add("second tag, cut", ethernet(QINQ, &tagged(VLAN, &[0, 7])), Verdict::TruncatedVlan, None);
    table.add("arp behind a tag", ethernet(VLAN, &tagged(0x0806, &[0; 28])), Verdict::NotIp, None);
}

fn ipv4_rows(table: &mut Table) {
    let source = IpAddr::V4(v4_client(NEW));
    let cuts = [(14, Verdict::TruncatedEthernet), (34, Verdict::TruncatedIpv4), (54, Verdict::TruncatedTcp)];
    table.add_cut("tcp over ipv4", &v4_frame(NEW, TCP, &tcp(PORT, ACK)), Verdict::Unproved, source, &cuts);
    let cuts = [(14, Verdict::TruncatedEthernet), (34, Verdict::TruncatedIpv4), (42, Verdict::TruncatedUdp)];
    table.add_cut("udp over ipv4", &v4_frame(NEW, UDP, &udp(DNS, b"?")), Verdict::Unproved, source, &cuts);
    let some = Some(source);
    let header = v4_header(NEW, TCP);
    let of = |header: V4, payload: &[u8]| ethernet(IPV4, &header.bytes(payload));
    for option_words in [1, 5, 10] {
        let name = format!("ipv4 with {option_words} words of options");
        table.add(name, of(V4 { option_words, ..header }, &tcp(PORT, SYN)), Verdict::Unproved, some);
    }
    let mut bad = of(header, &tcp(PORT, SYN));
    for (name, byte, value) in [
        ("ipv4 of version 5", 14, 0x55),
        ("ihl of 4", 14, 0x44),
        ("ihl of 0", 14, 0x40),
        ("total below ihl", 17, 19),
    ] {
        let kept = bad[byte];
        bad[byte] = value;
        table.add(name, bad.clone(), Verdict::BadIpv4, None);
        bad[byte] = kept;
    }
    let mut big = of(header, &tcp(PORT, ACK));
    big[16] = 0;
    big[17] = 0;
    table.add("total of 0, as in BIG TCP", big, Verdict::Unproved, some);
    let mut long = of(header, &tcp(PORT, ACK));
    long[14] = 0x4f;
    long[17] = 80;
    table.add("ihl beyond the frame", long, Verdict::TruncatedTcp, None);
    let mut short = of(header, &tcp(PORT, ACK));
    short[46] = 0x40;
    table.add("tcp data offset of 4", short, Verdict::BadTcp, None);
    let mut tiny = v4_frame(NEW, UDP, &udp(DNS, b""));
    tiny[39] = 7;
    table.add("udp length of 7", tiny, Verdict::BadUdp, None);
    let mut zero = v4_frame(NEW, UDP, &udp(DNS, b""));
    zero[39] = 0;
    table.add("udp length of 0", zero, Verdict::Unproved, some);
    let fragmented = |fragment, protocol, payload: &[u8]| of(V4 { fragment, protocol, ..header }, payload);
    table.add("first fragment", fragmented(0x2000, TCP, &tcp(PORT, ACK)), Verdict::Unproved, some);
    table.add(
        "first fragment of another port",
        fragmented(0x2000, TCP, &tcp(1, ACK)),
        Verdict::OutOfScope,
        None,
    );
    table.add("middle fragment", fragmented(0x2010, TCP, &[0; 16]), Verdict::Unproved, some);
    table.add("last fragment", fragmented(0x0010, UDP, &[0; 3]), Verdict::Unproved, some);
    table.add("last fragment, empty", fragmented(0x0010, UDP, &[]), Verdict::Unproved, some);
    table.add("first fragment too short for tcp", fragmented(0x2000, TCP, &[0; 8]), Verdict::Unproved, some);
    table.add("first fragment too short for udp", fragmented(0x2000, UDP, &[0; 4]), Verdict::Unproved, some);
    table.add("later fragment of icmp", fragmented(0x0010, 1, &[0; 8]), Verdict::Icmp, None);
    table.add("later fragment of gre", fragmented(0x0010, 47, &[0; 8]), Verdict::NoPort, None);
    table.add("icmp echo", v4_frame(NEW, 1, &[8; 16]), Verdict::OutOfScope, None);
    table.add("icmp echo reply", v4_frame(NEW, 1, &[0; 16]), Verdict::Icmp, None);
    table.add("icmp echo, cut", v4_frame(NEW, 1, &[8; 3]), Verdict::Icmp, None);
    table.add("icmp fragmentation needed", v4_frame(NEW, 1, &[3, 4, 0, 0, 0, 0, 5, 0]), Verdict::Icmp, None);
    for (name, protocol) in [("gre", 47), ("ipip", 4), ("sctp", 132), ("esp", 50), ("igmp", 2), ("vrrp", 112)]
    {
        table.add(name, v4_frame(NEW, protocol, &[0; 24]), Verdict::NoPort, None);
    }
    table.add("another tcp port", v4_frame(NEW, TCP, &tcp(8_081, SYN)), Verdict::OutOfScope, None);
    table.add("tcp to a udp port", v4_frame(NEW, TCP, &tcp(DNS, SYN)), Verdict::OutOfScope, None);
    table.add("udp to a tcp port", v4_frame(NEW, UDP, &udp(PORT, b"")), Verdict::OutOfScope, None);
    table.add("port 0", v4_frame(NEW, TCP, &tcp(0, SYN)), Verdict::OutOfScope, None);
    table.add("port 65535", v4_frame(NEW, TCP, &tcp(65_535, SYN)), Verdict::OutOfScope, None);
    table.add("quic-like udp to dns", v4_frame(NEW, UDP, &udp(DNS, &[0xc0; 1_200])), Verdict::Unproved, some);
    let stranger = Ipv4Addr::new(198, 51, 100, 7);
    table.add(
        "to another host",
        of(V4 { destination: stranger, ..header }, &tcp(PORT, SYN)),
        Verdict::OutOfScope,
        None,
    );
    let loopback = Ipv4Addr::new(127, 3, 2, 1);
    table.add(
        "to 127/8",
        of(V4 { destination: loopback, ..header }, &tcp(PORT, SYN)),
        Verdict::Unproved,
        some,
    );
    let all = Ipv4Addr::BROADCAST;
    let shout = V4 { destination: all, protocol: UDP, ..header };
    table.add("broadcast", of(shout, &udp(DNS, b"")), Verdict::OutOfScope, None);
    for (name, tcp_flags) in
        [("syn", SYN), ("syn-ack", SYN | ACK), ("rst", 4), ("fin-ack", 0x11), ("null", 0), ("xmas", 0x29)]
    {
        table.add(format!("tcp {name}"), v4_frame(NEW, TCP, &tcp(PORT, tcp_flags)), Verdict::Unproved, some);
    }
}

fn ipv6_rows(table: &mut Table) {
    let source = IpAddr::V6(v6_client(NEW));
    let cuts = [(14, Verdict::TruncatedEthernet), (54, Verdict::TruncatedIpv6), (74, Verdict::TruncatedTcp)];
    table.add_cut("tcp over ipv6", &v6_frame(NEW, TCP, &tcp(PORT, ACK)), Verdict::Unproved, source, &cuts);
    let some = Some(source);
    table.add("udp over ipv6", v6_frame(NEW, UDP, &udp(DNS, b"")), Verdict::Unproved, some);
    let mut bad = v6_frame(NEW, TCP, &tcp(PORT, ACK));
    bad[14] = 0x40;
    table.add("ipv6 of version 4", bad, Verdict::BadIpv6, None);
    let segment = tcp(PORT, ACK);
    for (name, number) in [
        ("hop-by-hop", 0),
        ("routing", 43),
        ("destination", 60),
        ("mobility", 135),
        ("hip", 139),
        ("shim6", 140),
    ] {
        let frame = v6_frame(NEW, number, &extension(TCP, 0, &segment));
        let cuts = [
            (14, Verdict::TruncatedEthernet),
            (54, Verdict::TruncatedIpv6),
            (58, Verdict::TruncatedExtension),
            (82, Verdict::TruncatedTcp),
        ];
        if number == 0 {
            table.add_cut(name, &frame, Verdict::Unproved, source, &cuts);
        } else {
            table.add(name, frame, Verdict::Unproved, some);
        }
    }
    table.add("a long extension", v6_frame(NEW, 60, &extension(TCP, 40, &segment)), Verdict::Unproved, some);
    table.add(
        "extension beyond the frame",
        v6_frame(NEW, 60, &[TCP, 255, 0, 0, 0, 0, 0, 0]),
        Verdict::TruncatedTcp,
        None,
    );
    table.add("authentication", v6_frame(NEW, 51, &authentication(TCP, &segment)), Verdict::Unproved, some);
    let chain = |length: usize| {
        let mut payload = segment.clone();
        let mut next = TCP;
        for _ in 0..length {
            payload = extension(next, 0, &payload);
            next = 60;
        }
        v6_frame(NEW, next, &payload)
    };
    table.add("eight extensions", chain(8), Verdict::Unproved, some);
    table.add("nine extensions", chain(9), Verdict::ExtensionDepth, None);
    let whole = v6_frame(NEW, 44, &fragment(TCP, 0, false, &segment));
    table.add("atomic fragment", whole, Verdict::Unproved, some);
    table.add(
        "first fragment of ipv6",
        v6_frame(NEW, 44, &fragment(TCP, 0, true, &segment)),
        Verdict::Unproved,
        some,
    );
    table.add(
        "first fragment too short",
        v6_frame(NEW, 44, &fragment(TCP, 0, true, &[0; 8])),
        Verdict::Unproved,
        some,
    );
    table.add(
        "later fragment of ipv6",
        v6_frame(NEW, 44, &fragment(TCP, 185, true, &[0; 8])),
        Verdict::Unproved,
        some,
    );
    table.add(
        "later fragment of icmpv6",
        v6_frame(NEW, 44, &fragment(58, 185, false, &[0; 8])),
        Verdict::Icmp,
        None,
    );
    let behind = extension(44, 0, &fragment(UDP, 3, false, &[0; 8]));
    table.add("later fragment behind an extension", v6_frame(NEW, 60, &behind), Verdict::Unproved, some);
    for (name, number) in
        [("no next header", 59), ("esp over ipv6", 50), ("ipv6 in ipv6", 41), ("unknown", 253)]
    {
        table.add(name, v6_frame(NEW, number, &[0; 24]), Verdict::NoPort, None);
    }
    for (name, kind) in [
        ("neighbour solicitation", 135),
        ("router advertisement", 134),
        ("packet too big", 2),
        ("echo reply", 129),
    ] {
        table.add(name, v6_frame(NEW, 58, &[kind, 0, 0, 0, 0, 0, 0, 0]), Verdict::Icmp, None);
    }
    table.add("icmpv6 echo", v6_frame(NEW, 58, &[128, 0, 0, 0, 0, 0, 0, 0]), Verdict::OutOfScope, None);
    table.add("icmpv6 behind hop-by-hop", v6_frame(NEW, 0, &extension(58, 0, &[0; 8])), Verdict::Icmp, None);
    let from = |source: &str, port| {
        let source = source.parse().expect("an address");
        ethernet(IPV6, &v6(source, OWN6, TCP, &tcp(port, SYN)))
    };
    table.add("link-local", from("fe80::1", PORT), Verdict::LinkLocal, None);
    table.add("end of link-local", from("febf:ffff::1", PORT), Verdict::LinkLocal, None);
    let site: IpAddr = "fec0::1".parse().expect("an address");
    table.add("beyond link-local", from("fec0::1", PORT), Verdict::Unproved, Some(site));
    let mapped: IpAddr = "::ffff:10.0.4.1".parse().expect("an address");
    table.add("v4-mapped on the wire", from("::ffff:10.0.4.1", PORT), Verdict::BadSource, Some(mapped));
    let tag: IpAddr = "4000::a00:401:0:0".parse().expect("an address");
    table.add("our tag on the wire", from("4000::a00:401:0:0", PORT), Verdict::BadSource, Some(tag));
    let last: IpAddr = "5fff::1".parse().expect("an address");
    table.add("end of 4000::/3", from("5fff::1", PORT), Verdict::BadSource, Some(last));
    table.add("our tag, out of scope", from("4000::1", 1), Verdict::OutOfScope, None);
    let stranger = "2001:db8:eeee::1".parse().expect("an address");
    let routed = ethernet(IPV6, &v6(v6_client(NEW), stranger, TCP, &tcp(PORT, SYN)));
    table.add("to another host by ipv6", routed, Verdict::OutOfScope, None);
    let nowhere = ethernet(IPV6, &v6(v6_client(NEW), Ipv6Addr::UNSPECIFIED, TCP, &tcp(PORT, SYN)));
    table.add("to the unspecified address", nowhere, Verdict::OutOfScope, None);
}

fn client_rows(table: &mut Table) {
    for (name, kind, tcp_flags, verdict) in [
        ("allowed", ALLOWED, SYN, Verdict::Allowed),
        ("denied", DENIED, ACK, Verdict::Denied),
        ("allowed and denied", ALLOWED_AND_DENIED, ACK, Verdict::Allowed),
        ("banned", BANNED, ACK, Verdict::Banned),
        ("a ban that is over", BAN_OVER, ACK, Verdict::Unproved),
        ("proved", PROVED, ACK, Verdict::Conforming),
        ("proved, syn", PROVED, SYN, Verdict::Conforming),
        ("over its packets", OVER_PACKETS, ACK, Verdict::Packets),
        ("over its bytes", OVER_BYTES, ACK, Verdict::Bytes),
        ("over its syns", OVER_SYNS, SYN, Verdict::Syns),
        ("over its syns, no syn", OVER_SYNS, ACK, Verdict::Conforming),
    ] {
        let segment = tcp(PORT, tcp_flags);
        let (by4, by6) = (v4_frame(kind, TCP, &segment), v6_frame(kind, TCP, &segment));
        table.add(format!("{name}, ipv4"), by4, verdict, Some(IpAddr::V4(v4_client(kind))));
        table.add(format!("{name}, ipv6"), by6, verdict, Some(IpAddr::V6(v6_client(kind))));
    }
    let later = V4 { fragment: 0x0010, ..v4_header(OVER_PACKETS, UDP) };
    let source = Some(IpAddr::V4(v4_client(OVER_PACKETS)));
    table.add(
        "a proved client's fragment pays packets",
        ethernet(IPV4, &later.bytes(&[0; 8])),
        Verdict::Packets,
        source,
    );
    let neighbour = Ipv6Addr::new(0x2001, 0xdb8, u16::from(OVER_PACKETS), 0, 7, 7, 7, 7);
    let frame = ethernet(IPV6, &v6(neighbour, OWN6, TCP, &tcp(PORT, ACK)));
    table.add("another address of the same /64", frame, Verdict::Packets, Some(IpAddr::V6(neighbour)));
}

#[track_caller]
fn check_host(row: &Row) {
    let decided = host_world().decide(&row.frame);
    assert_eq!(decided.verdict, row.verdict, "host: {}", row.name);
    if let Some(key) = row.key {
        assert_eq!(decided.packet.map(|packet| packet.client()), Some(key), "host's client: {}", row.name);
    }
}

fn check_kernel(kernel: &mut KernelPath, row: &Row, rule_flags: u64) -> Result<()> {
    let action = row.verdict.action(rule_flags);
    let mut events = kernel.events()?;
    let before = kernel.maps.counters()?;
    let returned = kernel.run(&row.frame).with_context(|| row.name.clone())?;
    let expected = if action == Action::Drop { 1 } else { 2 };
    assert_eq!(returned, expected, "kernel's action: {} under flags {rule_flags}", row.name);
    let counted = kernel.counted_since(&before)?;
    let labels: Vec<_> = counted.iter().map(|row| (row.verdict, row.action, row.packets)).collect();
    assert_eq!(labels, [(row.verdict.label(), action.label(), 1)], "kernel's counter: {}", row.name);
    let bytes = counted.iter().map(|row| row.bytes).sum::<u64>();
    assert_eq!(bytes, row.frame.len() as u64, "kernel's bytes: {}", row.name);
    if row.verdict.is_drop() {
        check_event(&mut events, row)?;
    }
    Ok(())
}

/// With no budget left every unproved packet is dropped, and the event names whom it met.
fn check_key(kernel: &mut KernelPath, row: &Row) -> Result<()> {
    if row.verdict != Verdict::Unproved {
        return Ok(());
    }
    let mut events = kernel.events()?;
    assert_eq!(kernel.run(&row.frame)?, 1, "no budget: {}", row.name);
    check_event(&mut events, row)
}

fn check_event(events: &mut Events, row: &Row) -> Result<()> {
    let event = events.next_event().with_context(|| format!("no event: {}", row.name))?;
    assert_eq!(Some(ClientKey(event.key)), row.key, "kernel's client: {}", row.name);
    assert!(events.next_event().is_none(), "one event a packet: {}", row.name);
    Ok(())
}
