//! `bench fleet-sim`: one client on 1 to 1,000 simulated nodes, by seeds; Weir's own core on each, and
//! nothing that depends on this machine's speed.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, ensure};
use weir::plane::now_ns;

use super::report::{Folder, step};
use crate::fleet::{BURST, Case, Played, Promise, RATE, cases, play};
use crate::table::Table;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Runs of each case; large fleets get fewer, so that each case plays about as many nodes
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// Sizes of the fleet
    #[arg(long, value_delimiter = ',', default_values_t = [1, 3, 10, 100, 1_000])]
    nodes: Vec<usize>,
    /// Seconds after which no further case is begun
    #[arg(long, default_value_t = 3_600)]
    within: u64,
    /// Write docs/fleet-accuracy.md too
    #[arg(long)]
    docs: bool,
}

/// The page around the table.
const PAGE: &str = include_str!("fleet_sim/page.md");
/// Node-runs of a case beyond which seeds are left out.
const NODE_RUNS: u64 = 10_000;

pub fn run(arguments: &Arguments, out: &Folder) -> Result<()> {
    let start_ns = now_ns();
    let mut table = Table::new([
        "fleet and client",
        "seeds",
        "admitted, of one bucket",
        "worst",
        "most beyond the limit",
        "bound",
        "wrongly refused",
        "gaps to refuse",
    ]);
    let mut missed = Vec::new();
    for case in cases(&arguments.nodes) {
        if now_ns() - start_ns > arguments.within * 1_000_000_000 {
            step("out of time");
            break;
        }
        let seeds = arguments.seeds.min((NODE_RUNS / case.scenario.nodes as u64).max(10));
        let runs = play_all(&case, seeds);
        missed.extend(runs.iter().enumerate().filter_map(|(seed, played)| {
            Some(format!("{}, seed {seed}: {}", case.name, case.missed(played)?))
        }));
        table.row(row(&case, &runs));
        step(&case.name);
    }
    let mut text = PAGE.to_owned();
    for (name, value) in [
        ("{seeds}", arguments.seeds.to_string()),
        ("{rate}", RATE.to_string()),
        ("{burst}", BURST.to_string()),
        ("{table}", table.markdown().trim_end().to_owned()),
    ] {
        text = text.replace(name, &value);
    }
    println!("{text}");
    out.page("fleet-accuracy", &text)?;
    if arguments.docs {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
        Folder::new(docs).page("fleet-accuracy", &text)?;
    }
    step(&format!("took {} s", (now_ns() - start_ns) / 1_000_000_000));
    let shown: Vec<_> = missed.iter().take(40).cloned().collect();
    ensure!(missed.is_empty(), "{} runs beyond what is promised:\n{}", missed.len(), shown.join("\n"));
    Ok(())
}

/// On all cores; a seed's run is the same on any.
fn play_all(case: &Case, seeds: u64) -> Vec<Played> {
    let next = AtomicUsize::new(0);
    let played = Mutex::new(vec![Played::default(); seeds as usize]);
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed as u64 >= seeds {
                        return;
                    }
                    let run = play(&case.scenario, seed as u64);
                    let mut played = played.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Some(place) = played.get_mut(seed) {
                        *place = run;
                    }
                }
            });
        }
    });
    played.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn row(case: &Case, runs: &[Played]) -> [String; 8] {
    let percent = |played: &Played| 100.0 * (played.admitted as f64 / played.ideal.max(1) as f64 - 1.0);
    let mean = runs.iter().map(percent).sum::<f64>() / runs.len().max(1) as f64;
    let worst = runs.iter().map(percent).max_by(|one, other| one.abs().total_cmp(&other.abs()));
    let peak = runs.iter().map(|played| played.peak).max_by(f64::total_cmp).unwrap_or(0.0);
    let refused: u64 = runs.iter().map(|played| played.wrongly_refused).sum();
    let offered: u64 = runs.iter().map(|played| played.offered).sum();
    let mut gaps: Vec<_> = runs.iter().flat_map(|played| played.gaps_to_refuse.iter().copied()).collect();
    gaps.sort_by(f64::total_cmp);
    let gaps = gaps.get(gaps.len() * 99 / 100).copied().unwrap_or(0.0);
    let good = matches!(case.promise, Promise::NoneRefused | Promise::FewRefused);
    [
        case.name.clone(),
        runs.len().to_string(),
        format!("{mean:+.1} %"),
        format!("{:+.1} %", worst.unwrap_or(0.0)),
        format!("{peak:.0}"),
        if case.promise == Promise::Bounded { format!("{:.0}", case.bound()) } else { "-".to_owned() },
        if good { format!("{refused} of {offered}") } else { "-".to_owned() },
        if good {
            "-".to_owned()
        } else if gaps > 1e6 {
            "never".to_owned()
        } else {
            format!("{gaps:.1}")
        },
    ]
}
