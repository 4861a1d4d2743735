//! The benches. Each compares subjects in interleaved short runs, because wall times on shared
//! cores are noise: what counts are the ratios inside a round.

mod accuracy;
mod capacity;
mod fleet_sim;
mod flood;
mod packets;
mod proxy;
mod report;
mod sources;
mod testbed;

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand};

pub use report::Folder;
pub use testbed::{Family, Flood, Ground, TCP_PORT, Testbed, UDP_PORT};

/// Compares Weir with other ways to do the same, in one run.
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct Arguments {
    /// Folder for tables and plots
    #[arg(long, default_value = "target/bench", global = true)]
    out: PathBuf,
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// The limiter in the kernel against an exact one, on a virtual clock, by class of client
    Accuracy(accuracy::Arguments),
    /// What a receiving core pays for a packet: Weir, the parse-count-drop ceiling, a bare drop, nftables meters
    Capacity(capacity::Arguments),
    /// One limit over 1 to 1,000 nodes, on a simulated clock and network
    FleetSim(fleet_sim::Arguments),
    /// What good clients keep of a server under attack: Weir, nothing, nginx limit_req, an nftables meter
    Flood(flood::Arguments),
    /// Nanoseconds a packet and microseconds a charge, by test run of a running Weir's programs
    Packets(packets::Arguments),
    /// Hyper's server and client, alone: a subject of `proxy`
    #[command(hide = true)]
    Bare(proxy::bare::Arguments),
    /// CPU time a proxied request: Weir, nginx, HAProxy, a bare hyper proxy
    Proxy(proxy::Arguments),
    /// Time to an answer at fixed rates: Weir, nginx, HAProxy
    Latency(proxy::latency::Arguments),
    /// Memory of a connection that does nothing: Weir, nginx, HAProxy
    Idle(proxy::idle::Arguments),
    /// Ten million distinct sources: memory against what `weir check` promised
    Sources(sources::Arguments),
}

/// Parses the command line and runs a bench.
pub fn main() -> Result<()> {
    let arguments = Arguments::parse();
    ensure!(nix::unistd::geteuid().is_root(), "the benches need root, for namespaces and XDP");
    if let Bench::Bare(arguments) = &arguments.bench {
        return proxy::bare::run(arguments);
    }
    std::fs::create_dir_all(&arguments.out)?;
    let report = report::Folder::new(arguments.out);
    match &arguments.bench {
        Bench::Accuracy(arguments) => accuracy::run(arguments, &report),
        Bench::Capacity(arguments) => capacity::run(arguments, &report),
        Bench::FleetSim(arguments) => fleet_sim::run(arguments, &report),
        Bench::Flood(arguments) => flood::run(arguments, &report),
        Bench::Packets(arguments) => packets::run(arguments, &report),
        Bench::Bare(_) => Ok(()),
        Bench::Proxy(arguments) => proxy::run(arguments, &report),
        Bench::Latency(arguments) => proxy::latency::run(arguments, &report),
        Bench::Idle(arguments) => proxy::idle::run(arguments, &report),
        Bench::Sources(arguments) => sources::run(arguments, &report),
    }
}

/// The middle of the values; of an even number the upper of the two.
fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
