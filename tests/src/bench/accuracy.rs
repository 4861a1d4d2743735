//! `bench accuracy`: the packet path in the kernel against an exact limiter, by class of client, during
//! spoofed floods and with more clients than entries. On a virtual clock: no figure depends on the machine's
//! speed, and a seed gives the same table again.

mod tables;

use std::path::Path;

use anyhow::{Result, ensure};
use weir::plane::now_ns;

use super::report::{Folder, cores, kernel, step};
use crate::accuracy::{BUDGET, BURST, RATE, share};
use crate::replay::Family;
use tables::{Run, crowds, floods};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Of everything random
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Seconds of each run, on the virtual clock
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Packets a second of the flood
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1_000..=10_000_000))]
    flood: u64,
    /// Write docs/accuracy.md too
    #[arg(long)]
    docs: bool,
}

/// The page around the tables.
const PAGE: &str = include_str!("accuracy/page.md");

pub fn run(arguments: &Arguments, out: &Folder) -> Result<()> {
    let start_ns = now_ns();
    let mut run = Run::new(arguments.seed, arguments.seconds, arguments.flood);
    let (v4, v6) = (floods(&mut run, Family::V4)?, floods(&mut run, Family::V6)?);
    let crowds = crowds(&mut run)?;
    let release = kernel();
    let version: Vec<_> = release.split('.').take(2).collect();
    let share_percent = share(1) as f64 * 100.0 / arguments.flood as f64;
    let mut text = PAGE.to_owned();
    for (name, value) in [
        ("{machine}", format!("{} cores, Linux {}", cores(), version.join("."))),
        ("{seed}", arguments.seed.to_string()),
        ("{seconds}", arguments.seconds.to_string()),
        ("{flood}", arguments.flood.to_string()),
        ("{rate}", RATE.to_string()),
        ("{burst}", BURST.to_string()),
        ("{tick}", BUDGET.to_string()),
        ("{budget}", share(1).to_string()),
        ("{share}", format!("{share_percent:.3}")),
        ("{v4}", v4.markdown().trim_end().to_owned()),
        ("{v6}", v6.markdown().trim_end().to_owned()),
        ("{crowds}", crowds.markdown().trim_end().to_owned()),
    ] {
        text = text.replace(name, &value);
    }
    println!("{text}");
    out.page("accuracy", &text)?;
    if arguments.docs {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
        Folder::new(docs).page("accuracy", &text)?;
    }
    step(&format!("seed {}; took {} s", arguments.seed, (now_ns() - start_ns) / 1_000_000_000));
    let missed = run.missed();
    ensure!(missed.is_empty(), "beyond what is promised:\n{}", missed.join("\n"));
    Ok(())
}
