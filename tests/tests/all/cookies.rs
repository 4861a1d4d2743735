//! SYN cookies from XDP: what is answered, who comes in by it during a flood, and the kernel's setting
//! that they need.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use socket2::{Domain, Socket, Type};
use weir::plane::{Wanted, now_ns};
use weir_ebpf::abi::{Rules, flags};
use weir_ebpf::scope::PortCell;
use weir_tests::bench::{Family, Flood, Ground, TCP_PORT, Testbed};
use weir_tests::flow::Transport;
use weir_tests::frames::{SYN, TCP, V4, ethernet, extension, tagged, tcp, v6};
use weir_tests::kernel_path::{KernelPath, ONE_EPOCH};
use weir_tests::netns::Netns;
use weir_tests::rig::{Bound, Pace, Sources};
use weir_tests::root::require_root;
use weir_tests::weir::{Place, Weir};

const PORT: u16 = 8_080;
const SERVER4: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
const SERVER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const XDP_TX: u32 = 3;

/// No budget but for cookies.
fn load(rule_flags: u64) -> Result<KernelPath> {
    let kernel = KernelPath::small()?;
    let rules = Rules {
        flags: flags::SYN_COOKIES | rule_flags,
        cookies_per_tick: 1_000,
        epoch_shift: ONE_EPOCH,
        ..Rules::default()
    };
    let wanted =
        Wanted { rules, ports: vec![PortCell::tcp(PORT)], own: vec![SERVER6.into()], ..Wanted::default() };
    kernel.maps.apply(&wanted, 99)?;
    Ok(kernel)
}

/// A SYN with the options given, which fill whole words.
fn syn(options: &[u8]) -> Vec<u8> {
    let mut header = tcp(PORT, SYN);
    header[12] = u8::try_from((20 + options.len()) / 4 * 16).expect("at most 60 bytes");
    header.extend(options);
    header
}

fn v4_syn(options: &[u8]) -> Vec<u8> {
    let header = V4 {
        source: Ipv4Addr::new(198, 51, 100, 7),
        destination: SERVER4,
        protocol: TCP,
        fragment: 0,
        option_words: 0,
    };
    header.bytes(&syn(options))
}

fn v6_syn(options: &[u8]) -> Vec<u8> {
    v6(Ipv6Addr::new(0x2001, 0xdb8, 7, 0, 0, 0, 0, 7), SERVER6, TCP, &syn(options))
}

/// Ones' complement sum over words of the wire; a right checksum makes it 0.
fn checked(parts: &[&[u8]]) -> u16 {
    let bytes = parts.concat();
    let sum: u32 = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum & 0xffff) + (sum >> 16)) as u16
}

#[test]
fn a_syn_beyond_the_budget_becomes_its_answer() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let mut kernel = load(0)?;
    const SEGMENT_1460: [u8; 4] = [2, 4, 0x05, 0xb4];
    let linux = [&SEGMENT_1460[..], &[4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7]].concat();
    // The listeners' own first.
    assert_eq!(kernel.run(&ethernet(0x0800, &v4_syn(&linux)))?, XDP_PASS);
    assert_eq!(kernel.run(&ethernet(0x86dd, &v6_syn(&linux)))?, XDP_PASS);
    for options in [&[][..], &SEGMENT_1460, &linux, &[1; 40]] {
        for (name, frame, network) in [
            ("v4", ethernet(0x0800, &v4_syn(options)), 14),
            ("v4, tagged", ethernet(0x8100, &tagged(0x0800, &v4_syn(options))), 18),
            ("v4, two tags", ethernet(0x88a8, &tagged(0x8100, &tagged(0x0800, &v4_syn(options)))), 22),
            ("v6", ethernet(0x86dd, &v6_syn(options)), 14),
            ("v6, tagged", ethernet(0x8100, &tagged(0x86dd, &v6_syn(options))), 18),
        ] {
            let name = format!("{name}, {} bytes of options", options.len());
            let (action, answer) = kernel.run_changed(&frame)?;
            assert_eq!(action, XDP_TX, "{name}");
            assert_eq!((&answer[..6], &answer[6..12]), (&frame[6..12], &frame[..6]), "{name}");
            assert_eq!(answer[12..network], frame[12..network], "{name}: the tags");
            let packet = &answer[network..];
            let (header, pseudo) = if packet[0] >> 4 == 4 {
                assert_eq!(checked(&[&packet[..20]]), 0, "{name}");
                (20, [&packet[12..20], &[0, 6, 0, 24]].concat())
            } else {
                (40, [&packet[8..40], &[0, 6, 0, 24]].concat())
            };
            assert_eq!(answer.len(), network + header + 24, "{name}");
            let tcp = &packet[header..];
            assert_eq!(checked(&[&pseudo, tcp]), 0, "{name}");
            let asked = &frame[network + header..];
            assert_eq!((&tcp[..2], &tcp[2..4]), (&asked[2..4], &asked[..2]), "{name}: the ports");
            assert_eq!(tcp[8..12], 2_u32.to_be_bytes(), "{name}: the SYN's number and one");
            assert_eq!(tcp[13], 0x12, "{name}");
        }
    }
    Ok(())
}

#[test]
fn what_cannot_be_answered_is_left_as_it_is() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let with_options = V4 {
        source: Ipv4Addr::new(198, 51, 100, 7),
        destination: SERVER4,
        protocol: TCP,
        fragment: 0,
        option_words: 1,
    };
    let source = Ipv6Addr::new(0x2001, 0xdb8, 7, 0, 0, 0, 0, 7);
    let extended = v6(source, SERVER6, 60, &extension(TCP, 0, &syn(&[])));
    let plain = ethernet(0x0800, &v4_syn(&[]));
    for (name, rule_flags, action, frame) in [
        ("IPv4 options", 0, XDP_DROP, ethernet(0x0800, &with_options.bytes(&syn(&[])))),
        ("extension headers", 0, XDP_DROP, ethernet(0x86dd, &extended)),
        ("observing", flags::OBSERVE, XDP_PASS, plain.clone()),
        ("routed packets", flags::FORWARDED, XDP_DROP, plain),
    ] {
        let mut kernel = load(rule_flags)?;
        for _ in 0..3 {
            assert_eq!(kernel.run_changed(&frame)?, (action, frame.clone()), "{name}");
        }
    }
    Ok(())
}

#[test]
fn cookies_have_a_budget_of_their_own() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let mut kernel = load(0)?;
    // One tick, longer than any test.
    let rules = Rules { cookies_per_tick: 3, tick_shift: 63, ..kernel.maps.rules()? };
    kernel.maps.apply(&Wanted { rules, ports: vec![PortCell::tcp(PORT)], ..Wanted::default() }, 99)?;
    let frame = ethernet(0x0800, &v4_syn(&[]));
    let actions =
        kernel.on_one_cpu(|kernel| (0..6).map(|_| kernel.run(&frame)).collect::<Result<Vec<_>>>())?;
    assert_eq!(actions, [XDP_PASS, XDP_TX, XDP_TX, XDP_DROP, XDP_DROP, XDP_DROP]);
    Ok(())
}

/// Under a flood that leaves little of the budgets: without cookies nearly all of them lose a SYN.
#[test]
fn newcomers_come_in_at_once_under_a_syn_flood() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    const NEWCOMERS: u8 = 20;
    let ground = Ground::new()?;
    let testbed = Testbed::new(&ground)?;
    for host in 100..100 + NEWCOMERS {
        ground.sender.ip(&format!("addr add {}/24 dev g0", testbed.wire.v4(host)))?;
        ground
            .sender
            .ip(&format!("addr add {}/64 dev g0 nodad", neighbour_of(testbed.wire.v6(host), host)))?;
    }
    let weir =
        ground.server.run(|| Weir::start(|_| config("s0", "native", "syn = \"1/s\", tcp = \"1/s\"")))?;
    for (family, sources) in [(Family::V4, Sources::Millions), (Family::V6, Sources::Millions)] {
        let flood = Flood { family, transport: Transport::Syn, sources };
        let mut generator = testbed.generator(flood)?;
        let server = SocketAddr::new(testbed.server_address(family), TCP_PORT);
        let took = std::thread::scope(|scope| -> Result<Vec<Duration>> {
            let bound = Bound { frames: u64::MAX, time: Duration::from_secs(3) };
            let flooding = scope.spawn(move || generator.send(bound, Pace::PerSecond(100_000)));
            let took = ground.sender.run(|| {
                (100..100 + NEWCOMERS)
                    .map(|host| {
                        let from: IpAddr = match family {
                            Family::V4 => testbed.wire.v4(host).into(),
                            Family::V6 => neighbour_of(testbed.wire.v6(host), host).into(),
                        };
                        connect_from(from, server).with_context(|| format!("{from}"))
                    })
                    .collect()
            });
            flooding.join().expect("the flood's thread")?;
            took
        })?;
        // A SYN that is lost comes again after a second.
        let slow = took.iter().filter(|took| **took > Duration::from_millis(900)).count();
        assert_eq!(slow, 0, "{family:?}: {took:?}");
    }
    let metrics = ground.server.run(|| weir.metrics())?;
    let counted = |verdict: &str| -> Result<u64> {
        let label = format!("verdict=\"{verdict}\"");
        let line = metrics.lines().find(|line| line.contains(&label));
        let line = line.with_context(|| format!("no {verdict} in {metrics}"))?;
        Ok(line.rsplit(' ').next().context("a value")?.parse()?)
    };
    assert!(counted("cookie_sent")? > 10_000, "the flood is answered too");
    assert!(counted("cookie_returned")? > 2, "somebody came in by one");
    let listener = counted("listener_syn")?;
    assert!((1..=20).contains(&listener), "one a listener and some seconds: {listener}");
    Ok(())
}

/// A /64 of its own for each host: neighbours in one are the same client.
fn neighbour_of(address: Ipv6Addr, host: u8) -> Ipv6Addr {
    let [a, b, _, _, rest @ ..] = address.segments();
    let [e, f, g, h] = rest;
    Ipv6Addr::new(a, b, 0x77, u16::from(host), e, f, g, h)
}

/// The time that a handshake takes.
fn connect_from(from: IpAddr, server: SocketAddr) -> Result<Duration> {
    let socket = Socket::new(Domain::for_address(server), Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(from, 0).into())?;
    let began_ns = now_ns();
    socket.connect_timeout(&server.into(), Duration::from_secs(5))?;
    let stream = TcpStream::from(socket);
    ensure!(stream.peer_addr()? == server);
    Ok(Duration::from_nanos(now_ns() - began_ns))
}

fn config(interface: &str, mode: &str, unproved: &str) -> String {
    format!(
        "[[listener]]\naddress = \"0.0.0.0:{TCP_PORT}\"\n[[listener]]\naddress = \"[::]:{TCP_PORT}\"\n[[api]]\nname = \"a\"\nlisten_path = \"/\"\nrespond = {{ status = 200, body = \"hello\" }}\n[kernel]\ninterfaces = [\"{interface}\"]\nmode = \"{mode}\"\nclients = 4096\nsyn_cookies = true\nunproved = {{ {unproved} }}\n"
    )
}

#[test]
fn the_kernels_setting_is_put_back() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    Netns::new("sysctl")?.run(|| {
        let setting =
            || anyhow::Ok(std::fs::read_to_string("/proc/sys/net/ipv4/tcp_syncookies")?.trim().to_owned());
        std::fs::write("/proc/sys/net/ipv4/tcp_syncookies", "0")?;
        let detach = |place: &Place| -> Result<()> {
            let output = place.command(&["xdp", "detach"])?;
            ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            Ok(())
        };
        let mut weir = Weir::start(|_| config("lo", "generic", "syn = \"1000/s\""))?;
        assert_eq!(setting()?, "2", "while it runs");
        weir.stop()?;
        assert_eq!(setting()?, "0", "after a clean end");

        weir.start_again()?;
        assert_eq!(setting()?, "2", "again");
        let gateway = weir.gateway_pid().context("a gateway")?;
        weir.signal(Signal::SIGKILL)?;
        weir.wait(Duration::from_secs(10))?;
        weir_tests::wait::wait_for("the gateway's end", Duration::from_secs(10), || {
            (!std::path::Path::new(&format!("/proc/{gateway}")).exists()).then_some(())
        })?;
        assert_eq!(setting()?, "2", "nobody was there to put it back");
        detach(&weir.place)?;
        assert_eq!(setting()?, "0", "after detach, the keeper dead");

        weir.start_again()?;
        std::fs::write("/proc/sys/net/ipv4/tcp_syncookies", "1")?;
        weir.stop()?;
        assert_eq!(setting()?, "1", "what others set since stays");

        weir.start_again()?;
        detach(&weir.place)?;
        assert_eq!(setting()?, "1", "detached while it runs");
        assert!(weir.stop()?.success(), "nothing is left to put back, and that is no failure");
        Ok(())
    })
}
