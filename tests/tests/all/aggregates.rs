//! Limits above the single client: by the host's build of the path and by the kernel, and with real traffic.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use anyhow::Result;
use weir::kernel::{self, Capacities, resize};
use weir::model::{ClientKey, Rate};
use weir::plane::{Aggregate, AggregatePorts, AggregatePrefix, LimitRow, List, PortRule, Wanted};
use weir_ebpf::abi::{CLASSES, PortRow, Rules, Sentence, flags};
use weir_ebpf::gcra::Limit;
use weir_ebpf::scope::PortCell;
use weir_ebpf::verdict::Verdict;
use weir_tests::frames::{ACK, TCP, UDP, V4, ethernet, tcp, udp, v6};
use weir_tests::host_path::HostPath;
use weir_tests::kernel_path::{KernelPath, ONE_EPOCH};
use weir_tests::root::require_root;

mod traffic;

const OWN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const OWN6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1);
const PORT: u16 = 8_080;
const OTHER_PORT: u16 = 8_081;
const HEAVY: u16 = 8_082;
const XDP_PASS: u32 = 2;
const BURST: u64 = 6;
/// More than anybody passes here.
const MANY: u64 = 40;

fn a_minute(burst: u64) -> Limit {
    Rate::new(1, Duration::from_secs(60), burst).expect("fits").limit()
}

fn sum(prefix: AggregatePrefix, ports: AggregatePorts, burst: u64) -> Aggregate {
    Aggregate { prefix, ports, limit: a_minute(burst) }
}

fn net24(burst: u64) -> Vec<Aggregate> {
    vec![sum(AggregatePrefix::V4Net24, AggregatePorts::Together, burst)]
}

/// Nothing else limits anybody.
fn wanted(aggregates: Vec<Aggregate>) -> Wanted {
    let rules = Rules { budget: [1 << 30; CLASSES], epoch_shift: ONE_EPOCH, ..Rules::default() };
    let row = PortRow { weights: [3; CLASSES], ..PortRow::default() };
    Wanted {
        rules,
        ports: vec![PortCell::tcp(PORT), PortCell::tcp(OTHER_PORT), PortCell::udp(PORT)],
        port_rules: vec![PortRule { name: "heavy".to_owned(), cells: vec![PortCell::tcp(HEAVY)], row }],
        own: vec![OWN.into(), OWN6.into()],
        aggregates,
        ..Wanted::default()
    }
}

fn frame(source: IpAddr, cell: (u8, u16)) -> Vec<u8> {
    let (protocol, port) = cell;
    let segment = if protocol == TCP { tcp(port, ACK) } else { udp(port, b"?") };
    match source {
        IpAddr::V4(source) => {
            let header = V4 { source, destination: OWN, protocol, fragment: 0, option_words: 0 };
            ethernet(0x0800, &header.bytes(&segment))
        }
        IpAddr::V6(source) => ethernet(0x86dd, &v6(source, OWN6, protocol, &segment)),
    }
}

/// Both builds of the path in the same state.
struct Both {
    host: HostPath,
    kernel: KernelPath,
}

impl Both {
    fn new(wanted: &Wanted) -> Result<Self> {
        let kernel = KernelPath::small()?;
        kernel.maps.apply(wanted, 7)?;
        Ok(Self { host: HostPath::new(wanted.clone()), kernel })
    }

    fn prove(&mut self, client: &str) -> Result<()> {
        let key = ClientKey::of(client.parse()?);
        self.host.prove(key, None);
        Ok(self.kernel.charge.prove(key)?)
    }

    /// Packets of a client that pass, of [`MANY`], and why the last does not: the same in both.
    #[track_caller]
    fn passed(&mut self, client: &str, cell: (u8, u16)) -> (u64, Option<&'static str>) {
        let frame = frame(client.parse().expect("an address"), cell);
        let mut of_host = (0, None);
        for _ in 0..MANY {
            let verdict = self.host.decide(&frame).verdict;
            of_host.0 += u64::from(!verdict.is_drop());
            of_host.1 = verdict.is_drop().then(|| verdict.label());
        }
        let (mut of_kernel, mut last) = ((0, None), Vec::new());
        for n in 1..=MANY {
            if n == MANY {
                last = self.kernel.maps.counters().expect("counters");
            }
            of_kernel.0 += u64::from(self.kernel.run(&frame).expect("a run") == XDP_PASS);
        }
        let last = self.kernel.counted_since(&last).expect("counters");
        of_kernel.1 = last.first().filter(|row| row.action == "drop").map(|row| row.verdict);
        assert_eq!(of_host, of_kernel, "{client}: host and kernel");
        of_kernel
    }
}

const ALL: (u64, Option<&str>) = (MANY, None);

fn over(passed: u64) -> (u64, Option<&'static str>) {
    (passed, Some(Verdict::Aggregate.label()))
}

#[test]
fn clients_of_a_prefix_share_its_limit() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    use AggregatePrefix::{V4Net24, V6Net48, V6Net56};
    let to = (TCP, PORT);
    for (prefix, near, far) in [
        (V4Net24, ["10.1.1.1", "10.1.1.200"], "10.1.2.1"),
        (V6Net56, ["2001:db8:1:100::1", "2001:db8:1:1ff::1"], "2001:db8:1:200::1"),
        (V6Net48, ["2001:db8:1:100::1", "2001:db8:1:ff00::1"], "2001:db8:2::1"),
    ] {
        for is_proved in [false, true] {
            let mut both = Both::new(&wanted(vec![sum(prefix, AggregatePorts::Together, BURST)]))?;
            let [first, second] = near;
            if is_proved {
                [first, second, far].into_iter().try_for_each(|client| both.prove(client))?;
            }
            assert_eq!(both.passed(first, to), over(BURST), "{prefix:?}, proved: {is_proved}");
            assert_eq!(both.passed(second, to), over(0), "{prefix:?}: its neighbour");
            assert_eq!(both.passed(far, to), over(BURST), "{prefix:?}: another prefix");
        }
    }
    Ok(())
}

#[test]
fn without_aggregates_and_for_the_other_family_nothing_is_summed() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let mut none = Both::new(&wanted(Vec::new()))?;
    let mut v4 = Both::new(&wanted(net24(BURST)))?;
    for client in ["10.1.1.1", "2001:db8:1::1"] {
        assert_eq!(none.passed(client, (TCP, PORT)), ALL, "off by default");
        none.prove(client)?;
        assert_eq!(none.passed(client, (TCP, PORT)), ALL, "off by default");
    }
    assert_eq!(none.kernel.maps.rules()?.flags & flags::AGGREGATES, 0);
    assert_eq!(v4.passed("2001:db8:1::1", (TCP, PORT)), ALL);
    Ok(())
}

/// Whoever forges the addresses of a /24 takes nothing from the clients there that proved theirs.
#[test]
fn proved_clients_and_all_others_have_words_of_their_own() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let mut both = Both::new(&wanted(net24(BURST)))?;
    both.prove("10.1.1.1")?;
    assert_eq!(both.passed("10.1.1.77", (UDP, PORT)), over(BURST));
    assert_eq!(both.passed("10.1.1.78", (TCP, PORT)), over(0));
    assert_eq!(both.passed("10.1.1.1", (TCP, PORT)), over(BURST), "as if nothing had been");
    Ok(())
}

#[test]
fn ports_count_together_each_alone_or_only_one() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let (one, other, datagram) = ((TCP, PORT), (TCP, OTHER_PORT), (UDP, PORT));
    let with = |ports| Both::new(&wanted(vec![sum(AggregatePrefix::V4Net24, ports, BURST)]));
    for is_proved in [false, true] {
        let [mut each, mut only] =
            [with(AggregatePorts::Each)?, with(AggregatePorts::Only(PortCell::tcp(PORT)))?];
        if is_proved {
            each.prove("10.1.1.1")?;
            only.prove("10.1.1.1")?;
        }
        for to in [one, other, datagram] {
            assert_eq!(each.passed("10.1.1.1", to), over(BURST), "{to:?}: a word of its own");
        }
        assert_eq!(only.passed("10.1.1.1", other), ALL);
        assert_eq!(only.passed("10.1.1.1", datagram), ALL);
        assert_eq!(only.passed("10.1.1.1", one), over(BURST));
    }
    Ok(())
}

/// Several count a packet, in their order; those before the one that refuses keep their charge.
#[test]
fn the_first_that_is_over_refuses() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let narrow = sum(AggregatePrefix::V6Net56, AggregatePorts::Together, BURST);
    let wide = sum(AggregatePrefix::V6Net48, AggregatePorts::Together, BURST + 2);
    let mut both = Both::new(&wanted(vec![narrow, wide]))?;
    let clients = ["2001:db8:1:100::1", "2001:db8:1:200::1", "2001:db8:1:300::1"];
    clients.into_iter().try_for_each(|client| both.prove(client))?;
    let passed = clients.map(|client| both.passed(client, (TCP, PORT)));
    assert_eq!(passed, [over(BURST), over(2), over(0)], "6 of the /56, 8 of the /48");
    Ok(())
}

#[test]
fn what_a_clients_own_limit_refuses_costs_its_prefix_nothing() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    for is_proved in [false, true] {
        let mut wanted = wanted(net24(BURST));
        wanted.rules.limits = [a_minute(2), Limit::NONE, Limit::NONE, Limit::NONE];
        let mut both = Both::new(&wanted)?;
        let clients = ["10.1.1.1", "10.1.1.2", "10.1.1.3", "10.1.1.4"];
        if is_proved {
            clients.into_iter().try_for_each(|client| both.prove(client))?;
        }
        let own = if is_proved { "packets" } else { "front" };
        let passed = clients.map(|client| both.passed(client, (TCP, PORT)).0);
        assert_eq!(passed, [2, 2, 2, 0], "beyond {own}");
        let mut heavy = Both::new(&wanted)?;
        if is_proved {
            heavy.prove("10.1.1.1")?;
        }
        assert_eq!(heavy.passed("10.1.1.1", (TCP, HEAVY)), (0, Some(own)), "its rule's weight is beyond");
    }
    let mut both = Both::new(&wanted(net24(BURST)))?;
    assert_eq!(both.passed("10.1.1.1", (TCP, HEAVY)), over(BURST / 3), "a packet of weight 3");
    Ok(())
}

#[test]
fn allowed_sources_are_free_of_it_and_observing_drops_nothing() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let mut allowing = wanted(net24(BURST));
    allowing.lists = vec![List::new("allow", Sentence::Allow, ["10.1.1.0/25".parse()?])];
    let mut both = Both::new(&allowing)?;
    assert_eq!(both.passed("10.1.1.1", (TCP, PORT)), ALL);
    assert_eq!(both.passed("10.1.1.200", (TCP, PORT)), over(BURST), "nobody spent it");
    let mut observing = wanted(net24(BURST));
    observing.rules.flags = flags::OBSERVE;
    let mut kernel = KernelPath::small()?;
    kernel.maps.apply(&observing, 7)?;
    let before = kernel.maps.counters()?;
    for _ in 0..MANY {
        assert_eq!(kernel.run(&frame(Ipv4Addr::new(10, 1, 1, 1).into(), (TCP, PORT)))?, XDP_PASS);
    }
    let mut rows = kernel.counted_since(&before)?;
    rows.sort_by_key(|row| row.packets);
    let rows: Vec<_> = rows.iter().map(|row| (row.verdict, row.action, row.packets)).collect();
    assert_eq!(rows, [("unproved", "pass", BURST), ("aggregate", "pass", MANY - BURST)]);
    Ok(())
}

/// A carrier's addresses: as many people as there are, behind few.
#[test]
fn a_shared_range_has_another_limit_or_none() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let range = |name: &str, prefix: &str, aggregates| LimitRow {
        name: name.to_owned(),
        prefixes: vec![prefix.parse().expect("a prefix")],
        limits: [Limit::NONE; 4],
        aggregates,
    };
    let mut wanted = wanted(net24(BURST));
    wanted.overrides =
        vec![range("carrier", "100.64.0.0/10", net24(2 * BURST)), range("campus", "10.2.0.0/16", Vec::new())];
    for is_proved in [false, true] {
        let mut both = Both::new(&wanted)?;
        for (client, passed) in
            [("10.1.1.1", over(BURST)), ("100.64.7.1", over(2 * BURST)), ("10.2.1.1", ALL)]
        {
            if is_proved {
                both.prove(client)?;
            }
            assert_eq!(both.passed(client, (TCP, PORT)), passed, "{client}, proved: {is_proved}");
        }
    }
    Ok(())
}

#[test]
fn words_outlive_a_change_of_limits_and_of_capacity() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let mut kernel = KernelPath::small()?;
    let client = Ipv4Addr::new(10, 1, 1, 1);
    kernel.charge.prove(ClientKey::v4(client.octets()))?;
    let passed = |kernel: &mut KernelPath| -> Result<usize> {
        let mut passed = 0;
        while passed < 20 && kernel.run(&frame(client.into(), (TCP, PORT)))? == XDP_PASS {
            passed += 1;
        }
        Ok(passed)
    };
    kernel.maps.apply(&wanted(net24(6)), 7)?;
    assert_eq!(passed(&mut kernel)?, 6);
    kernel.maps.apply(&wanted(net24(9)), 7)?;
    assert_eq!(passed(&mut kernel)?, 3, "six of nine were spent before");
    kernel.maps.apply(&wanted(Vec::new()), 7)?;
    assert_eq!(passed(&mut kernel)?, 20, "none");
    kernel.maps.apply(&wanted(net24(9)), 7)?;
    assert_eq!(passed(&mut kernel)?, 0, "and again");
    let config = kernel::Config { clients: 4_096, bans: 64, ..kernel::Config::default() };
    for aggregates in [16_384, 64] {
        resize(&kernel.pins(), Capacities { aggregates, ..Capacities::of(&config) })?;
        assert_eq!(passed(&mut kernel)?, 0, "in a map for {aggregates}");
    }
    Ok(())
}
