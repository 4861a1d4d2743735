//! Process 1 of a kernel that is tested in a virtual machine: mounts what tests expect, runs the test
//! binary with the arguments of `/tests.args`, tells how it ended and switches the machine off.

use std::process::Command;

use anyhow::{Context as _, Result};
use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};

const MOUNTS: [(&str, &str); 5] =
    [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"), ("bpf", "/sys/fs/bpf"), ("tmpfs", "/tmp")];

fn main() {
    match tests() {
        Ok(end) => println!("guest: the tests ended with {end}"),
        Err(error) => println!("guest: {error:#}"),
    }
    // Process 1 has nobody to return to.
    match reboot(RebootMode::RB_POWER_OFF) {
        Ok(never) => match never {},
        Err(error) => println!("guest: cannot switch off: {error}"),
    }
}

fn tests() -> Result<String> {
    for (kind, place) in MOUNTS {
        std::fs::create_dir_all(place)?;
        mount(Some(kind), place, Some(kind), MsFlags::empty(), None::<&str>)
            .with_context(|| format!("mounting {place}"))?;
    }
    println!("guest: Linux {}", std::fs::read_to_string("/proc/sys/kernel/osrelease")?.trim());
    let args = std::fs::read_to_string("/tests.args")?;
    let status = Command::new("/tests").args(args.split_whitespace()).env("CI", "true").status()?;
    Ok(status.to_string())
}
