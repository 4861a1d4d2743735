//! `bench` and `demo`: programs of weir-tests, built for speed and started as root.

use anyhow::{Result, bail};
use clap::Args;

use crate::build::build;
use crate::setup::{Setup, setup};
use crate::shell::{cargo, is_root, root, run};

#[derive(Args)]
pub struct Passed {
    /// What the program is told; `--help` among it lists what there is
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

pub fn bench(program: &str, args: &Passed) -> Result<()> {
    if !is_root() {
        bail!("network namespaces and XDP need root: sudo -E cargo xtask {program}");
    }
    setup(&if program == "bench" { Setup::of_bench() } else { Setup::of(true) })?;
    build()?;
    let mut command = cargo();
    command.args(["run", "--release", "--locked", "--package", "weir-tests", "--bin", program, "--"]);
    run(command.args(&args.rest).env("WEIR_BIN", root().join("target/release/weir")))
}
