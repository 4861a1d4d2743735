//! `cargo xtask`: everything that is done to this repository, one file a command.

mod setup;

mod build;

mod run;

mod test;

mod test_kernel;

mod lint;

mod tidy;

mod bench;

mod fuzz;

mod shell;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What is done to this repository.
#[derive(Parser)]
#[command(name = "cargo xtask", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Find or install what building and running need; says each step before it does it
    Setup(setup::Setup),
    /// Make target/release/weir
    Build,
    /// Set up, build, and start the quickstart (by sudo where that is needed)
    Run(run::Run),
    /// Flood a server in network namespaces, without and with Weir (root)
    Demo(bench::Passed),
    /// Every test, namespaces and Redis included
    Test(test::Test),
    /// Tests of the kernel side on Linux 6.1, in a virtual machine
    TestKernel(test_kernel::TestKernel),
    /// fmt, clippy with warnings denied, tidy
    Lint,
    /// Search for frames that the packet path gets wrong, on the host and against the kernel
    Fuzz(fuzz::Fuzz),
    /// Measure: accuracy, capacity, flood, packets, proxy, sources (root)
    Bench(bench::Passed),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Setup(args) => setup::setup(&args),
        Command::Build => build::build(),
        Command::Run(args) => run::run(&args),
        Command::Demo(args) => bench::bench("demo", &args),
        Command::Test(args) => test::test(&args),
        Command::TestKernel(args) => test_kernel::test_kernel(&args),
        Command::Lint => lint::lint(),
        Command::Fuzz(args) => fuzz::fuzz(&args),
        Command::Bench(args) => bench::bench("bench", &args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::from(error.downcast_ref::<shell::Exit>().map_or(1, |exit| exit.0))
        }
    }
}
