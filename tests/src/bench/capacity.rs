//! `bench capacity`: what a receiving core pays for a packet of a flood, by subject and by traffic, as
//! a share of the ceiling (parse, count, drop) in the same round.

mod subject;

use std::time::Duration;

use anyhow::Result;

use super::median;
use super::report::{Folder, step};
use super::testbed::{Family, Flood, Ground, Run, Testbed};
use crate::flow::Transport;
use crate::rig::{Pace, Sources};
use crate::svg::{Plot, Series};
use crate::table::Table;
use subject::{Denied, Prepare, Subject};

/// Before each measured run, so that caches, sets and tables are in their state under load.
const WARM_UP: Duration = Duration::from_millis(150);

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Rounds; each runs every subject with every traffic once
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Milliseconds of each run
    #[arg(long, default_value_t = 600)]
    run_ms: u64,
    /// Only traffic whose name contains this
    #[arg(long)]
    traffic: Option<String>,
}

/// A row of the bench: a flood, and what the subject knows of its sources before.
struct Traffic {
    name: &'static str,
    flood: Flood,
    prepare: Prepare,
}

const fn row(
    name: &'static str,
    family: Family,
    transport: Transport,
    sources: Sources,
    prepare: Prepare,
) -> Traffic {
    Traffic { name, flood: Flood { family, transport, sources }, prepare }
}

const TRAFFIC: [Traffic; 11] = [
    row("one source", Family::V4, Transport::Udp, Sources::One, Prepare::Nothing),
    row("one banned source", Family::V4, Transport::Udp, Sources::One, Prepare::Ban),
    row("one proved, over", Family::V4, Transport::Udp, Sources::One, Prepare::Prove),
    row("64 k sources", Family::V4, Transport::Udp, Sources::Thousands, Prepare::Nothing),
    row("64 k proved, over", Family::V4, Transport::Udp, Sources::Thousands, Prepare::Prove),
    row("16 M sources", Family::V4, Transport::Udp, Sources::Millions, Prepare::Nothing),
    row(
        "16 M sources, guard, 1 k denied",
        Family::V4,
        Transport::Udp,
        Sources::Millions,
        Prepare::Guard(Denied::Thousand),
    ),
    row(
        "16 M sources, guard, 1 M denied",
        Family::V4,
        Transport::Udp,
        Sources::Millions,
        Prepare::Guard(Denied::Million),
    ),
    row("16 M SYNs", Family::V4, Transport::Syn, Sources::Millions, Prepare::Nothing),
    row("16 M ACKs", Family::V4, Transport::Ack, Sources::Millions, Prepare::Nothing),
    row("16 M IPv6 /64", Family::V6, Transport::Udp, Sources::Millions, Prepare::Nothing),
];

/// Every run of one subject with one traffic, in the rounds' order; a void run is None.
struct Cell {
    traffic: &'static str,
    subject: Subject,
    runs: Vec<Option<Run>>,
}

pub fn run(arguments: &Arguments, out: &Folder) -> Result<()> {
    let ground = Ground::new()?;
    let testbed = Testbed::new(&ground)?;
    let mut notes = Vec::new();
    let subjects = Subject::all(&mut notes);
    let chosen =
        |traffic: &&Traffic| arguments.traffic.as_ref().is_none_or(|part| traffic.name.contains(part));
    let mut cells: Vec<Cell> = Vec::new();
    for round in 0..arguments.rounds {
        for traffic in TRAFFIC.iter().filter(chosen) {
            for subject in subjects.iter().filter(|subject| subject.takes(traffic.prepare)) {
                let run = measure(&testbed, *subject, traffic, Duration::from_millis(arguments.run_ms));
                let name = format!(
                    "round {} of {}: {}, {}",
                    round + 1,
                    arguments.rounds,
                    traffic.name,
                    subject.name()
                );
                match &run {
                    Ok(run) => step(&format!("{name}: {:.0} ns a packet", run.ns_a_packet())),
                    Err(error) => {
                        step(&format!("{name}: {error:#}"));
                        notes.push(format!("{name}: {error:#}"));
                    }
                }
                note(&mut cells, traffic.name, *subject, run.ok());
            }
        }
    }
    publish(&cells, &notes, out)
}

fn measure(testbed: &Testbed<'_>, subject: Subject, traffic: &Traffic, time: Duration) -> Result<Run> {
    let _installed = subject.install(testbed, traffic.prepare, traffic.flood)?;
    let mut generator = testbed.generator(traffic.flood)?;
    testbed.flood(&mut generator, WARM_UP, Pace::Unpaced)?;
    testbed.flood(&mut generator, time, Pace::Unpaced)
}

fn note(cells: &mut Vec<Cell>, traffic: &'static str, subject: Subject, run: Option<Run>) {
    match cells.iter_mut().find(|cell| cell.traffic == traffic && cell.subject == subject) {
        Some(cell) => cell.runs.push(run),
        None => cells.push(Cell { traffic, subject, runs: vec![run] }),
    }
}

fn publish(cells: &[Cell], notes: &[String], out: &Folder) -> Result<()> {
    let mut table = Table::new([
        "traffic",
        "subject",
        "offered Mpps",
        "received Mpps",
        "ring full %",
        "ns/packet",
        "of ceiling",
    ]);
    for cell in cells {
        let of = |value: fn(&Run) -> f64, digits: usize| {
            let middle = median(cell.runs.iter().flatten().map(value));
            middle.map_or_else(|| "void".to_owned(), |middle| format!("{middle:.digits$}"))
        };
        table.row([
            cell.traffic.to_owned(),
            cell.subject.name().to_owned(),
            of(|run| run.offered_per_second() / 1e6, 2),
            of(|run| run.received_per_second() / 1e6, 2),
            of(|run| 100.0 * run.ring_full as f64 / run.sent.max(1) as f64, 1),
            of(Run::ns_a_packet, 0),
            share(cells, cell).map_or_else(|| "-".to_owned(), |share| format!("{share:.2}")),
        ]);
    }
    let mut notes = notes.to_vec();
    notes.push("ns/packet: CPU time of the receiving core's NAPI thread, the veth ring included; medians over rounds".to_owned());
    notes.push(
        "of ceiling: the ceiling's ns over the subject's, median of the ratios inside rounds".to_owned(),
    );
    notes.push("nftables drops what conforms too: the stack's cost is in Weir's figure alone, for what its budget and limits let pass; who is proved is over the limit, so that nothing of it goes up".to_owned());
    out.table("capacity", "capacity: core time a packet on one receiving core", &table, &notes)?;
    out.plot("capacity", &plot(cells))
}

/// Median over rounds of ceiling / subject.
fn share(cells: &[Cell], cell: &Cell) -> Option<f64> {
    let ceiling =
        cells.iter().find(|other| other.traffic == cell.traffic && other.subject == Subject::Ceiling)?;
    let pairs = ceiling.runs.iter().zip(&cell.runs);
    median(
        pairs
            .filter_map(|(ceiling, run)| Some(ceiling.as_ref()?.ns_a_packet() / run.as_ref()?.ns_a_packet())),
    )
}

fn plot(cells: &[Cell]) -> String {
    let mut groups: Vec<String> = Vec::new();
    let mut series: Vec<Series> = Vec::new();
    for cell in cells {
        let group = groups.iter().position(|name| name == cell.traffic).unwrap_or_else(|| {
            groups.push(cell.traffic.to_owned());
            groups.len() - 1
        });
        let Some(received) = median(cell.runs.iter().flatten().map(|run| 1e3 / run.ns_a_packet())) else {
            continue;
        };
        let point = (group as f64, received);
        match series.iter_mut().find(|series| series.name == cell.subject.name()) {
            Some(series) => series.points.push(point),
            None => series.push(Series { name: cell.subject.name().to_owned(), points: vec![point] }),
        }
    }
    Plot {
        title: "What one receiving core can take of a flood".to_owned(),
        x_label: "traffic".to_owned(),
        y_label: "million packets a second of core time".to_owned(),
        series,
        marks: Vec::new(),
    }
    .bars(&groups)
}
