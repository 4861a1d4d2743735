//! `build`: target/release/weir.

use anyhow::Result;

use crate::shell::{cargo, run};

pub fn build() -> Result<()> {
    run(cargo().args(["build", "--release", "--package", "weir", "--locked"]))
}
