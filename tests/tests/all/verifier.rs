//! What the kernel's verifier has to read: each program's count is recorded, so that a change which
//! multiplies it is seen when it is made and not when a kernel refuses the program.

use std::process::Command;

use anyhow::{Context as _, Result};
use aya::programs::ProgramInfo;
use weir_ebpf::abi::programs;
use weir_tests::kernel_path::KernelPath;
use weir_tests::root::require_root;
use weir_tests::weir::binary;

/// Verified instructions, a tenth more or less by compiler: on Linux 6.18 and on 6.1. The kernel's own end
/// is a million.
const RECORDED: [(&str, u32, u32); 2] =
    [(programs::PACKETS, 168_300, 170_200), (programs::CHARGE, 3_150, 4_150)];

#[test]
fn no_program_grew_by_a_fifth() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let kernel = KernelPath::small()?;
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    for (name, on_6_18, on_6_1) in RECORDED {
        let recorded = if release.starts_with("6.1.") { on_6_1 } else { on_6_18 };
        let info = ProgramInfo::from_pin(kernel.pins().program(name))?;
        let count = info.verified_instruction_count().context("this kernel does not count")?;
        println!("{name}: {count} verified instructions, {recorded} recorded");
        assert!(count <= recorded + recorded / 5, "{name}: {count}, and {recorded} were recorded");
    }
    Ok(())
}

/// Every feature that is asked for is found where the programs load; without capabilities none can be.
#[test]
fn the_kernel_is_asked_for_each_feature() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let binary = binary()?;
    let probe = |command: &mut Command| -> Result<(Option<i32>, Vec<serde_json::Value>)> {
        let output = command.output()?;
        Ok((output.status.code(), serde_json::from_slice(&output.stdout)?))
    };
    let (code, rows) = probe(Command::new(&binary).args(["xdp", "probe", "--json"]))?;
    assert!(rows.len() >= 15 && rows.iter().all(|row| row["found"] == "yes"), "{rows:?}");
    assert_eq!(code, Some(0));
    let mut bare = Command::new("setpriv");
    bare.args(["--bounding-set=-all", "--inh-caps=-all"]).arg(&binary).args(["xdp", "probe", "--json"]);
    let (code, rows) = probe(&mut bare)?;
    assert!(rows.iter().all(|row| row["found"] == "unknown" && row["error"].is_string()), "{rows:?}");
    assert_eq!(code, Some(3));
    Ok(())
}
