//! System calls a request, counted by strace, which slows the subject down: never in a timed run.

use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cpu::children;
use crate::wait::let_pass;
use std::time::Duration;

/// For strace to find all threads.
const ATTACH: Duration = Duration::from_millis(500);

/// Of a process and its children, while `load` runs; waits for nothing are not counted.
pub fn per_request(pid: Pid, load: impl FnOnce() -> Result<u64>) -> Result<f64> {
    let report = tempfile::NamedTempFile::new()?;
    let mut command = Command::new("strace");
    command.args(["-f", "-c", "-q", "-o"]).arg(report.path());
    for pid in std::iter::once(pid).chain(children(pid)) {
        command.arg("-p").arg(pid.to_string());
    }
    let mut strace = command.stderr(Stdio::null()).spawn().context("starting strace")?;
    let_pass(ATTACH);
    let requests = load();
    kill(Pid::from_raw(i32::try_from(strace.id())?), Signal::SIGINT)?;
    strace.wait()?;
    let text = std::fs::read_to_string(report.path())?;
    Ok(calls(&text) as f64 / requests? as f64)
}

/// The column `calls`, fourth, of every row of a call; the sum is the last one.
fn calls(report: &str) -> u64 {
    let of_row = |line: &str| {
        let cells: Vec<_> = line.split_whitespace().collect();
        let name = cells.last().copied().unwrap_or_default();
        let is_call = name != "total" && name != "syscall" && !name.starts_with('-');
        cells.get(3).filter(|_| is_call).and_then(|count| count.parse::<u64>().ok())
    };
    report.lines().filter_map(of_row).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_calls_are_added_up() {
        let report = "% time     seconds  usecs/call     calls    errors syscall\n\
                      ------ ----------- ----------- --------- --------- ----------------\n\
                       60.97    0.689410        2064       334           epoll_wait\n\
                        0.20    0.002282          33        68        64 connect\n\
                      ------ ----------- ----------- --------- --------- ----------------\n\
                      100.00    1.130692          25     44000       193 total\n";
        assert_eq!(calls(report), 402);
    }
}
