//! What the kernel's verifier has to read: each program's count is recorded, so that a change which
//! multiplies it is seen when it is made and not when a kernel refuses the program.

use anyhow::{Context as _, Result};
use aya::programs::ProgramInfo;
use weir_ebpf::abi::programs;
use weir_tests::kernel_path::KernelPath;
use weir_tests::root::require_root;

/// Verified instructions on Linux 6.18; a tenth more or less by compiler. The kernel's own end is a million.
const RECORDED: [(&str, u32); 2] = [(programs::PACKETS, 127_000), (programs::CHARGE, 3_150)];

#[test]
fn no_program_grew_by_a_fifth() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let kernel = KernelPath::small()?;
    for (name, recorded) in RECORDED {
        let info = ProgramInfo::from_pin(kernel.pins().program(name))?;
        let count = info.verified_instruction_count().context("this kernel does not count")?;
        println!("{name}: {count} verified instructions, {recorded} recorded");
        assert!(count <= recorded + recorded / 5, "{name}: {count}, and {recorded} were recorded");
    }
    Ok(())
}
