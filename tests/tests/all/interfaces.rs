//! Living with others: interfaces and addresses that come and go, interfaces that other programs have,
//! and those on which the program would be of no use.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use serde_json::Value;
use weir::plane::now_ns;
use weir_tests::http::Connection;
use weir_tests::netns::{Netns, run};
use weir_tests::rig::{Program, Sink};
use weir_tests::root::require_root;
use weir_tests::wait::{let_pass, wait_for};
use weir_tests::weir::{Place, Weir};
use weir_tests::wire::{End, Wire};

const SOON: Duration = Duration::from_secs(10);
/// News are heard, not asked for: well within the shortest turn of asking.
const AT_ONCE: Duration = Duration::from_millis(1_500);
const GIVE_UP: Duration = Duration::from_millis(300);

/// Weir's namespace and a client's, joined when a test says so.
struct Hosts {
    here: Netns,
    there: Netns,
}

impl Hosts {
    fn new() -> Result<Self> {
        Ok(Self { here: Netns::new("here")?, there: Netns::new("there")? })
    }

    /// `w{number}` here, `x{number}` there.
    fn join(&self, number: u8) -> Result<Wire> {
        let (w, x) = (format!("w{number}"), format!("x{number}"));
        let here = End { netns: &self.here, interface: &w, host: 1 };
        Wire::join(number, here, End { netns: &self.there, interface: &x, host: 2 })
    }

    /// A weir here that drops what the client sends to it, and nothing else: who is answered was not judged.
    fn weir(&self, kernel: &str) -> Result<Weir> {
        let place = Place::new()?;
        place.write_config(&config(&place, kernel))?;
        self.here.run(|| Weir::start_at(place))
    }

    /// Whether the client is answered at an address of weir's.
    fn is_answered(&self, weir: &Weir, address: Ipv4Addr) -> Result<bool> {
        let server = SocketAddr::from((address, weir.place.port));
        self.there.run(|| Ok(Connection::open_within(server, GIVE_UP).is_ok()))
    }

    /// An address is protected a moment after it came.
    fn wait_denied(&self, weir: &Weir, address: Ipv4Addr) -> Result<()> {
        let is_denied = || self.is_answered(weir, address).ok().filter(|is_answered| !is_answered);
        wait_for(format!("{address} protected"), AT_ONCE, is_denied).map(drop)
    }
}

fn config(place: &Place, kernel: &str) -> String {
    format!(
        "[[listener]]\naddress = \"0.0.0.0:{}\"\n[[api]]\nname = \"a\"\nlisten_path = \"/\"\nrespond = {{ status = 200 }}\n[kernel]\nclients = 4096\ndeny = [\"10.77.0.0/16\", \"10.78.0.2/32\"]\nguard_own_addresses = false\n{kernel}\n",
        place.port
    )
}

/// What became of an interface, and why, as `weir status` has it.
fn row(weir: &Weir, name: &str) -> Result<(String, String)> {
    let rows = weir.status("/kernel/interfaces")?;
    let row = rows.as_array().into_iter().flatten().find(|row| row["name"] == name);
    let row = row.with_context(|| format!("no row {name}: {rows}"))?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok((text(&row["mode"]), text(&row["why"])))
}

#[track_caller]
fn check_row(weir: &Weir, name: &str, mode: &str, why: &str) {
    let (found, reason) = row(weir, name).expect("a row");
    assert_eq!(found, mode, "{name}: {reason}");
    assert!(reason.contains(why), "{name}: wanted {why:?}, got {reason:?}");
}

/// Waits until `name` is `mode`, and answers why.
fn wait_row(weir: &Weir, name: &str, mode: &str, deadline: Duration) -> Result<String> {
    let found = || row(weir, name).ok().filter(|(found, _)| found == mode).map(|(_, why)| why);
    wait_for(format!("{name} {mode}"), deadline, found).with_context(|| weir.output())
}

#[test]
fn an_interface_that_is_not_there_is_waited_for_and_comes_back() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let hosts = Hosts::new()?;
    let weir = hosts.weir("mode = \"native\"\ninterfaces = [\"w7\"]")?;
    assert_eq!(weir.status("/kernel/mode")?, "unattached");
    check_row(&weir, "w7", "waiting", "no such interface yet");
    assert!(weir.output().contains("no such interface yet"), "{}", weir.output());
    let metrics = hosts.here.run(|| weir.metrics())?;
    assert!(metrics.contains("weir_kernel_interfaces{state=\"waiting\"} 1"), "{metrics}");
    assert!(metrics.contains("weir_kernel_mode{mode=\"unattached\"} 1"), "{metrics}");

    for _ in 0..2 {
        let wire = hosts.join(7)?;
        wait_row(&weir, "w7", "native", AT_ONCE)?;
        assert_eq!(weir.status("/kernel/mode")?, "native");
        hosts.wait_denied(&weir, wire.v4(1))?;
        let told = weir.json(&["xdp", "status", "--json"])?;
        assert!(told.is_array(), "{told}");
        hosts.here.ip("link del w7")?;
        wait_row(&weir, "w7", "waiting", AT_ONCE)?;
    }
    Ok(())
}

#[test]
fn patterns_find_what_comes_and_follow_what_is_renamed() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let hosts = Hosts::new()?;
    let weir = hosts.weir("mode = \"native\"\ninterfaces = [\"w*\"]")?;
    check_row(&weir, "w*", "waiting", "no interface has such a name yet");
    let wire = hosts.join(7)?;
    wait_row(&weir, "w7", "native", AT_ONCE)?;
    hosts.join(8)?;
    wait_row(&weir, "w8", "native", AT_ONCE)?;
    hosts.here.ip("link set w7 down")?;
    hosts.here.ip("link set w7 name w9")?;
    hosts.here.ip("link set w9 up")?;
    wait_row(&weir, "w9", "native", AT_ONCE)?;
    assert!(row(&weir, "w7").is_err(), "one name each");
    hosts.wait_denied(&weir, wire.v4(1))?;
    let pins = weir.place.pins();
    assert!(pins.join("link_xdp_w9").exists() && !pins.join("link_xdp_w7").exists());
    Ok(())
}

#[test]
fn an_address_that_comes_is_protected_at_once() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let hosts = Hosts::new()?;
    hosts.join(7)?;
    let weir = hosts.weir("mode = \"native\"\ninterfaces = [\"w7\"]")?;
    hosts.there.ip("addr add 10.78.0.2/24 dev x7")?;
    hosts.here.ip("addr add 10.78.0.1/24 dev w7")?;
    hosts.wait_denied(&weir, Ipv4Addr::new(10, 78, 0, 1))
}

#[test]
fn lost_news_are_made_up_for() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let hosts = Hosts::new()?;
    hosts.join(7)?;
    let weir = hosts.weir("mode = \"native\"\ninterfaces = [\"w7\", \"w8\"]")?;
    hosts.there.ip("addr add 10.78.0.2/24 dev x7")?;
    let batch = weir.place.folder().join("batch");
    let mut lines = "addr add 10.79.0.1/32 dev w7\naddr del 10.79.0.1/32 dev w7\n".repeat(1_500);
    lines.push_str("addr add 10.78.0.1/24 dev w7\n");
    std::fs::write(&batch, lines)?;
    kill(weir.pid(), Signal::SIGSTOP)?;
    let ended = run(&["ip", "-n", hosts.here.name(), "-batch", batch.to_str().context("a path")?]);
    let joined = hosts.join(8);
    kill(weir.pid(), Signal::SIGCONT)?;
    ended?;
    let wire = joined?;
    wait_row(&weir, "w8", "native", AT_ONCE)?;
    let is_said = || weir.output().contains("were lost").then_some(());
    wait_for("a word of the socket's overrun", AT_ONCE, is_said).with_context(|| weir.output())?;
    hosts.wait_denied(&weir, wire.v4(1))?;
    hosts.wait_denied(&weir, Ipv4Addr::new(10, 78, 0, 1))?;
    Ok(())
}

/// How often the keeper went to sleep.
fn slept(weir: &Weir) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", weir.pid()))?;
    let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    count.and_then(|count| count.trim().parse().ok()).context("a count of switches")
}

/// A second in which the keeper is awake a few times at most: news that are still under way may take
/// the first ones, a keeper that goes round and round has none.
fn an_idle_second(weir: &Weir) -> Result<()> {
    let mut counts = Vec::new();
    for _ in 0..5 {
        let before = slept(weir)?;
        let_pass(Duration::from_secs(1));
        let idle = slept(weir)? - before;
        if idle <= 5 {
            return Ok(());
        }
        counts.push(idle);
    }
    bail!("awake {counts:?} times in seconds that should have been idle")
}

#[test]
fn the_keeper_sleeps_and_a_storm_of_news_is_a_few_readings() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let hosts = Hosts::new()?;
    hosts.join(7)?;
    // One interface has its own program and one is not there: nothing to be done again and again for them.
    hosts.join(8)?;
    let _sink = Sink::attach(End { netns: &hosts.here, interface: "w8", host: 1 }, Program::Pass)?;
    let weir = hosts.weir("interfaces = [\"w7\", \"w8\", \"w9\"]")?;
    an_idle_second(&weir).context("before the storm")?;

    let lines = "addr add 10.79.0.1/32 dev w7\naddr del 10.79.0.1/32 dev w7\n".repeat(10_000);
    let batch = weir.place.folder().join("batch");
    std::fs::write(&batch, lines)?;
    let (began_ns, before) = (now_ns(), slept(&weir)?);
    run(&["ip", "-n", hosts.here.name(), "-batch", batch.to_str().context("a path")?])?;
    let (times, lasted_ms) = (slept(&weir)? - before, (now_ns() - began_ns) / 1_000_000);
    println!("slept {times} times while 20,000 news came in {lasted_ms} ms");
    // A rest, a wait for news and what a reading waits for, a tenth of a second each round.
    assert!(times <= 10 + lasted_ms / 100 * 4, "slept {times} times in {lasted_ms} ms");
    an_idle_second(&weir).context("after the storm")
}

#[test]
fn a_taken_interface_is_named_and_taken_over_when_it_is_free() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let hosts = Hosts::new()?;
    let (taken, free) = (hosts.join(7)?, hosts.join(8)?);
    let sink = Sink::attach(End { netns: &hosts.here, interface: "w7", host: 1 }, Program::Pass)?;
    let weir = hosts.weir("mode = \"native\"\ninterfaces = [\"w7\", \"w8\"]")?;
    check_row(&weir, "w7", "taken", "taken by program \"pass\" (id ");
    check_row(&weir, "w7", "taken", "bpftool link detach id");
    check_row(&weir, "w8", "native", "");
    assert!(weir.output().contains("taken by program"), "{}", weir.output());
    assert!(weir.status("/kernel/why")?.to_string().contains("w7 is taken"));
    assert!(hosts.is_answered(&weir, taken.v4(1))?, "nobody judges there");
    assert!(!hosts.is_answered(&weir, free.v4(1))?, "the other goes on");
    drop(sink);
    // The end of a link is no news; any news will do.
    hosts.here.ip("link set w7 alias free")?;
    wait_row(&weir, "w7", "native", AT_ONCE)?;
    assert!(!hosts.is_answered(&weir, taken.v4(1))?);
    Ok(())
}

#[test]
fn what_was_taken_off_by_hand_stays_off() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let hosts = Hosts::new()?;
    let (first, second) = (hosts.join(7)?, hosts.join(8)?);
    let mut weir = hosts.weir("mode = \"native\"\ninterfaces = [\"w7\", \"w8\"]")?;
    let detached = hosts.here.run(|| weir.json(&["xdp", "detach", "w7", "--json"]))?;
    assert_eq!(detached["everything"], false);
    hosts.here.ip("link set w7 alias news")?;
    let why = wait_row(&weir, "w7", "detached", AT_ONCE)?;
    assert!(why.contains("by hand"), "{why}");
    check_row(&weir, "w8", "native", "");
    hosts.here.ip("link del w7")?;
    hosts.join(7)?;
    wait_row(&weir, "w7", "detached", AT_ONCE)?;
    assert!(hosts.is_answered(&weir, first.v4(1))?);
    assert!(!hosts.is_answered(&weir, second.v4(1))?);
    let stopped = weir.stop()?;
    assert!(stopped.success());
    hosts.here.run(|| weir.start_again())?;
    check_row(&weir, "w7", "native", "");
    assert!(!hosts.is_answered(&weir, first.v4(1))?);
    Ok(())
}

/// `s7` here, which stands on w7, has 10.78.0.1, and is reached from 10.78.0.2. False: this kernel has no such kind.
fn stand_on_w7(hosts: &Hosts, kind: &str) -> Result<bool> {
    let of_kind = |netns: &Netns, card: &str, name: &str| {
        let id = if kind == "vlan" { " id 5" } else { "" };
        netns.ip(&format!("link add link {card} name {name} type {kind}{id}"))
    };
    if let Err(error) = of_kind(&hosts.here, "w7", "s7") {
        println!("skipped {kind}: {error}");
        return Ok(false);
    }
    // Else this host answers for the address on w7 too.
    hosts.here.run(|| run(&["sysctl", "-q", "-w", "net.ipv4.conf.w7.arp_ignore=1"]))?;
    let there = if kind == "vlan" { "s7" } else { "x7" };
    if kind == "vlan" {
        of_kind(&hosts.there, "x7", there)?;
    }
    for (netns, name, host) in [(&hosts.here, "s7", 1), (&hosts.there, there, 2)] {
        netns.ip(&format!("addr add 10.78.0.{host}/24 dev {name}"))?;
        netns.ip(&format!("link set {name} up"))?;
    }
    Ok(true)
}

#[test]
fn each_packet_is_judged_once_and_as_early_as_may_be() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let hosts = Hosts::new()?;
    let wire = hosts.join(7)?;
    hosts.join(8)?;
    assert!(stand_on_w7(&hosts, "macvlan")?);
    hosts.here.ip("link add br0 type bridge")?;
    hosts.here.ip("link set w8 master br0")?;
    hosts.here.ip("link set br0 up")?;
    hosts.here.ip("link add vx0 type vxlan id 9 remote 10.77.7.2 dstport 4789 dev w7")?;
    hosts.here.ip("link set vx0 up")?;
    hosts.here.ip("tuntap add tun0 mode tun")?;
    let names = "[\"w7\", \"s7\", \"w8\", \"br0\", \"vx0\", \"tun0\", \"lo\"]";
    let weir = hosts.weir(&format!("interfaces = {names}"))?;
    check_row(&weir, "w7", "native", "");
    check_row(&weir, "s7", "covered", "w7 sees its packets first");
    check_row(&weir, "w8", "native", "");
    check_row(&weir, "br0", "covered", "(w8)");
    for without_native in ["vx0", "lo"] {
        check_row(
            &weir,
            without_native,
            "generic",
            "\"Underlying driver does not support XDP in native mode\"",
        );
    }
    check_row(&weir, "tun0", "left", "no Ethernet frames");
    assert_eq!(weir.status("/kernel/mode")?, "generic", "the slowest");
    assert!(!hosts.is_answered(&weir, wire.v4(1))?);
    assert!(!hosts.is_answered(&weir, Ipv4Addr::new(10, 78, 0, 1))?, "on what stands on it too");
    let told = hosts.here.run(|| weir.json(&["xdp", "status", "--json"]))?;
    let of = |name: &str| told.as_array().into_iter().flatten().find(|row| row["interface"] == name);
    assert_eq!(of("s7").map(|row| row["mode"].clone()), Some("covered".into()), "{told}");
    Ok(())
}

#[test]
fn what_stands_on_a_card_is_judged_in_the_stack_with_a_better_way_said() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    for kind in ["macvlan", "vlan"] {
        let hosts = Hosts::new()?;
        hosts.join(7)?;
        if !stand_on_w7(&hosts, kind)? {
            continue;
        }
        let weir = hosts.weir("interfaces = [\"s7\"]")?;
        check_row(&weir, "s7", "generic", "name w7 instead");
        assert!(!hosts.is_answered(&weir, Ipv4Addr::new(10, 78, 0, 1))?);
    }
    Ok(())
}

#[test]
fn frames_larger_than_a_page_need_no_smaller_mtu() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let hosts = Hosts::new()?;
    let wire = hosts.join(7)?;
    hosts.here.ip("link set w7 mtu 9000")?;
    hosts.there.ip("link set x7 mtu 9000")?;
    let kernel = "mode = \"native\"\ninterfaces = [\"w7\"]\nprotect = [\"udp/9\"]";
    let weir = hosts.weir(kernel)?;
    check_row(&weir, "w7", "native", "");
    hosts.there.run(|| {
        let socket = std::net::UdpSocket::bind((wire.v4(2), 0))?;
        anyhow::ensure!(socket.send_to(&[0; 8_000], (wire.v4(1), 9))? == 8_000);
        Ok(())
    })?;
    let denied = || {
        let rows = weir.status("/kernel/packets").ok()?;
        rows.as_array()?.iter().find(|row| row["verdict"] == "denied")?["bytes"].as_u64()
    };
    wait_for("the datagram counted whole", SOON, || denied().filter(|bytes| *bytes >= 8_000))?;
    hosts.here.ip("link set w7 mtu 1500")?;
    hosts.here.ip("link set w7 mtu 9000")?;
    check_row(&weir, "w7", "native", "");
    Ok(())
}

#[test]
fn a_driver_that_refuses_is_quoted_and_stands_back_to_generic() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let hosts = Hosts::new()?;
    let (here, there) = (hosts.here.name(), hosts.there.name());
    // Native XDP of a veth wants a receive queue for each of the peer's transmit queues.
    let pair = "w7 numrxqueues 1 numtxqueues 1 type veth peer name x7 numrxqueues 2 numtxqueues 2";
    hosts.here.ip(&format!("link add {pair} netns {there}"))?;
    for (netns, name, host) in [(&hosts.here, "w7", 1), (&hosts.there, "x7", 2)] {
        netns.ip(&format!("addr add 10.77.7.{host}/24 dev {name}"))?;
        netns.ip(&format!("link set {name} up"))?;
    }
    let weir = hosts.weir("interfaces = [\"w7\"]")?;
    check_row(&weir, "w7", "generic", "the kernel says \"veth: XDP expects number of rx queues");
    assert!(!hosts.is_answered(&weir, Ipv4Addr::new(10, 77, 7, 1))?, "judged all the same");
    drop(weir);
    let place = Place::new()?;
    place.write_config(&config(&place, "mode = \"native\"\ninterfaces = [\"w7\"]"))?;
    let output = hosts.here.run(|| place.command(&["run"]))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("w7 cannot do native XDP (the kernel says"), "{said}");
    let left = run(&["ip", "-n", here, "link", "show", "w7"])?;
    assert!(!left.contains("xdp"), "asking why left nothing behind: {left}");
    Ok(())
}

/// Pins as libxdp's protocol lays them out: `dispatch-IFINDEX-ID` with a `progN-prog` for each program.
struct Dispatcher(PathBuf);

impl Dispatcher {
    fn of(end: End<'_>, sink: &mut Sink) -> Result<Self> {
        let pins = Path::new("/sys/fs/bpf/xdp");
        let folder = pins.join(format!("dispatch-{}-{}", end.ifindex()?, sink.id(Program::Pass)?));
        std::fs::create_dir_all(&folder)?;
        let dispatcher = Self(folder);
        sink.pin(Program::Pass, &dispatcher.0.join("prog0-prog"))?;
        Ok(dispatcher)
    }
}

impl Drop for Dispatcher {
    fn drop(&mut self) {
        for gone in [std::fs::remove_file(self.0.join("prog0-prog")), std::fs::remove_dir(&self.0)] {
            gone.unwrap_or_else(|error| eprintln!("left behind: {}: {error}", self.0.display()));
        }
        // It may be somebody's: only an empty one goes.
        std::fs::remove_dir("/sys/fs/bpf/xdp").unwrap_or(());
    }
}

#[test]
fn libxdps_dispatcher_is_known_by_its_pins() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let hosts = Hosts::new()?;
    hosts.join(7)?;
    let end = End { netns: &hosts.here, interface: "w7", host: 1 };
    let mut sink = Sink::attach(end, Program::Pass)?;
    let _dispatcher = Dispatcher::of(end, &mut sink)?;
    let place = Place::new()?;
    place.write_config(&config(&place, "mode = \"native\"\ninterfaces = [\"w7\"]"))?;
    let output = hosts.here.run(|| place.command(&["run"]))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("libxdp's dispatcher of pass"), "{said}");
    assert!(said.contains("xdp-loader unload w7 --all"), "{said}");
    Ok(())
}

#[test]
fn status_says_what_became_of_each_interface() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let hosts = Hosts::new()?;
    hosts.join(7)?;
    let mut weir = hosts.weir("interfaces = [\"w7\", \"w9\"]")?;
    let said = String::from_utf8(weir.command(&["status"])?.stdout)?;
    assert!(said.contains("w7 (native)\n"), "{said}");
    assert!(said.contains("w9 (waiting): there is no such interface yet"), "{said}");
    weir.stop()?;
    let xdp = || hosts.here.run(|| Ok(String::from_utf8(weir.command(&["xdp", "status"])?.stdout)?));
    let said = xdp()?;
    assert!(
        said.contains("w7               native\n") && said.contains("w9               waiting"),
        "{said}"
    );
    hosts.here.ip("link del w7")?;
    let said = xdp()?;
    assert!(said.contains("w7               waiting    it is not there any more"), "{said}");
    Ok(())
}
