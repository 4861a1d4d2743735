//! Aggregates of a running Weir, with packets of real hosts on a wire.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use weir_tests::http::Connection;
use weir_tests::netns::Netns;
use weir_tests::pinned::shorten_epochs;
use weir_tests::rig::{Program, Sink};
use weir_tests::root::require_root;
use weir_tests::stack::sent_again;
use weir_tests::wait::{let_pass, wait_for};
use weir_tests::weir::Weir;
use weir_tests::wire::{End, Wire};

const TCP_PORT: u16 = 8_080;
const UDP_PORT: u16 = 9_100;
const OTHER_PORT: u16 = 9_101;
const SOON: Duration = Duration::from_secs(5);
/// A receiver that hears nothing for so long has heard all.
const QUIET: Duration = Duration::from_millis(200);
/// Datagrams of a client, more than any limit here.
const MANY: u64 = 80;
const BURST: u64 = 30;
/// What ten a minute give back in the seconds of a test.
const REFILLED: u64 = 3;

/// Two hosts on a wire, one of many addresses.
struct Hosts {
    clients: Netns,
    server: Netns,
}

impl Hosts {
    fn new() -> Result<Self> {
        Ok(Self { clients: Netns::new("many")?, server: Netns::new("one")? })
    }

    /// The server's addresses.
    fn join(&self, addresses: &[&str]) -> Result<[IpAddr; 2]> {
        let many = End { netns: &self.clients, interface: "g0", host: 1 };
        let one = End { netns: &self.server, interface: "s0", host: 2 };
        let wire = Wire::join(7, many, one)?;
        self.server.ip(&format!("-4 route add default via {} dev s0", wire.v4(1)))?;
        self.server.ip(&format!("-6 route add default via {} dev s0", wire.v6(1)))?;
        for address in addresses {
            let nodad = if address.contains(':') { "nodad" } else { "" };
            self.clients.ip(&format!("addr add {address} dev g0 {nodad}"))?;
        }
        Ok(wire.addresses(2))
    }

    /// Finishes a handshake from each address.
    fn prove(&self, server: IpAddr, addresses: &[&str]) -> Result<()> {
        self.clients.run(|| {
            for address in addresses {
                let mut connection =
                    Connection::open_from(address.parse()?, SocketAddr::new(server, TCP_PORT))
                        .with_context(|| format!("from {address}"))?;
                assert_eq!(connection.get("/", "")?.status, 200, "{address}");
            }
            Ok(())
        })
    }

    /// Sends [`MANY`] datagrams from an address.
    fn send(&self, from: &str, server: IpAddr, port: u16) -> Result<()> {
        self.clients.run(|| {
            let socket = UdpSocket::bind((from.parse::<IpAddr>()?, 0))?;
            for _ in 0..MANY {
                socket.send_to(b"?", (server, port))?;
            }
            Ok(())
        })
    }

    fn listen(&self, server: IpAddr, port: u16) -> Result<UdpSocket> {
        let socket = self.server.run(|| Ok(UdpSocket::bind((server, port))?))?;
        socket.set_read_timeout(Some(QUIET))?;
        Ok(socket)
    }

    /// Packets by verdict.
    fn counted(&self, weir: &Weir, verdict: &str) -> Result<u64> {
        let metrics = self.server.run(|| weir.metrics())?;
        let label = format!("weir_kernel_packets_total{{verdict=\"{verdict}\"");
        let counts = metrics.lines().filter(|line| line.starts_with(&label));
        Ok(counts.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum())
    }
}

/// Datagrams that arrived, by who sent them.
fn heard(socket: &UdpSocket) -> Result<BTreeMap<IpAddr, u64>> {
    let mut counts = BTreeMap::new();
    loop {
        match socket.recv_from(&mut [0; 16]) {
            Ok((_, from)) => *counts.entry(from.ip()).or_default() += 1,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(counts)
}

#[track_caller]
fn check(heard: &BTreeMap<IpAddr, u64>, whose: &[&str], wanted: u64) {
    let of = |address: &&str| heard.get(&address.parse().expect("an address")).copied().unwrap_or(0);
    let sum: u64 = whose.iter().map(of).sum();
    let least = wanted.min(MANY * whose.len() as u64);
    assert!((least..=least + REFILLED).contains(&sum), "{whose:?}: {sum} and not {wanted} of {heard:?}");
}

fn config(limits: &str, kernel: &str) -> String {
    format!(
        "[[listener]]\naddress = \"0.0.0.0:{TCP_PORT}\"\n[[listener]]\naddress = \"[::]:{TCP_PORT}\"\n\
         [[api]]\nname = \"a\"\nlisten_path = \"/\"\nrespond = {{ status = 200, body = \"hello\" }}\n{limits}\
         [kernel]\ninterfaces = [\"s0\"]\nmode = \"native\"\nclients = 4096\n\
         protect = [\"udp/{UDP_PORT}\", \"udp/{OTHER_PORT}\"]\n{kernel}"
    )
}

fn sums() -> String {
    let sum = |name: &str, prefix: &str, burst: u64| {
        format!(
            "[[limit.aggregate]]\nname = \"{name}\"\nprefix = \"{prefix}\"\nport = \"each\"\npackets = {{ rate = \"10/min\", burst = {burst} }}\n"
        )
    };
    let range = |name: &str, prefix: &str, packets: &str| {
        format!(
            "[[override]]\nname = \"{name}\"\nprefixes = [\"{prefix}\"]\n[[override.aggregate]]\nname = \"net\"\n{packets}\n"
        )
    };
    let twice = format!("packets = {{ rate = \"10/min\", burst = {} }}", 2 * BURST);
    [
        sum("net", "v4/24", BURST),
        sum("home", "v6/56", BURST),
        sum("site", "v6/48", BURST + BURST / 2),
        range("carrier", "100.64.0.0/10", &twice),
        range("campus", "172.20.0.0/16", ""),
    ]
    .concat()
}

const NEAR: [&str; 2] = ["10.1.1.1", "10.1.1.2"];
const FAR: &str = "10.1.2.1";
const CARRIER: [&str; 2] = ["100.64.1.1", "100.64.1.2"];
const CAMPUS: [&str; 2] = ["172.20.1.1", "172.20.1.2"];
const ALLOWED: [&str; 2] = ["10.1.3.1", "10.1.3.2"];
const HOME: [&str; 2] = ["2001:db8:1:100::1", "2001:db8:1:1ff::1"];
const SITE: &str = "2001:db8:1:200::1";
const ELSEWHERE: &str = "2001:db8:2::1";

#[test]
fn hosts_of_a_prefix_share_its_limit_and_those_of_shared_ranges_have_another() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let hosts = Hosts::new()?;
    let v4 = [&NEAR[..], &[FAR], &CARRIER, &CAMPUS, &ALLOWED].concat();
    let v6 = [&HOME[..], &[SITE, ELSEWHERE]].concat();
    let [server4, server6] = hosts.join(&[&v4[..], &v6].concat())?;
    let allow = "allow = [\"10.1.3.0/24\"]\n";
    let weir = hosts.server.run(|| Weir::start(|_| config("", allow)))?;
    hosts.prove(server4, &v4)?;
    hosts.prove(server6, &v6)?;
    let listening = [(server4, &v4), (server6, &v6)].map(|(server, clients)| (server, clients, UDP_PORT));
    let send_all = || -> Result<BTreeMap<IpAddr, u64>> {
        let mut all = BTreeMap::new();
        for (server, clients, port) in listening {
            let socket = hosts.listen(server, port)?;
            for client in clients {
                // One by one, or the socket's buffer would be full.
                hosts.send(client, server, port)?;
                all.extend(heard(&socket)?);
            }
        }
        Ok(all)
    };
    let before = send_all()?;
    assert!(
        before.len() == v4.len() + v6.len() && before.values().all(|heard| *heard == MANY),
        "off: {before:?}"
    );

    weir.place.write_config(&config(&sums(), allow))?;
    let report = weir.json(&["reload", "--json"])?;
    assert_eq!(report["waits_for_restart"], serde_json::json!([]), "{report}");
    wait_for("room for the words", SOON, || {
        let ceiling = hosts.server.run(|| weir.status("/memory/ceiling_bytes")).ok()?.as_u64()?;
        let checked = weir.json(&["check", "--json"]).ok()?;
        (checked["memory"]["ceiling_bytes"].as_u64()? == ceiling).then_some(())
    })?;
    let after = send_all()?;
    check(&after, &NEAR, BURST);
    check(&after, &[FAR], BURST);
    check(&after, &CARRIER, 2 * BURST);
    check(&after, &CAMPUS, 2 * MANY);
    check(&after, &ALLOWED, 2 * MANY);
    check(&after, &HOME, BURST);
    check(&after, &[SITE], BURST / 2);
    check(&after, &[ELSEWHERE], BURST);
    let refused = hosts.counted(&weir, "aggregate")?;
    let sent = MANY * (v4.len() + v6.len()) as u64;
    assert_eq!(refused, sent - after.values().sum::<u64>(), "each is counted");

    let explained = weir.json(&["explain", NEAR[1], "--json"])?;
    let word = explained["words"]
        .as_array()
        .and_then(|words| words.iter().find(|word| word["name"] == "aggregate net"));
    let left = word.and_then(|word| word["left"].as_u64()).context("explained")?;
    assert!(left <= REFILLED, "{explained}");
    if left == 0 {
        assert_eq!(explained["conclusion"], "its next packet is dropped by its limit of aggregate net");
    }

    let socket = hosts.listen(server4, OTHER_PORT)?;
    hosts.send(NEAR[0], server4, OTHER_PORT)?;
    check(&heard(&socket)?, &NEAR[..1], BURST);
    Ok(())
}

/// 8 jiffies an epoch, 80 ms at most: whoever was silent for 160 ms is forgotten.
const SHORT: u64 = 3;
const IDLE: Duration = Duration::from_millis(500);
const STRANGERS: u8 = 40;
const GOOD: &str = "10.1.1.1";
const SLEEPER: &str = "10.1.1.2";
/// A SYN is sent again after a second.
const AT_ONCE: Duration = Duration::from_millis(900);

/// Strangers send from a prefix what its limit refuses a hundred times over, and nobody who lives there is
/// harmed: neither who is at work, nor who was silent, nor who comes new.
#[test]
fn a_flood_of_a_prefixs_addresses_harms_none_of_its_clients() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let hosts = Hosts::new()?;
    let strangers: Vec<_> = (100..100 + STRANGERS).map(|host| format!("10.1.1.{host}")).collect();
    let newcomers: Vec<_> = (10..16).map(|host| format!("10.1.1.{host}")).collect();
    let mut addresses: Vec<_> = strangers.iter().chain(&newcomers).map(String::as_str).collect();
    addresses.extend([GOOD, SLEEPER]);
    let [server, _] = hosts.join(&addresses)?;
    // What XDP sends back arrives only where there is a program.
    let many = End { netns: &hosts.clients, interface: "g0", host: 1 };
    let _receives = Sink::attach(many, Program::Pass)?;
    for netns in [&hosts.clients, &hosts.server] {
        // Without probes after two round trips: a busy machine is that late, and nothing is lost by it.
        netns.run(|| Ok(std::fs::write("/proc/sys/net/ipv4/tcp_early_retrans", "0")?))?;
    }
    let sum = "[[limit.aggregate]]\nname = \"net\"\nprefix = \"v4/24\"\npackets = { rate = \"300/s\", burst = 300 }\n";
    let cookies = "syn_cookies = true\nunproved = { udp = \"1000000/s\" }\n";
    let weir = hosts.server.run(|| Weir::start(|_| config(sum, cookies)))?;
    let server_tcp = SocketAddr::new(server, TCP_PORT);
    let open =
        |from: &str| hosts.clients.run(|| Connection::open_from_within(from.parse()?, server_tcp, AT_ONCE));
    let (mut good, mut sleeper) = (open(GOOD)?, open(SLEEPER)?);
    let socket = hosts.listen(server, UDP_PORT)?;
    let sent_again = || Ok::<_, anyhow::Error>(sent_again(&hosts.clients)? + sent_again(&hosts.server)?);
    let (again, connected) = (sent_again()?, hosts.counted(&weir, "connected")?);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| -> Result<()> {
        let flooding = scope.spawn(|| flood(&hosts, &strangers, server, &stop));
        let outcome = (|| {
            wait_for("a spent prefix", SOON, || {
                (hosts.counted(&weir, "aggregate").ok()? > 5_000).then_some(())
            })?;
            for n in 0..40 {
                assert_eq!(good.get("/", "").with_context(|| format!("good, {n}"))?.status, 200);
                let_pass(Duration::from_millis(20));
            }
            for from in &newcomers {
                let mut newcomer = open(from).with_context(|| format!("newcomer {from}"))?;
                assert_eq!(newcomer.get("/", "")?.status, 200);
            }
            shorten_epochs(&weir.place.pins(), SHORT)?;
            for n in 0..3 {
                let_pass(IDLE);
                assert_eq!(sleeper.get("/", "").with_context(|| format!("sleeper, {n}"))?.status, 200);
            }
            Ok(())
        })();
        stop.store(true, Ordering::Relaxed);
        let sent = flooding.join().expect("the flood's thread")?;
        let refused = hosts.counted(&weir, "aggregate")?;
        println!("{sent} datagrams of strangers, {refused} refused by their prefix");
        ensure!(refused > sent / 2, "only {refused} of {sent}: it was no flood");
        outcome
    })?;
    assert_eq!(sent_again()?, again, "a segment had to be sent again");
    let answered = hosts.counted(&weir, "cookie_sent")? + hosts.counted(&weir, "listener_syn")?;
    // One or the other may have found what was just refilled.
    assert!(2 * answered > newcomers.len() as u64, "only {answered} SYNs were beyond their prefix's word");
    assert!(hosts.counted(&weir, "connected")? >= connected + 2, "who is silent is known by his socket");
    drop(socket);
    Ok(())
}

/// Some 20,000 a second; what it sent.
fn flood(hosts: &Hosts, strangers: &[String], server: IpAddr, stop: &AtomicBool) -> Result<u64> {
    hosts.clients.run(|| {
        let bind = |from: &String| Ok(UdpSocket::bind((from.parse::<IpAddr>()?, 0))?);
        let sockets = strangers.iter().map(bind).collect::<Result<Vec<_>>>()?;
        let mut sent = 0;
        while !stop.load(Ordering::Relaxed) {
            for socket in &sockets {
                socket.send_to(b"!", (server, UDP_PORT))?;
                sent += 1;
            }
            let_pass(Duration::from_millis(2));
        }
        Ok(sent)
    })
}
