//! `test`: every test of the workspace. Those in namespaces want root; without it they print why they
//! skip, and with CI=true they fail.

use anyhow::{Result, bail};
use clap::Args;

use crate::setup::{Setup, setup};
use crate::shell::{cargo, is_root, root, run};

#[derive(Args)]
pub struct Test {
    /// Only tests whose name contains this
    filter: Option<String>,
}

pub fn test(args: &Test) -> Result<()> {
    if !is_root() {
        if std::env::var("CI").as_deref() == Ok("true") {
            bail!("tests with namespaces need root, and CI=true forbids skipping them");
        }
        println!("not root: tests with namespaces, XDP or sockops print why they skip");
    }
    setup(&Setup::of(true))?;
    run(cargo().args(["build", "--package", "weir", "--bins", "--locked"]))?;
    let mut test = cargo();
    test.args(["test", "--workspace", "--locked"]).env("WEIR_BIN", root().join("target/debug/weir"));
    if let Some(filter) = &args.filter {
        test.arg(filter);
    }
    run(&mut test)
}
