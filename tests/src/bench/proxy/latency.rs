//! `bench latency`: how long an answer takes at fixed rates, through the same subjects, in interleaved
//! rounds.

use std::time::Duration;

use anyhow::Result;

use super::scenario::{Ground, Scenario};
use super::subject::{SUBJECTS, Started};
use super::{LOAD_CPU, Subject};
use crate::bench::median;
use crate::bench::report::{Folder, step};
use crate::cpu::stay_on;
use crate::load::{Answers, Load};
use crate::netns::Netns;
use crate::table::Table;

const SHARES: [f64; 3] = [0.5, 0.99, 0.999];

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Rounds; each runs every subject at every rate once
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Seconds of each run
    #[arg(long, default_value_t = 4)]
    seconds: u32,
    /// Kept-alive connections, a thread each
    #[arg(long, default_value_t = 16)]
    connections: u16,
    /// Requests a second; the second is half of what a Tyk 5.8 carries on one core
    #[arg(long, value_delimiter = ',', default_values_t = [300, 4_800])]
    rates: Vec<u32>,
}

pub fn run(arguments: &Arguments, out: &Folder) -> Result<()> {
    let ground = Netns::new("lo")?;
    ground.run(|| compare(arguments, out))
}

fn compare(arguments: &Arguments, out: &Folder) -> Result<()> {
    const COMPARED: [Subject; 4] =
        [Subject::Nginx, Subject::Haproxy, Subject::WeirTable, Subject::WeirKernel];
    stay_on(LOAD_CPU)?;
    let ground = Ground::new()?;
    let started = COMPARED.map(|subject| subject.start(Scenario::Limit, &ground));
    let started = started.into_iter().collect::<Result<Vec<_>>>()?;
    stay_on(LOAD_CPU)?;
    let mut table = Table::new(["rate", "subject", "p50 ms", "p99 ms", "p99.9 ms", "p99 of nginx", "failed"]);
    for rate in &arguments.rates {
        let mut runs: Vec<Vec<Answers>> = started.iter().map(|_| Vec::new()).collect();
        for round in 0..arguments.rounds {
            for ((subject, runs), kind) in started.iter().zip(&mut runs).zip(COMPARED) {
                let answers = ask(subject, *rate, arguments);
                let p99 = answers.latency.quantile_ms(0.99).unwrap_or(f64::NAN);
                step(&format!("{rate}/s, round {}: {}: p99 {p99:.2} ms", round + 1, kind.label()));
                runs.push(answers);
            }
        }
        note(&mut table, *rate, &runs, &COMPARED);
    }
    let notes = [
        format!(
            "{} rounds of {} s, {} connections",
            arguments.rounds, arguments.seconds, arguments.connections
        ),
        "medians of the rounds' quantiles; p99 of nginx: median of the ratios inside rounds".to_owned(),
        "with a limit by client that nobody reaches; failed: not answered by 200 in 2 s, of all rounds"
            .to_owned(),
    ];
    out.table("latency", "proxy: time to an answer at a fixed rate", &table, &notes)
}

fn ask(subject: &Started, rate: u32, arguments: &Arguments) -> Answers {
    let load = Load {
        connections: arguments.connections,
        per_second: Some(rate),
        ..Load::on(subject.address, Duration::from_secs(u64::from(arguments.seconds)))
    };
    load.run()
}

fn note(table: &mut Table, rate: u32, runs: &[Vec<Answers>], subjects: &[Subject]) {
    let Some(nginx) = runs.first() else { return };
    let at = |answers: &Answers, share| answers.latency.quantile_ms(share).unwrap_or(f64::NAN);
    for (runs, subject) in runs.iter().zip(subjects) {
        let [p50, p99, p999] = SHARES
            .map(|share| format!("{:.2}", median(runs.iter().map(|one| at(one, share))).unwrap_or(f64::NAN)));
        let ratio = median(runs.iter().zip(nginx).map(|(run, peer)| at(run, 0.99) / at(peer, 0.99)));
        let failed: u64 = runs.iter().map(|one| one.failures + one.total() - one.of(200)).sum();
        let label = SUBJECTS.iter().find(|(one, _)| one == subject).map_or("", |(_, label)| label);
        let ratio = format!("{:.2}", ratio.unwrap_or(f64::NAN));
        table.row([rate.to_string(), label.to_owned(), p50, p99, p999, ratio, failed.to_string()]);
    }
}
