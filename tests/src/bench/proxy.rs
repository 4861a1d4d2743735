//! `bench proxy`: CPU time a proxied request, Weir beside nginx's `proxy_pass` with `limit_req`, in
//! interleaved rounds. The subject has one core, load and upstream the other.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::unistd::Pid;

use super::median;
use super::report::{Folder, step};
use crate::cpu::{family_time, stay_on};
use crate::netns::Netns;
use crate::nginx::{Nginx, RequestLimit, Role};
use crate::ports::free_port;
use crate::table::Table;
use crate::weir::Weir;

const LOAD_CPU: usize = 0;
const SUBJECT_CPU: usize = 1;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Rounds; each runs every subject with every scenario once
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Seconds of each run
    #[arg(long, default_value_t = 3)]
    seconds: u32,
    /// Kept-alive connections
    #[arg(long, default_value_t = 64)]
    connections: u32,
    /// Only scenarios whose name contains this
    #[arg(long)]
    scenario: Option<String>,
}

/// What is asked of every subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scenario {
    Plain,
    /// A limit by client that nobody reaches.
    Limit,
    /// A limit by client that refuses nearly everything.
    Refused,
    /// Answers of 10 KiB.
    Body10k,
    /// Answers of 1 MiB.
    Body1m,
}

impl Scenario {
    fn path(self) -> &'static str {
        match self {
            Self::Plain | Self::Limit | Self::Refused => "/",
            Self::Body10k => "/10k",
            Self::Body1m => "/1m",
        }
    }
}

/// The first is what the others are compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    Nginx,
    /// Limits in the process table.
    WeirTable,
    /// Limits in the kernel, XDP (generic, on lo) in front.
    WeirKernel,
}

const SCENARIOS: [(Scenario, &str); 5] = [
    (Scenario::Plain, "plain"),
    (Scenario::Limit, "limit"),
    (Scenario::Refused, "refused"),
    (Scenario::Body10k, "body10k"),
    (Scenario::Body1m, "body1m"),
];
const SUBJECTS: [(Subject, &str); 3] = [
    (Subject::Nginx, "nginx"),
    (Subject::WeirTable, "weir, process table"),
    (Subject::WeirKernel, "weir, kernel plane"),
];

/// A started subject.
struct Started {
    pid: Pid,
    address: SocketAddr,
    _held: Held,
}

#[expect(dead_code, reason = "held for its Drop")]
enum Held {
    Nginx(Nginx),
    Weir(Box<Weir>),
}

/// One run.
#[derive(Clone, Copy)]
struct Run {
    us_a_request: f64,
    per_second: f64,
}

pub fn run(arguments: &Arguments, out: &Folder) -> Result<()> {
    // A lo of its own: nobody else's packets pass the XDP program.
    let ground = Netns::new("lo")?;
    ground.run(|| compare(arguments, out))
}

fn compare(arguments: &Arguments, out: &Folder) -> Result<()> {
    let folder = tempfile::tempdir()?;
    stay_on(LOAD_CPU)?;
    let upstream = Nginx::start("upstream", local(free_port()?), &Role::Upstream, folder.path())?;
    let mut table = Table::new(["scenario", "subject", "us/request", "of nginx", "requests/s"]);
    let wanted = |name: &str| arguments.scenario.as_ref().is_none_or(|part| name.contains(part));
    for (scenario, name) in SCENARIOS.into_iter().filter(|(_, name)| wanted(name)) {
        stay_on(SUBJECT_CPU)?;
        let started = SUBJECTS
            .iter()
            .map(|(subject, _)| start(*subject, scenario, upstream.address, folder.path()))
            .collect::<Result<Vec<_>>>()?;
        stay_on(LOAD_CPU)?;
        let mut runs: Vec<Vec<Run>> = started.iter().map(|_| Vec::new()).collect();
        for round in 0..arguments.rounds {
            for ((subject, runs), (_, label)) in started.iter().zip(&mut runs).zip(SUBJECTS) {
                let run = measure(subject, scenario.path(), arguments)?;
                step(&format!("{name}, round {}: {label}: {:.1} us a request", round + 1, run.us_a_request));
                runs.push(run);
            }
        }
        note(&mut table, name, &runs);
    }
    let notes = [
        format!("{} rounds of {} s, {} connections", arguments.rounds, arguments.seconds, arguments.connections),
        "us/request: CPU time of all processes of the subject, medians; of nginx: median of the ratios inside rounds".to_owned(),
        "refused: nginx answers 429 by limit_req, weir with shed = []".to_owned(),
    ];
    out.table("proxy", "proxy: CPU time of a proxied request on one core", &table, &notes)
}

fn note(table: &mut Table, scenario: &str, runs: &[Vec<Run>]) {
    let Some(nginx) = runs.first() else { return };
    for (runs, (_, label)) in runs.iter().zip(SUBJECTS) {
        let middle = |of: fn(&Run) -> f64| median(runs.iter().map(of)).unwrap_or(f64::NAN);
        let ratio = median(runs.iter().zip(nginx).map(|(run, peer)| run.us_a_request / peer.us_a_request));
        table.row([
            scenario.to_owned(),
            label.to_owned(),
            format!("{:.1}", middle(|run| run.us_a_request)),
            format!("{:.2}", ratio.unwrap_or(f64::NAN)),
            format!("{:.0}", middle(|run| run.per_second)),
        ]);
    }
}

fn measure(subject: &Started, path: &str, arguments: &Arguments) -> Result<Run> {
    load(subject.address, path, 1, arguments.connections)?;
    let before = family_time(subject.pid)?;
    let requests = load(subject.address, path, arguments.seconds, arguments.connections)?;
    let spent: Duration = family_time(subject.pid)?.saturating_sub(before);
    Ok(Run {
        us_a_request: spent.as_secs_f64() * 1e6 / requests as f64,
        per_second: requests as f64 / f64::from(arguments.seconds),
    })
}

/// Requests that wrk got answers to.
fn load(address: SocketAddr, path: &str, seconds: u32, connections: u32) -> Result<u64> {
    let output = Command::new("wrk")
        .args([
            "-t1",
            &format!("-c{connections}"),
            &format!("-d{seconds}s"),
            &format!("http://{address}{path}"),
        ])
        .output()
        .context("starting wrk")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text
        .lines()
        .find(|line| line.contains(" requests in "))
        .with_context(|| format!("wrk said {text}"))?;
    let requests = line.trim().split(' ').next().and_then(|count| count.parse().ok()).unwrap_or(0);
    ensure!(requests > 0, "no request was answered: {text}");
    Ok(requests)
}

fn start(
    subject: Subject,
    scenario: Scenario,
    upstream: SocketAddr,
    folder: &std::path::Path,
) -> Result<Started> {
    if subject == Subject::Nginx {
        let limit = match scenario {
            Scenario::Plain | Scenario::Body10k | Scenario::Body1m => None,
            Scenario::Limit => Some(RequestLimit { per_second: 1_000_000, burst: 100_000 }),
            Scenario::Refused => Some(RequestLimit { per_second: 1, burst: 1 }),
        };
        let name = format!("nginx-{scenario:?}");
        let nginx = Nginx::start(&name, local(free_port()?), &Role::Proxy { upstream, limit }, folder)?;
        return Ok(Started { pid: nginx.pid(), address: nginx.address, _held: Held::Nginx(nginx) });
    }
    let limit = match scenario {
        Scenario::Plain | Scenario::Body10k | Scenario::Body1m => "",
        Scenario::Limit => "requests = { rate = \"1000000/s\", burst = 1000000 }",
        Scenario::Refused => "requests = { rate = \"1/s\", burst = 1 }",
    };
    let kernel = match subject {
        Subject::WeirKernel => "interfaces = [\"lo\"]\nmode = \"generic\"\nguard_own_addresses = false",
        Subject::WeirTable | Subject::Nginx => "mode = \"off\"",
    };
    // One instance after the other holds lo: each scenario has one with a kernel plane.
    let weir = Weir::start(|place| {
        format!(
            "[[listener]]\naddress = \"127.0.0.1:{}\"\n[[api]]\nname = \"a\"\nlisten_path = \"/\"\nupstreams = [\"http://{upstream}\"]\n[kernel]\n{kernel}\n[limit.client]\n{limit}\nshed = []\n",
            place.port
        )
    })?;
    let address = local(weir.place.port);
    Ok(Started { pid: weir.pid(), address, _held: Held::Weir(Box::new(weir)) })
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}
