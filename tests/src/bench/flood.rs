//! `bench flood`: what good clients keep of a server while it is attacked, by attack, by its pace and by
//! what stands in front of the server. `bench capacity` tells what a packet costs; this tells who is
//! still answered.

mod abuse;
mod newcomers;
mod people;
mod point;
mod publish;
mod steady;
mod subject;

use std::time::Duration;

use anyhow::Result;

use super::report::{Folder, step};
use super::testbed::{Family, Flood, Ground, Testbed};
use crate::cpu::go_before_others;
use crate::flow::Transport;
use crate::rig::Sources;
use point::{Attack, Measure, Outcome};
use subject::Subject;

/// Beyond this median the service is gone for a person: the knee.
const KNEE_MS: f64 = 5.0;
/// Every sweep goes so far; then it ends after two points beyond the knee.
const AT_LEAST: u64 = 500_000;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Rounds; each runs every subject with every attack once
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Milliseconds of each point that count
    #[arg(long, default_value_t = 500)]
    point_ms: u64,
    /// Requests a second that all good clients make together
    #[arg(long, default_value_t = 6_000)]
    good: u32,
    /// Only attacks whose name contains this
    #[arg(long)]
    attack: Option<String>,
    /// Only subjects whose name contains this
    #[arg(long)]
    subject: Option<String>,
}

/// An attack and the paces at which it is tried, in packets a second.
struct Row {
    name: &'static str,
    flood: Option<Flood>,
    paces: &'static [u64],
}

const SWEEP: &[u64] = &[250_000, 500_000, 1_000_000, 1_500_000, 2_000_000, 3_000_000];
const HALF: &[u64] = &[500_000];
const HALF_AND_WHOLE: &[u64] = &[500_000, 1_000_000];
const NONE: &[u64] = &[0];

const fn row(
    name: &'static str,
    family: Family,
    transport: Transport,
    sources: Sources,
    paces: &'static [u64],
) -> Row {
    Row { name, flood: Some(Flood { family, transport, sources }), paces }
}

/// Rows of one block are run one after the other by each subject in turn, so subjects are compared
/// within seconds.
const BLOCKS: [&[Row]; 3] = [
    &[row("UDP, 16 M sources", Family::V4, Transport::Udp, Sources::Millions, SWEEP)],
    &[row("SYN, 16 M sources", Family::V4, Transport::Syn, Sources::Millions, SWEEP)],
    &[
        Row { name: "nothing", flood: None, paces: NONE },
        row("UDP, 1 source", Family::V4, Transport::Udp, Sources::One, HALF),
        row("UDP, 65 k sources", Family::V4, Transport::Udp, Sources::Thousands, HALF),
        row("UDP, 1 M sources", Family::V4, Transport::Udp, Sources::Million, HALF),
        row("UDP, 16 M IPv6 /64", Family::V6, Transport::Udp, Sources::Millions, HALF_AND_WHOLE),
        row("ACK, 16 M sources", Family::V4, Transport::Ack, Sources::Millions, HALF),
        row("SYN, 16 M IPv6 /64", Family::V6, Transport::Syn, Sources::Millions, HALF),
        Row { name: REQUESTS, flood: None, paces: NONE },
    ],
];
const REQUESTS: &str = "requests of 8 abusers";

/// Every round of one subject under one attack at one pace; a void one is not here but in the notes.
struct Cell {
    row: &'static str,
    per_second: u64,
    subject: Subject,
    outcomes: Vec<Outcome>,
}

/// What a bench has found so far.
#[derive(Default)]
struct Found {
    cells: Vec<Cell>,
    notes: Vec<String>,
    /// One-minute load averages: the machine has other users.
    loads: Vec<f64>,
}

pub fn run(arguments: &Arguments, out: &Folder) -> Result<()> {
    go_before_others()?;
    let ground = Ground::new()?;
    let testbed = Testbed::new(&ground)?;
    people::settle(&ground, &testbed)?;
    let mut found = Found::default();
    let mut subjects = Subject::all(&mut found.notes);
    let wanted = |name: &str, part: &Option<String>| part.as_ref().is_none_or(|part| name.contains(part));
    subjects.retain(|subject| wanted(subject.name(), &arguments.subject));
    let measure =
        Measure { time: Duration::from_millis(arguments.point_ms), good_per_second: arguments.good };
    for round in 1..=arguments.rounds {
        for block in BLOCKS {
            let rows: Vec<&Row> = block.iter().filter(|row| wanted(row.name, &arguments.attack)).collect();
            for subject in subjects.iter().filter(|_| !rows.is_empty()) {
                step(&format!("round {round} of {}: {}", arguments.rounds, subject.name()));
                let folder = tempfile::tempdir()?;
                let installed = subject.install(&testbed, folder.path())?;
                for row in &rows {
                    found.loads.extend(load_average());
                    sweep(row, *subject, &mut found, |attack| {
                        point::run(&testbed, &installed, attack, measure)
                    });
                }
            }
        }
    }
    publish::publish(&found, arguments, out)
}

/// Runs a row's paces until the subject is beyond its knee.
fn sweep(row: &Row, subject: Subject, found: &mut Found, mut measure: impl FnMut(Attack) -> Result<Outcome>) {
    let mut beyond = 0;
    for &per_second in row.paces {
        let attack = match row.flood {
            Some(flood) => Attack::Flood { flood, per_second },
            None if row.name == REQUESTS => Attack::Requests,
            None => Attack::Quiet,
        };
        let name = format!("{}, {:.2} Mpps, {}", row.name, per_second as f64 / 1e6, subject.name());
        match measure(attack) {
            Ok(outcome) => {
                step(&format!("{name}: {}", outcome.in_words()));
                let gone = outcome.good.latency.quantile_ms(0.5).is_none_or(|p50| p50 > KNEE_MS);
                beyond = if gone { beyond + 1 } else { 0 };
                found.note(row.name, per_second, subject, outcome);
            }
            Err(error) => {
                step(&format!("{name}: {error:#}"));
                found.notes.push(format!("{name}: {error:#}"));
            }
        }
        if beyond == 2 && per_second >= AT_LEAST {
            return;
        }
    }
}

impl Found {
    fn note(&mut self, row: &'static str, per_second: u64, subject: Subject, outcome: Outcome) {
        let same = |cell: &&mut Cell| (cell.row, cell.per_second, cell.subject) == (row, per_second, subject);
        match self.cells.iter_mut().find(same) {
            Some(cell) => cell.outcomes.push(outcome),
            None => self.cells.push(Cell { row, per_second, subject, outcomes: vec![outcome] }),
        }
    }
}

fn load_average() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}
