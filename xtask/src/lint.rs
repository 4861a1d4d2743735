//! `lint`: fmt, clippy with warnings denied, tidy.

use anyhow::Result;

use crate::setup::{Setup, setup};
use crate::shell::{cargo, root, run};
use crate::tidy::tidy;

pub fn lint() -> Result<()> {
    setup(&Setup::of(false))?;
    run(cargo().args(["fmt", "--all", "--check"]))?;
    run(cargo().args(["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))?;
    tidy(&root())
}
