//! The table of all points, and for the two sweeps plots of what good clients keep and of how late.

use anyhow::Result;

use super::point::Outcome;
use super::{Arguments, BLOCKS, Cell, Found, KNEE_MS, Row, SWEEP};
use crate::bench::median;
use crate::bench::report::Folder;
use crate::svg::{Plot, Series};
use crate::table::Table;

impl Outcome {
    pub fn offered_per_second(&self) -> f64 {
        self.flood.offered_per_second()
    }

    fn ring_full_percent(&self) -> f64 {
        100.0 * self.flood.ring_full as f64 / self.flood.sent.max(1) as f64
    }

    /// Of what came through the ring, good clients' packets included.
    fn to_stack_percent(&self) -> f64 {
        100.0 * self.to_stack as f64 / self.received.max(1) as f64
    }

    pub fn in_time_percent(&self) -> f64 {
        100.0 * self.good.in_time as f64 / self.good.due.max(1) as f64
    }

    fn p50_ms(&self) -> f64 {
        self.good.latency.quantile_ms(0.5).unwrap_or(f64::NAN)
    }

    fn p99_ms(&self) -> f64 {
        self.good.latency.quantile_ms(0.99).unwrap_or(f64::NAN)
    }

    fn newcomers_percent(&self) -> f64 {
        100.0 * self.newcomers.in_time as f64 / self.newcomers.due.max(1) as f64
    }

    /// Of its core, from the first look to the last: connecting and the end included.
    fn core_percent(&self) -> f64 {
        100.0 * self.flood.receiving.as_secs_f64() / self.flood.time.as_secs_f64()
    }

    /// For the progress.
    pub fn in_words(&self) -> String {
        format!(
            "{:.2} Mpps offered, {:.1} % ring full, {} of {} in time, p50 {:.2} ms, p99 {:.1} ms, newcomers {} of {}, core {:.0} %{}",
            self.offered_per_second() / 1e6,
            self.ring_full_percent(),
            self.good.in_time,
            self.good.due,
            self.p50_ms(),
            self.p99_ms(),
            self.newcomers.in_time,
            self.newcomers.due,
            self.core_percent(),
            match self.abused.sent {
                0 => String::new(),
                sent => format!(
                    ", abusers sent {sent}, served {}, refused {}",
                    self.abused.served, self.abused.refused
                ),
            }
        )
    }
}

impl Cell {
    fn middle(&self, of: fn(&Outcome) -> f64) -> f64 {
        median(self.outcomes.iter().map(of)).unwrap_or(f64::NAN)
    }

    fn least(&self, of: fn(&Outcome) -> f64) -> f64 {
        self.outcomes.iter().map(of).fold(f64::NAN, f64::min)
    }
}

pub fn publish(found: &Found, arguments: &Arguments, out: &Folder) -> Result<()> {
    let rate = f64::from(arguments.good);
    let mut table = Table::new([
        "attack",
        "subject",
        "Mpps",
        "ring full %",
        "to stack %",
        "good req/s",
        "in time %",
        "least",
        "p50 ms",
        "p99 ms",
        "new in time %",
        "least",
        "core %",
    ]);
    for row in BLOCKS.into_iter().flatten() {
        for pace in row.paces {
            let same = |cell: &&Cell| (cell.row, cell.per_second) == (row.name, *pace);
            for cell in found.cells.iter().filter(same) {
                table.row([
                    row.name.to_owned(),
                    cell.subject.name().to_owned(),
                    format!("{:.2}", cell.middle(Outcome::offered_per_second) / 1e6),
                    format!("{:.1}", cell.middle(Outcome::ring_full_percent)),
                    format!("{:.1}", cell.middle(Outcome::to_stack_percent)),
                    format!("{:.0}", cell.middle(Outcome::in_time_percent) * rate / 100.0),
                    format!("{:.1}", cell.middle(Outcome::in_time_percent)),
                    format!("{:.1}", cell.least(Outcome::in_time_percent)),
                    format!("{:.2}", cell.middle(Outcome::p50_ms)),
                    format!("{:.1}", cell.middle(Outcome::p99_ms)),
                    format!("{:.0}", cell.middle(Outcome::newcomers_percent)),
                    format!("{:.0}", cell.least(Outcome::newcomers_percent)),
                    format!("{:.0}", cell.middle(Outcome::core_percent)),
                ]);
            }
        }
    }
    out.table(
        "flood",
        "flood: what good clients keep of a server under attack",
        &table,
        &notes(found, arguments),
    )?;
    for row in BLOCKS.into_iter().flatten().filter(|row| row.paces.len() == SWEEP.len()) {
        let name = row.name.split(',').next().unwrap_or_default().to_lowercase();
        let kept = plot(found, row, "good requests a second, in time", |cell| {
            cell.middle(Outcome::in_time_percent) * rate / 100.0
        });
        out.plot(&format!("flood-{name}"), &kept.lines())?;
        let late = plot(found, row, "ms to an answer, 99th percentile (logarithmic)", |cell| {
            cell.middle(Outcome::p99_ms)
        });
        out.plot(&format!("flood-{name}-p99"), &late.log_lines())?;
    }
    Ok(())
}

fn plot(found: &Found, row: &Row, y_label: &str, y: impl Fn(&Cell) -> f64) -> Plot {
    let mut series: Vec<Series> = Vec::new();
    for cell in found.cells.iter().filter(|cell| cell.row == row.name) {
        let point = (cell.middle(Outcome::offered_per_second), y(cell));
        match series.iter_mut().find(|series| series.name == cell.subject.name()) {
            Some(series) => series.points.push(point),
            None => series.push(Series { name: cell.subject.name().to_owned(), points: vec![point] }),
        }
    }
    for series in &mut series {
        series.points.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    Plot {
        title: format!("{}: what good clients keep", row.name),
        x_label: "packets a second of the flood".to_owned(),
        y_label: y_label.to_owned(),
        series,
        marks: Vec::new(),
    }
}

fn notes(found: &Found, arguments: &Arguments) -> Vec<String> {
    let least = found.loads.iter().copied().fold(f64::INFINITY, f64::min);
    let most = found.loads.iter().copied().fold(0.0, f64::max);
    let mut notes = vec![
        format!(
            "{} rounds of {} ms a point, medians over rounds; least: of the worst round; load average {least:.1} to {most:.1}",
            arguments.rounds, arguments.point_ms
        ),
        format!("good req/s: of {} asked for by {} kept-alive clients, those answered within 100 ms of being due; p50 and p99 count every request, the unanswered ones too", arguments.good, super::point::GOOD_CLIENTS),
        format!("new: addresses never seen before, {} a second, a connection and a request each; in time: answered within 100 ms", super::newcomers::PER_SECOND),
        "to stack: of what came through the ring; the rest was dropped before, or answered by a SYN cookie; core: the receiving thread's share of its core, the stack's receive path included".to_owned(),
        "every point: sent = ring full + received to the packet, received = dropped + answered + passed within 64 frames (Weir, by its counters), passed = packets in the stack within 0.2 %; else void".to_owned(),
    ];
    for row in BLOCKS.into_iter().flatten().filter(|row| row.paces.len() == SWEEP.len()) {
        notes.extend(knees(found, row));
    }
    notes.extend(abused(found));
    notes.extend(found.notes.iter().cloned());
    notes
}

/// Between which paces the median goes beyond the knee, for each subject.
fn knees(found: &Found, row: &Row) -> Vec<String> {
    let mut knees = Vec::new();
    let mut subjects: Vec<_> = found.cells.iter().map(|cell| cell.subject).collect();
    subjects.dedup();
    subjects.sort_by_key(|subject| subject.name());
    subjects.dedup();
    for subject in subjects {
        let mut last = 0.0;
        let mut first = None;
        let cells = found.cells.iter().filter(|cell| cell.row == row.name && cell.subject == subject);
        for cell in cells {
            let offered = cell.middle(Outcome::offered_per_second) / 1e6;
            if cell.middle(Outcome::p50_ms) > KNEE_MS {
                first = Some(offered);
                break;
            }
            last = offered;
        }
        if last == 0.0 && first.is_none() {
            continue;
        }
        let where_to = first.map_or_else(|| "not reached".to_owned(), |first| format!("{first:.2}"));
        knees.push(format!(
            "{}, {}: p50 within {KNEE_MS} ms up to {last:.2} Mpps, beyond at {where_to}",
            row.name,
            subject.name()
        ));
    }
    knees
}

fn abused(found: &Found) -> Vec<String> {
    let per_second = |count: u64, outcome: &Outcome| count as f64 / outcome.flood.time.as_secs_f64();
    found
        .cells
        .iter()
        .filter(|cell| cell.row == super::REQUESTS)
        .map(|cell| {
            let of = |of: fn(&Outcome) -> u64| {
                median(cell.outcomes.iter().map(|outcome| per_second(of(outcome), outcome)))
                    .unwrap_or(f64::NAN)
            };
            format!(
                "{}, {}: {:.0} requests/s sent, {:.0} answered 200, {:.0} refused",
                cell.row,
                cell.subject.name(),
                of(|outcome| outcome.abused.sent),
                of(|outcome| outcome.abused.served),
                of(|outcome| outcome.abused.refused)
            )
        })
        .collect()
}
