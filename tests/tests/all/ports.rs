//! Port rules: what a port's own terms make of a packet, by the host's build of the path and by the
//! kernel; and the configuration of them, in force.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result};
use weir::model::Rate;
use weir::plane::{PortRule, Wanted};
use weir_ebpf::abi::{CLASSES, Class, ClientKey, PortRow, Rules, Word, flags};
use weir_ebpf::gcra::Limit;
use weir_ebpf::scope::PortCell;
use weir_ebpf::verdict::Verdict;
use weir_tests::frames::{ACK, SYN, TCP, UDP, V4, ethernet, tcp, udp, v6};
use weir_tests::host_path::HostPath;
use weir_tests::http;
use weir_tests::kernel_path::{KernelPath, ONE_EPOCH};
use weir_tests::netns::Netns;
use weir_tests::root::require_root;
use weir_tests::weir::{Place, Weir};

const OWN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const OWN6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const CLIENT6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1);
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

const PLAIN: u16 = 80;
const TRIAL: u16 = 81;
const HEAVY: u16 = 82;
const DNS: u16 = 53;

/// Every class has a budget but that of `without`.
fn wanted(without: Class, packets_burst: u64) -> Wanted {
    let rule =
        |name: &str, cells: &[PortCell], row| PortRule { name: name.to_owned(), cells: cells.into(), row };
    let mut budget = [1 << 30; CLASSES];
    budget[without as usize] = 0;
    let rate = Rate::new(1, std::time::Duration::from_secs(1), packets_burst).expect("fits");
    let mut limits = [Limit::NONE; 4];
    limits[Word::Packets as usize] = rate.limit();
    let mut weights = [1; CLASSES];
    weights[Class::Syn as usize] = 5;
    weights[Class::Udp as usize] = 3;
    Wanted {
        rules: Rules { limits, budget, epoch_shift: ONE_EPOCH, ..Rules::default() },
        ports: vec![PortCell::tcp(PLAIN), PortCell::tcp(TRIAL), PortCell::FRAGMENT],
        port_rules: vec![
            rule(
                "trial",
                &[PortCell::tcp(TRIAL)],
                PortRow { flags: flags::OBSERVE as u8, ..PortRow::default() },
            ),
            rule(
                "heavy",
                &[PortCell::tcp(HEAVY), PortCell::udp(HEAVY)],
                PortRow { weights, ..PortRow::default() },
            ),
            rule(
                "dns",
                &[PortCell::udp(DNS)],
                PortRow { class: Class::Apart as u8 + 1, ..PortRow::default() },
            ),
            rule("ping", &[PortCell::ECHO], PortRow::default()),
        ],
        own: vec![OWN.into(), OWN6.into()],
        ..Wanted::default()
    }
}

fn v4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let header = V4 { source: CLIENT, destination: OWN, protocol, fragment: 0, option_words: 0 };
    ethernet(0x0800, &header.bytes(payload))
}

fn echo(family: u8, kind: u8) -> Vec<u8> {
    let message = [kind, 0, 0, 0, 0, 1, 0, 1];
    match family {
        4 => v4(ICMP, &message),
        _ => ethernet(0x86dd, &v6(CLIENT6, OWN6, ICMPV6, &message)),
    }
}

fn fragment() -> Vec<u8> {
    let header = V4 { source: CLIENT, destination: OWN, protocol: UDP, fragment: 0x0010, option_words: 0 };
    ethernet(0x0800, &header.bytes(&[0; 8]))
}

/// By the host and by the kernel: the verdict, the rule that counted it, and whether it was dropped.
#[track_caller]
fn check(kernel: &mut KernelPath, wanted: &Wanted, frame: &[u8], verdict: Verdict, rule: &str, drops: bool) {
    let decided = HostPath::new(wanted.clone()).decide(frame);
    let names = ["none", "default", "trial", "heavy", "dns", "ping"];
    let host = (decided.verdict, names.get(usize::from(decided.rule)).copied());
    assert_eq!(host, (verdict, Some(rule)), "host");
    kernel.maps.apply(wanted, 7).expect("rules");
    let counts = |kernel: &KernelPath| {
        let rows = kernel.maps.rule_counts().expect("counters");
        let of = rows.iter().find(|row| row.rule == rule && row.row.verdict == verdict.label());
        of.map_or(0, |row| row.row.packets)
    };
    let before = counts(kernel);
    let action = kernel.run(frame).expect("a run");
    assert_eq!(counts(kernel), before + 1, "the kernel counts {verdict:?} for {rule}");
    assert_eq!(action, if drops { 1 } else { 2 }, "the kernel's action at {verdict:?} for {rule}");
}

#[test]
fn each_class_has_a_budget_of_its_own_and_each_rule_its_counter() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let mut kernel = KernelPath::small()?;
    let (syn, ack) = (v4(TCP, &tcp(PLAIN, SYN)), v4(TCP, &tcp(PLAIN, ACK)));
    let (query, game) = (v4(UDP, &udp(DNS, b"?")), v4(UDP, &udp(HEAVY, b"!")));
    let rows: [(&[u8], Class, &str, Verdict); 7] = [
        (&syn, Class::Syn, "default", Verdict::BudgetSyn),
        (&ack, Class::Tcp, "default", Verdict::BudgetTcp),
        (&game, Class::Udp, "heavy", Verdict::BudgetUdp),
        (&query, Class::Apart, "dns", Verdict::BudgetUdp),
        (&echo(4, 8), Class::Echo, "ping", Verdict::BudgetEcho),
        (&echo(6, 128), Class::Echo, "ping", Verdict::BudgetEcho),
        (&fragment(), Class::Fragment, "default", Verdict::BudgetFragment),
    ];
    for (_, without, ..) in rows {
        let wanted = wanted(without, 100);
        for (frame, class, rule, refused) in rows {
            let spent = class as u32 == without as u32;
            let verdict = if spent { refused } else { Verdict::Unproved };
            check(&mut kernel, &wanted, frame, verdict, rule, spent);
        }
    }
    let all = wanted(Class::Echo, 100);
    for frame in [echo(4, 0), echo(4, 3), echo(6, 135), echo(6, 2), echo(6, 129)] {
        check(&mut kernel, &all, &frame, Verdict::Icmp, "none", false);
    }
    Ok(())
}

#[test]
fn a_rule_in_dry_run_drops_nothing_and_counts_what_it_would() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let mut kernel = KernelPath::small()?;
    let wanted = wanted(Class::Syn, 100);
    let (trial, plain) = (v4(TCP, &tcp(TRIAL, SYN)), v4(TCP, &tcp(PLAIN, SYN)));
    check(&mut kernel, &wanted, &trial, Verdict::BudgetSyn, "trial", false);
    check(&mut kernel, &wanted, &plain, Verdict::BudgetSyn, "default", true);
    Ok(())
}

#[test]
fn a_packet_costs_its_weight() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let mut kernel = KernelPath::small()?;
    for (frame, units) in [
        (v4(TCP, &tcp(PLAIN, SYN)), 1),
        (v4(TCP, &tcp(HEAVY, SYN)), 5),
        (v4(TCP, &tcp(HEAVY, ACK)), 1),
        (v4(UDP, &udp(HEAVY, b"!")), 3),
    ] {
        let key = ClientKey::v4(CLIENT.octets());
        kernel.maps.apply(&wanted(Class::Echo, 100), 7)?;
        kernel.charge.forgive(key)?;
        kernel.charge.prove(key)?;
        let before = kernel.charge.peek(key, Word::Packets)?;
        assert_eq!(kernel.run(&frame)?, 2);
        let seconds = kernel.charge.peek(key, Word::Packets)?.saturating_sub(before).div_ceil(1_000_000_000);
        assert_eq!(seconds, units);
    }
    Ok(())
}

#[test]
fn rules_keep_their_counters_when_others_come_and_go() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let mut kernel = KernelPath::small()?;
    let all = wanted(Class::Echo, 100);
    let frame = echo(4, 8);
    check(&mut kernel, &all, &frame, Verdict::BudgetEcho, "ping", true);
    let of_ping = |kernel: &KernelPath| -> Result<u64> {
        let rows = kernel.maps.rule_counts()?;
        Ok(rows.iter().filter(|row| row.rule == "ping").map(|row| row.row.packets).sum())
    };
    let fewer = Wanted { port_rules: all.port_rules.get(3..).context("ping")?.to_vec(), ..all.clone() };
    kernel.maps.apply(&fewer, 7)?;
    kernel.run(&frame)?;
    assert_eq!(of_ping(&kernel)?, 2, "the only rule left, under its own number");
    kernel.maps.apply(&Wanted { port_rules: Vec::new(), ..all }, 7)?;
    kernel.run(&frame)?;
    assert_eq!(of_ping(&kernel)?, 2, "echo is out of scope");
    Ok(())
}

#[test]
fn a_configured_rule_is_in_force_and_in_the_metrics() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    Netns::new("ports")?.run(|| {
        let config = |place: &Place| {
            format!(
                "[[listener]]\naddress = \"127.0.0.1:{}\"\n[[api]]\nname = \"a\"\nlisten_path = \"/\"\nrespond = {{ status = 200 }}\n[kernel]\ninterfaces = [\"lo\"]\nmode = \"generic\"\nclients = 4096\ndeny = [\"127.0.0.9\"]\nguard_own_addresses = false\n[[kernel.rule]]\nname = \"api\"\nports = [\"tcp/{}\", \"udp/4000-4010\"]\ndry_run = true\n",
                place.port, place.port
            )
        };
        let weir = Weir::start(config)?;
        let server = (IpAddr::V4(Ipv4Addr::LOCALHOST), weir.place.port).into();
        let answer = http::Connection::open_from("127.0.0.9".parse()?, server)?.get("/", "")?;
        assert_eq!(answer.status, 200, "denied, but in dry run");
        let metrics = weir.metrics()?;
        let line = "weir_kernel_rule_packets_total{rule=\"api\",verdict=\"denied\",action=\"pass\"} ";
        let denied = metrics.lines().find_map(|row| row.strip_prefix(line)?.parse::<u64>().ok());
        assert!(denied > Some(0), "{metrics}");
        Ok(())
    })
}
