//! The demo: network namespaces with a server, a good client that asks at a steady rate, a flood of
//! made-up sources and an abuser over real connections. First the server alone (nginx), then Weir in
//! its place; live in the terminal, and a table and a plot at the end.

mod screen;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use nix::sys::signal::{SigSet, Signal};
use weir::plane::now_ns;

use self::screen::Screen;
use crate::bench::{Family, Flood, Folder, Ground, TCP_PORT, Testbed, UDP_PORT};
use crate::cpu::stay_on;
use crate::flow::Transport;
use crate::load::{Answers, Load, Running};
use crate::nginx::{Nginx, Role};
use crate::rig::{Bound, Pace, Sources};
use crate::svg::{Plot, Series};
use crate::table::Table;
use crate::wait::{after, pass_until};
use crate::weir::Weir;

const SERVER_CPU: usize = 1;
const CLIENT_CPU: usize = 0;
const TICK: Duration = Duration::from_millis(500);
/// Host numbers on the wire: 1 and 2 are its ends, and 1, the default gateway, is never limited.
const GOOD: u8 = 10;
const ABUSER: u8 = 66;

/// Floods a server in network namespaces, without and with Weir.
#[derive(Debug, Parser)]
#[command(name = "demo")]
struct Arguments {
    /// Seconds before the attack, in each half
    #[arg(long, default_value_t = 4)]
    quiet: u32,
    /// Seconds of the attack, in each half
    #[arg(long, default_value_t = 10)]
    attack: u32,
    /// SYNs a second from sixteen million made-up sources
    #[arg(long, default_value_t = 400_000)]
    flood: u64,
    /// Requests a second that the good client makes
    #[arg(long, default_value_t = 500)]
    good: u32,
    /// Folder for the table and the plot
    #[arg(long, default_value = "target/demo")]
    out: PathBuf,
}

/// The server of one half.
enum Server {
    Alone { _nginx: Box<Nginx> },
    Weir(Box<Weir>),
}

/// One look at the good client.
#[derive(Clone, Copy, Debug, Default)]
struct Look {
    at_seconds: f64,
    attacked: bool,
    good_per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    failures: u64,
    /// What the kernel dropped since the last look; None without Weir.
    dropped_per_second: Option<f64>,
}

/// Parses the command line and shows both halves.
pub fn main() -> Result<()> {
    let arguments = Arguments::parse();
    ensure!(nix::unistd::geteuid().is_root(), "the demo needs root, for namespaces and XDP");
    std::fs::create_dir_all(&arguments.out)?;
    let stop = watch_for_interrupt()?;
    let ground = Ground::new()?;
    let testbed = Testbed::new(&ground)?;
    for host in [GOOD, ABUSER] {
        ground.sender.ip(&format!("addr add {}/24 dev g0", testbed.wire.v4(host)))?;
    }
    let mut screen = Screen::new();
    let folder = tempfile::tempdir()?;
    screen.title("without Weir: nginx alone");
    stay_on(SERVER_CPU)?;
    let address = SocketAddr::new(testbed.server_address(Family::V4), TCP_PORT);
    let nginx = ground.server.run(|| Nginx::start("nginx", address, &Role::Upstream, folder.path()))?;
    let alone = half(&arguments, &testbed, &Server::Alone { _nginx: Box::new(nginx) }, &mut screen, stop)?;
    screen.title("with Weir");
    stay_on(SERVER_CPU)?;
    let weir = ground.server.run(|| Weir::start(|_| config()))?;
    let guarded = half(&arguments, &testbed, &Server::Weir(Box::new(weir)), &mut screen, stop)?;
    publish(&arguments, &alone, &guarded)
}

fn config() -> String {
    format!(
        "[[listener]]\naddress = \"0.0.0.0:{TCP_PORT}\"\n[[api]]\nname = \"a\"\nlisten_path = \"/\"\nrespond = {{ status = 200, body = \"hello\\n\" }}\n[kernel]\ninterfaces = [\"s0\"]\nmode = \"native\"\nprotect = [\"udp/{UDP_PORT}\"]\nsyn_cookies = true\n[limit.client]\nrequests = {{ rate = \"1000/s\", burst = 2000 }}\npackets = {{ rate = \"20000/s\", burst = 40000 }}\nsyns = {{ rate = \"200/s\", burst = 400 }}\n"
    )
}

/// Quiet, then the attack; a look every tick.
fn half(
    arguments: &Arguments,
    testbed: &Testbed<'_>,
    server: &Server,
    screen: &mut Screen,
    stop: &AtomicBool,
) -> Result<Vec<Look>> {
    stay_on(CLIENT_CPU)?;
    let address = SocketAddr::new(testbed.server_address(Family::V4), TCP_PORT);
    let whole = Duration::from_secs(u64::from(arguments.quiet + arguments.attack) + 2);
    let from = Some(testbed.wire.v4(GOOD).into());
    let good = testbed
        .ground
        .sender
        .run(|| Ok(Load { per_second: Some(arguments.good), from, ..Load::on(address, whole) }.start()))?;
    let mut watch = Watch { testbed, server, good, screen, stop, began_ns: now_ns(), looks: Vec::new() };
    watch.look_on(arguments.quiet, false);
    let abuser: IpAddr = testbed.wire.v4(ABUSER).into();
    let abuse = testbed.ground.sender.run(|| {
        let patience = Duration::from_millis(500);
        Ok(Load { from: Some(abuser), patience, connections: 2, ..Load::on(address, whole) }.start())
    })?;
    let flood = Flood { family: Family::V4, transport: Transport::Syn, sources: Sources::Millions };
    let mut generator = testbed.generator(flood)?;
    std::thread::scope(|scope| -> Result<()> {
        let bound = Bound { frames: u64::MAX, time: Duration::from_secs(u64::from(arguments.attack)) };
        let flooding = scope.spawn(move || generator.send(bound, Pace::PerSecond(arguments.flood)));
        watch.look_on(arguments.attack, true);
        flooding.join().map_err(|_| anyhow::anyhow!("the flood's thread panicked"))?.map(drop)
    })?;
    drop(abuse);
    ensure!(!stop.load(Ordering::Relaxed), "interrupted: everything was taken down");
    Ok(watch.looks)
}

/// Who looks at one half.
struct Watch<'a> {
    testbed: &'a Testbed<'a>,
    server: &'a Server,
    good: Running,
    screen: &'a mut Screen,
    stop: &'a AtomicBool,
    began_ns: u64,
    looks: Vec<Look>,
}

impl Watch<'_> {
    fn look_on(&mut self, seconds: u32, attacked: bool) {
        let end_ns = after(Duration::from_secs(u64::from(seconds)));
        let mut last = (now_ns(), self.dropped());
        self.good.take();
        while now_ns() < end_ns && !self.stop.load(Ordering::Relaxed) {
            pass_until(after(TICK));
            let present = (now_ns(), self.dropped());
            let span = (present.0 - last.0) as f64 / 1e9;
            let dropped = present.1.zip(last.1).map(|(now, before)| now.saturating_sub(before));
            let look = Look {
                at_seconds: (present.0 - self.began_ns) as f64 / 1e9,
                attacked,
                dropped_per_second: dropped.map(|dropped| dropped as f64 / span),
                ..Look::of(&self.good.take(), span)
            };
            self.screen.look(&look);
            self.looks.push(look);
            last = present;
        }
    }

    /// Packets that XDP dropped since the start.
    fn dropped(&self) -> Option<u64> {
        let Server::Weir(weir) = self.server else { return None };
        let metrics = self.testbed.ground.server.run(|| weir.metrics()).ok()?;
        let drops = metrics.lines().filter(|line| {
            line.starts_with("weir_kernel_packets_total{") && line.contains("action=\"drop\"")
        });
        Some(drops.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum())
    }
}

impl Look {
    fn of(answers: &Answers, span_seconds: f64) -> Self {
        Self {
            good_per_second: answers.of(200) as f64 / span_seconds,
            p50_ms: answers.latency.quantile_ms(0.5).unwrap_or(f64::NAN),
            p99_ms: answers.latency.quantile_ms(0.99).unwrap_or(f64::NAN),
            failures: answers.failures,
            ..Self::default()
        }
    }
}

fn publish(arguments: &Arguments, alone: &[Look], guarded: &[Look]) -> Result<()> {
    let mut table = Table::new([
        "server",
        "phase",
        "good req/s",
        "of asked %",
        "p50 ms",
        "p99 ms",
        "failures",
        "dropped/s",
    ]);
    for (name, looks) in [("nginx alone", alone), ("with Weir", guarded)] {
        for (phase, attacked) in [("quiet", false), ("attack", true)] {
            let of: Vec<&Look> = looks.iter().filter(|look| look.attacked == attacked).collect();
            let mean = |value: fn(&Look) -> f64| {
                let values: Vec<f64> =
                    of.iter().map(|look| value(look)).filter(|value| value.is_finite()).collect();
                values.iter().sum::<f64>() / values.len().max(1) as f64
            };
            let good = mean(|look| look.good_per_second);
            let dropped =
                of.iter().filter_map(|look| look.dropped_per_second).sum::<f64>() / of.len().max(1) as f64;
            table.row([
                name.to_owned(),
                phase.to_owned(),
                format!("{good:.0}"),
                format!("{:.0}", 100.0 * good / f64::from(arguments.good)),
                format!("{:.2}", mean(|look| look.p50_ms)),
                format!("{:.2}", mean(|look| look.p99_ms)),
                of.iter().map(|look| look.failures).sum::<u64>().to_string(),
                if name == "with Weir" { format!("{dropped:.0}") } else { "-".to_owned() },
            ]);
        }
    }
    let notes = [
        format!("{} SYNs/s of 16 M made-up sources, and an abuser on two connections", arguments.flood),
        "p50 and p99: means over looks of half a second, of answers that came".to_owned(),
    ];
    let folder = Folder::new(arguments.out.clone());
    folder.table("demo", "demo: a good client's requests during an attack", &table, &notes)?;
    let series = |name: &str, looks: &[Look]| Series {
        name: name.to_owned(),
        points: looks.iter().map(|look| (look.at_seconds, look.good_per_second)).collect(),
    };
    let plot = Plot {
        title: "Good requests a second, without and with Weir".to_owned(),
        x_label: "seconds".to_owned(),
        y_label: "good requests a second".to_owned(),
        series: vec![series("nginx alone", alone), series("with Weir", guarded)],
        marks: vec![(f64::from(arguments.quiet), "attack".to_owned())],
    };
    folder.plot("demo", &plot.lines()).context("the plot")
}

/// ^C ends the halves at the next look, so that namespaces and pins are taken down.
fn watch_for_interrupt() -> Result<&'static AtomicBool> {
    static STOP: AtomicBool = AtomicBool::new(false);
    let mut set = SigSet::empty();
    set.add(Signal::SIGINT);
    set.add(Signal::SIGTERM);
    set.thread_block()?;
    std::thread::spawn(move || {
        if set.wait().is_ok() {
            STOP.store(true, Ordering::Relaxed);
        }
    });
    Ok(&STOP)
}
