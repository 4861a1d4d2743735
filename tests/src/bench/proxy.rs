//! `bench proxy`: CPU time a proxied request, Weir beside nginx, HAProxy and a bare hyper proxy, in
//! interleaved rounds. The subject has one core, load and upstream the other. `bench latency` and `bench
//! idle` ask the same subjects other questions.

pub mod bare;
pub mod idle;
pub mod latency;
mod load;
mod scenario;
mod subject;
mod syscalls;

use std::time::Duration;

use anyhow::Result;

use super::median;
use super::report::{Folder, step};
use crate::cpu::{family_time, stay_on};
use crate::netns::Netns;
use crate::table::Table;
use scenario::{Ground, SCENARIOS, Scenario};
use subject::{SUBJECTS, Started, Subject};

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
    /// Counts system calls too, in a run of its own for each subject and scenario
    #[arg(long)]
    syscalls: bool,
}

/// One run.
#[derive(Clone, Copy)]
struct Run {
    us_a_request: f64,
    per_second: f64,
}

/// A subject with its runs.
struct Measured {
    subject: Subject,
    started: Started,
    runs: Vec<Run>,
    calls: Option<f64>,
}

pub fn run(arguments: &Arguments, out: &Folder) -> Result<()> {
    // A lo of its own: nobody else's packets pass the XDP program.
    let ground = Netns::new("lo")?;
    ground.run(|| compare(arguments, out))
}

fn compare(arguments: &Arguments, out: &Folder) -> Result<()> {
    stay_on(LOAD_CPU)?;
    let ground = Ground::new()?;
    let heading = ["scenario", "subject", "us/request", "of nginx", "requests/s", "calls/request"];
    let mut table = Table::new(heading);
    let wanted = |name: &str| arguments.scenario.as_ref().is_none_or(|part| name.contains(part));
    for (scenario, name) in SCENARIOS.into_iter().filter(|(_, name)| wanted(name)) {
        let subjects = SUBJECTS.iter().filter(|(subject, _)| subject.can(scenario));
        let measured = subjects.map(|(subject, _)| {
            let started = subject.start(scenario, &ground)?;
            anyhow::Ok(Measured { subject: *subject, started, runs: Vec::new(), calls: None })
        });
        let mut measured = measured.collect::<Result<Vec<_>>>()?;
        stay_on(LOAD_CPU)?;
        for round in 0..arguments.rounds {
            for one in &mut measured {
                let run = measure(&one.started, scenario, &ground, arguments)?;
                let label = one.subject.label();
                step(&format!("{name}, round {}: {label}: {:.1} us a request", round + 1, run.us_a_request));
                one.runs.push(run);
            }
        }
        if arguments.syscalls {
            for one in &mut measured {
                let load = || scenario.load(one.started.address, &ground, 1, arguments.connections);
                one.calls = Some(syscalls::per_request(one.started.pid, load)?);
            }
        }
        note(&mut table, name, &measured);
    }
    let notes = [
        format!("{} rounds of {} s, {} connections", arguments.rounds, arguments.seconds, arguments.connections),
        "us/request: CPU time of all processes of the subject, medians; of nginx: median of the ratios inside rounds".to_owned(),
        "refused: nginx and HAProxy answer 429, weir with shed = []".to_owned(),
        "tls-new, tls-resumed: a request is a connection with its handshake (ECDSA P-256); tls: kept alive".to_owned(),
        "grpc: 1 KiB echoed and trailers, HTTP/2 on both sides; websocket: a message of 125 B and its echo".to_owned(),
        "two cores: the subject may use both, beside load and upstream".to_owned(),
    ];
    out.table("proxy", "proxy: CPU time of a proxied request on one core", &table, &notes)
}

fn note(table: &mut Table, scenario: &str, measured: &[Measured]) {
    let Some(nginx) = measured.first().map(|one| &one.runs) else { return };
    for one in measured {
        let middle = |of: fn(&Run) -> f64| median(one.runs.iter().map(of)).unwrap_or(f64::NAN);
        let pairs = one.runs.iter().zip(nginx);
        let ratio = median(pairs.map(|(run, peer)| run.us_a_request / peer.us_a_request));
        table.row([
            scenario.to_owned(),
            one.subject.label().to_owned(),
            format!("{:.1}", middle(|run| run.us_a_request)),
            format!("{:.2}", ratio.unwrap_or(f64::NAN)),
            format!("{:.0}", middle(|run| run.per_second)),
            one.calls.map_or_else(|| "-".to_owned(), |calls| format!("{calls:.2}")),
        ]);
    }
}

fn measure(subject: &Started, scenario: Scenario, ground: &Ground, arguments: &Arguments) -> Result<Run> {
    let load = |seconds| scenario.load(subject.address, ground, seconds, arguments.connections);
    load(1)?;
    let before = family_time(subject.pid)?;
    let requests = load(arguments.seconds)?;
    let spent: Duration = family_time(subject.pid)?.saturating_sub(before);
    Ok(Run {
        us_a_request: spent.as_secs_f64() * 1e6 / requests as f64,
        per_second: requests as f64 / f64::from(arguments.seconds),
    })
}
