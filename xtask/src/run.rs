//! `run`: the quickstart, from nothing.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::build::build;
use crate::setup::{Setup, setup};
use crate::shell::{has, is_root, root};

#[derive(Args)]
pub struct Run {
    /// Configuration
    #[arg(long, default_value = "examples/quickstart.toml")]
    config: String,
    /// Passed to `weir run`
    #[arg(last = true)]
    rest: Vec<String>,
}

pub fn run(args: &Run) -> Result<()> {
    setup(&Setup::of(false))?;
    build()?;
    let weir = root().join("target/release/weir");
    let mut command = if is_root() {
        Command::new(&weir)
    } else if has("sudo") {
        println!("doing: start as root, for the kernel plane: sudo {} run", weir.display());
        let mut sudo = Command::new("sudo");
        sudo.arg(&weir);
        sudo
    } else {
        println!("no root and no sudo: limits live in the process table, not in the kernel");
        Command::new(&weir)
    };
    command.current_dir(root()).arg("run").args(["--config", &args.config]).args(&args.rest);
    // Replaces this process, so that signals reach weir.
    Err(command.exec()).context("starting weir")
}
