//! The gate in front of BANS and CLIENTS: who is known, for how long, and what makes him known again.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result};
use weir::model::ClientKey;
use weir::plane::{BanReason, Census, Memory, Wanted, now_ns};
use weir_ebpf::abi::{CLASSES, Rules, SEEN_CELLS, Word};
use weir_ebpf::gcra::Limit;
use weir_ebpf::scope::PortCell;
use weir_ebpf::seen::Place;
use weir_tests::frames::{ACK, TCP, UDP, V4, ethernet, tcp_from, udp, v6};
use weir_tests::kernel_path::{KernelPath, ONE_EPOCH};
use weir_tests::netns::Netns;
use weir_tests::root::require_root;
use weir_tests::wait::let_pass;

/// 32 jiffies an epoch, 320 ms at most; whoever was silent for two is forgotten.
const SHORT: u64 = 5;
const FORGOTTEN: Duration = Duration::from_millis(700);

fn load(port: u16, epoch_shift: u64) -> Result<KernelPath> {
    let kernel = KernelPath::small()?;
    // No budget at all: only who is known passes.
    let wanted = Wanted {
        rules: Rules { epoch_shift, ..Rules::default() },
        ports: vec![PortCell::tcp(port)],
        own: vec![Ipv6Addr::LOCALHOST.into()],
        ..Wanted::default()
    };
    kernel.maps.apply(&wanted, 77)?;
    Ok(kernel)
}

fn ack(source: SocketAddrV4, port: u16) -> Vec<u8> {
    let header = V4 {
        source: *source.ip(),
        destination: Ipv4Addr::LOCALHOST,
        protocol: TCP,
        fragment: 0,
        option_words: 0,
    };
    ethernet(0x0800, &header.bytes(&tcp_from(source.port(), port, ACK)))
}

/// The verdict that one run of the frame counts.
fn verdict(kernel: &mut KernelPath, frame: &[u8]) -> Result<String> {
    let before = kernel.maps.counters()?;
    kernel.run(frame)?;
    let counted = kernel.counted_since(&before)?;
    Ok(counted.first().map(|row| row.verdict.to_owned()).unwrap_or_default())
}

#[test]
fn a_connection_that_idled_past_its_epochs_goes_on() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    Netns::new("idle")?.run(|| {
        for host in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
            let listener = TcpListener::bind((host, 0))?;
            let port = listener.local_addr()?.port();
            let client = TcpStream::connect(listener.local_addr()?)?;
            let (accepted, _) = listener.accept()?;
            let mut kernel = load(port, SHORT)?;
            let known = client.local_addr()?.port();
            let (own, strange) = (ack_of(host, known, port), ack_of(host, known ^ 1, port));
            assert_eq!(verdict(&mut kernel, &strange)?, "budget_tcp", "nobody's connection");
            assert_eq!(verdict(&mut kernel, &own)?, "connected");
            assert_eq!(verdict(&mut kernel, &strange)?, "conforming", "its client is proved again");
            for _ in 0..3 {
                let_pass(FORGOTTEN);
                assert_eq!(verdict(&mut kernel, &strange)?, "budget_tcp", "forgotten");
                assert_eq!(verdict(&mut kernel, &own)?, "connected");
            }
            // Half closed, from either side, then from both.
            for (end, how) in [(&accepted, Shutdown::Write), (&client, Shutdown::Write)] {
                end.shutdown(how)?;
                let_pass(FORGOTTEN);
                assert_eq!(verdict(&mut kernel, &own)?, "connected", "{host}: it is closing");
            }
            assert_eq!(verdict(&mut kernel, &ack_of(host, known ^ 1, port))?, "conforming");
        }
        Ok(())
    })
}

fn ack_of(host: IpAddr, from: u16, port: u16) -> Vec<u8> {
    match host {
        IpAddr::V4(v4) => ack(SocketAddrV4::new(v4, from), port),
        IpAddr::V6(local) => ethernet(0x86dd, &v6(local, local, TCP, &tcp_from(from, port, ACK))),
    }
}

/// Many packets of one source that never proves itself: an entry of its own, and no trust.
#[test]
fn debt_earns_an_unproved_source_an_entry_and_no_trust() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let port = 9_000;
    let mut kernel = KernelPath::small()?;
    let limit = Limit::new(1, 1_000_000_000, 20).expect("a limit");
    let mut rules = Rules {
        limits: [limit, Limit::NONE, Limit::NONE, Limit::NONE],
        budget: [0, 0, 1_000, 0, 0, 0],
        tick_shift: 63,
        epoch_shift: ONE_EPOCH,
        promotions_per_tick: 1,
        ..Rules::default()
    };
    let wanted = |rules| Wanted { rules, ports: vec![PortCell::udp(port)], ..Wanted::default() };
    kernel.maps.apply(&wanted(rules), 77)?;
    let frame = |host: u8| {
        let header = V4 {
            source: Ipv4Addr::new(198, 51, 100, host),
            destination: Ipv4Addr::LOCALHOST,
            protocol: UDP,
            fragment: 0,
            option_words: 0,
        };
        ethernet(0x0800, &header.bytes(&udp(port, b"ping")))
    };
    let key = |host: u8| ClientKey::v4([198, 51, 100, host]);
    kernel.on_one_cpu(|kernel| {
        for n in 1..=7 {
            assert_eq!(verdict(kernel, &frame(1))?, "unproved", "{n}");
        }
        assert_eq!(kernel.maps.entry(key(1))?, None, "so far its slot holds its debt");
        for n in 8..=20 {
            assert_eq!(verdict(kernel, &frame(1))?, "unproved", "{n}");
        }
        let entry = kernel.maps.entry(key(1))?.context("an entry")?;
        assert_eq!(entry.flags, 0, "not proved");
        assert_eq!(verdict(kernel, &frame(1))?, "front", "twenty at once, then one a second");
        for _ in 0..12 {
            assert_eq!(verdict(kernel, &frame(2))?, "unproved");
        }
        assert_eq!(kernel.maps.entry(key(2))?, None, "one in this tick, and that was the other");
        assert_eq!(kernel.maps.promoted()?, 1);

        kernel.charge.forgive(key(1))?;
        assert_eq!(verdict(kernel, &frame(1))?, "unproved", "forgiven, by its entry");
        rules.budget = [0; CLASSES];
        kernel.maps.apply(&wanted(rules), 77)?;
        assert_eq!(verdict(kernel, &frame(1))?, "budget_udp", "an entry lends no trust");
        Ok(())
    })
}

#[test]
fn a_ban_and_its_end_leave_whoever_shares_the_cell_alone() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let port = 8_080;
    let mut kernel = load(port, ONE_EPOCH)?;
    let seed = kernel.maps.rules()?.seed;
    let place = |bits: u32| Place::of(ClientKey::v4(bits.to_be_bytes()).0, seed);
    let banned = 0x0a00_0001;
    let sharers: Vec<u32> = (0x0b00_0000..0x0b00_0000 + 16 * SEEN_CELLS)
        .filter(|bits| place(*bits) == place(banned))
        .take(2)
        .collect();
    let [neighbour, other] = sharers[..] else { panic!("sixteen times as many keys as cells") };
    let key = |bits: u32| ClientKey::v4(bits.to_be_bytes());
    let frame = |bits: u32| ack(SocketAddrV4::new(Ipv4Addr::from_bits(bits), 1_024), port);
    for client in [banned, neighbour, other] {
        kernel.charge.prove(key(client))?;
    }
    let bans = kernel.bans()?;
    bans.add(key(banned), BanReason::Operator, 0, None, now_ns())?;
    bans.add(key(other), BanReason::Operator, 0, None, now_ns())?;
    let all = |kernel: &mut KernelPath| -> Result<[String; 3]> {
        Ok([
            verdict(kernel, &frame(banned))?,
            verdict(kernel, &frame(neighbour))?,
            verdict(kernel, &frame(other))?,
        ])
    };
    assert_eq!(all(&mut kernel)?, ["banned", "conforming", "banned"]);
    bans.remove(key(other), now_ns())?;
    assert_eq!(all(&mut kernel)?, ["banned", "conforming", "conforming"], "one mark, two bans");
    bans.remove(key(banned), now_ns())?;
    assert_eq!(all(&mut kernel)?, ["conforming", "conforming", "conforming"]);
    bans.add(key(banned), BanReason::Operator, 0, None, now_ns())?;
    let successor = kernel.bans()?;
    assert!(successor.remove(key(banned), now_ns())?);
    assert_eq!(
        all(&mut kernel)?,
        ["conforming", "conforming", "conforming"],
        "a successor counts what it finds"
    );
    Ok(())
}

#[test]
fn a_census_tells_when_those_who_owe_are_evicted() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let capacity = 4_096;
    let kernel = load(8_080, ONE_EPOCH)?;
    let limit = Limit::new(1, 60_000_000_000, 10).expect("a limit");
    let mut memory = Memory::default();
    let key = |bits: u32| ClientKey::v4((0x0a00_0000 | bits).to_be_bytes());
    for client in 0..1_000 {
        kernel.charge.take(key(client), Word::Requests, &limit, 1)?;
    }
    for client in 1_000..1_500 {
        kernel.charge.prove(key(client))?;
    }
    let census = memory.census(&kernel.maps, now_ns())?;
    assert_eq!(census, Census { entries: 1_500, proved: 1_500, owing: 1_000, evicted_owing: 0 });
    assert_eq!(memory.census(&kernel.maps, now_ns())?, census, "nothing happened");
    for client in 10_000..10_000 + 4 * capacity {
        kernel.charge.prove(key(client))?;
    }
    let census = memory.census(&kernel.maps, now_ns())?;
    assert_eq!(census.owing + census.evicted_owing, 1_000, "{census:?}");
    assert!(census.evicted_owing >= 500, "the map was filled four times: {census:?}");
    assert!(u64::from(capacity) >= census.entries, "{census:?}");
    Ok(())
}
