//! `bench packets`: nanoseconds a packet and microseconds a charge of a running Weir's programs, by
//! test run. The same packet again and again: caches are warm and its entry is hot, so these are the
//! program's costs, not a flood's.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Result, bail, ensure};
use weir::model::ClientKey;
use weir::plane::now_ns;
use weir_ebpf::abi::Word;
use weir_ebpf::gcra::Limit;

use super::median;
use super::report::{Folder, step};
use super::testbed::{Family, Ground, TCP_PORT, Testbed, UDP_PORT};
use crate::flow::{Flow, Transport};
use crate::pinned::{Charge, Packets};
use crate::table::Table;
use crate::weir::Weir;

const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
/// More than any burst of the tight limit, so that its client is over when it is measured.
const WARM_UP: u32 = 50_000;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Runs of each case; the median is told
    #[arg(long, default_value_t = 9)]
    runs: u32,
    /// Packets of each run
    #[arg(long, default_value_t = 500_000)]
    packets: u32,
    /// Charges of each run
    #[arg(long, default_value_t = 50_000)]
    charges: u32,
}

/// A kind of source, by the second byte of 11.N.0.1.
struct Case {
    name: &'static str,
    source: [u8; 4],
    port: u16,
    proved: bool,
    /// What the packet must come to, or the bench measures something else.
    action: u32,
    limit: Tightness,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tightness {
    /// Nobody reaches it.
    Loose,
    /// As loose, and its /24 has one as loose.
    Summed,
    Tight,
}

const CASES: [Case; 8] = [
    case("out of scope", [11, 0, 0, 1], UDP_PORT + 1, false, XDP_PASS, Tightness::Loose),
    case("allowed", [11, 1, 0, 1], UDP_PORT, false, XDP_PASS, Tightness::Loose),
    case("denied", [11, 2, 0, 1], UDP_PORT, false, XDP_DROP, Tightness::Loose),
    case("banned", [11, 3, 0, 1], UDP_PORT, true, XDP_DROP, Tightness::Loose),
    case("hot client under its limit", [11, 4, 0, 1], UDP_PORT, true, XDP_PASS, Tightness::Loose),
    case("the same, in a /24 with a limit", [11, 4, 0, 1], UDP_PORT, true, XDP_PASS, Tightness::Summed),
    case("hot client over its limit", [11, 4, 0, 1], UDP_PORT, true, XDP_DROP, Tightness::Tight),
    case("new source over the budget", [11, 5, 0, 1], UDP_PORT, false, XDP_DROP, Tightness::Loose),
];

const fn case(
    name: &'static str,
    source: [u8; 4],
    port: u16,
    proved: bool,
    action: u32,
    limit: Tightness,
) -> Case {
    Case { name, source, port, proved, action, limit }
}

pub fn run(arguments: &Arguments, out: &Folder) -> Result<()> {
    ensure!(arguments.runs > 0 && arguments.packets > 0 && arguments.charges > 0, "nothing to measure");
    let ground = Ground::new()?;
    let testbed = Testbed::new(&ground)?;
    let mut table = Table::new(["case", "median", "least", "most", "unit"]);
    for limit in [Tightness::Loose, Tightness::Summed, Tightness::Tight] {
        step(&format!("weir with a {limit:?} limit"));
        let weir = ground.server.run(|| Weir::start(|_| config(limit)))?;
        let output = weir.command(&["bans", "add", "11.3.0.1"])?;
        ensure!(output.status.success(), "bans add: {}", String::from_utf8_lossy(&output.stderr).trim());
        let charge = Charge::open(&weir.place.pins())?;
        let packets = Packets::open(&weir.place.pins())?;
        for case in CASES.iter().filter(|case| case.limit == limit) {
            let times = ground.server.run(|| measure(case, &testbed, &packets, &charge, arguments))?;
            step(case.name);
            note(&mut table, case.name, &times, "ns");
        }
        if limit == Tightness::Loose {
            step("charge");
            note(&mut table, "charge", &charges(&charge, arguments)?, "us");
        }
    }
    let notes = [
        format!(
            "{} runs of {} packets or {} charges each",
            arguments.runs, arguments.packets, arguments.charges
        ),
        "a packet's figure includes the test run's own loop: about 29 ns for an empty program".to_owned(),
        "a charge is a system call from one thread".to_owned(),
    ];
    out.table("packets", "packets: cost of the programs by test run", &table, &notes)
}

fn measure(
    case: &Case,
    testbed: &Testbed<'_>,
    packets: &Packets,
    charge: &Charge,
    arguments: &Arguments,
) -> Result<Vec<f64>> {
    if case.proved {
        charge.prove(ClientKey::v4(case.source))?;
    }
    let frame = frame(case, testbed.server_address(Family::V4), testbed);
    packets.run(&frame, WARM_UP)?;
    let mut times = Vec::new();
    for _ in 0..arguments.runs {
        let answer = packets.run(&frame, arguments.packets)?;
        if answer.action != case.action {
            bail!("{}: action {} where {} was expected", case.name, answer.action, case.action);
        }
        times.push(answer.time.as_nanos() as f64);
    }
    Ok(times)
}

fn frame(case: &Case, destination: IpAddr, testbed: &Testbed<'_>) -> Vec<u8> {
    let flow = Flow {
        source_mac: testbed.wire.mac(1),
        destination_mac: testbed.wire.mac(2),
        destination,
        port: case.port,
        transport: Transport::Udp,
    };
    flow.template().from(Ipv4Addr::from(case.source), 40_000)
}

fn charges(charge: &Charge, arguments: &Arguments) -> Result<Vec<f64>> {
    let key = ClientKey::v4([11, 6, 0, 1]);
    let limit = Limit::new(1_000_000_000, 1_000_000_000, 1_000_000_000).unwrap_or(Limit::NONE);
    let mut times = Vec::new();
    for _ in 0..arguments.runs {
        let start_ns = now_ns();
        for _ in 0..arguments.charges {
            charge.charge(key, Word::Requests, 1, &limit)?;
        }
        times.push((now_ns() - start_ns) as f64 / f64::from(arguments.charges) / 1e3);
    }
    Ok(times)
}

fn note(table: &mut Table, name: &str, times: &[f64], unit: &str) {
    let digits = if unit == "us" { 2 } else { 0 };
    let least = times.iter().copied().fold(f64::INFINITY, f64::min);
    let most = times.iter().copied().fold(0.0, f64::max);
    let middle = median(times.iter().copied()).unwrap_or(f64::NAN);
    let figure = |value: f64| format!("{value:.digits$}");
    table.row([name.to_owned(), figure(middle), figure(least), figure(most), unit.to_owned()]);
}

fn config(limit: Tightness) -> String {
    let packets = match limit {
        Tightness::Loose | Tightness::Summed => "{ rate = \"1000000000/s\", burst = 1000000000 }",
        Tightness::Tight => "{ rate = \"100/s\", burst = 1000 }",
    };
    let aggregate = match limit {
        Tightness::Summed => {
            format!("[[limit.aggregate]]\nname = \"net\"\nprefix = \"v4/24\"\npackets = {packets}\n\n")
        }
        Tightness::Loose | Tightness::Tight => String::new(),
    };
    format!(
        "[[listener]]\naddress = \"0.0.0.0:{TCP_PORT}\"\n\n\
         [kernel]\ninterfaces = [\"s0\"]\nmode = \"native\"\nprotect = [\"udp/{UDP_PORT}\"]\n\
         allow = [\"11.1.0.0/16\"]\ndeny = [\"11.2.0.0/16\"]\n\n\
         [limit.client]\npackets = {packets}\n\n{aggregate}\
         [[api]]\nname = \"self\"\nlisten_path = \"/\"\nrespond = {{ status = 200, body = \"ok\\n\" }}\n"
    )
}
