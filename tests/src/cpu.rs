//! CPU time of processes and threads, from /proc, in nanoseconds; and on which core the caller runs.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::netns::run;

/// CPU time that all threads of `pid` have run. Threads that ended are not in it.
pub fn process_time(pid: Pid) -> Result<Duration> {
    let tasks =
        std::fs::read_dir(format!("/proc/{pid}/task")).with_context(|| format!("process {pid} is gone"))?;
    // A thread that ends between the listing and the read counts as not there.
    Ok(tasks.flatten().filter_map(|task| scheduled(&task.path()).ok()).sum())
}

/// CPU time of one thread, a kernel thread for instance.
pub fn thread_time(tid: Pid) -> Result<Duration> {
    scheduled(Path::new(&format!("/proc/{tid}")))
}

/// CPU time of a process with all of its descendants that live.
pub fn family_time(pid: Pid) -> Result<Duration> {
    let mut sum = process_time(pid)?;
    for child in children(pid) {
        sum += family_time(child).unwrap_or_default();
    }
    Ok(sum)
}

/// The living children of `pid`.
pub fn children(pid: Pid) -> Vec<Pid> {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<i32>>())
        .map(Pid::from_raw)
        .collect()
}

/// Resident bytes of one process.
pub fn resident_bytes(pid: Pid) -> Result<u64> {
    let status =
        std::fs::read_to_string(format!("/proc/{pid}/status")).context("reading a process's status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS line")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse().context("reading VmRSS")?;
    Ok(kib * 1024)
}

/// Resident bytes of a process with its descendants.
pub fn family_resident_bytes(pid: Pid) -> Result<u64> {
    let children: u64 = children(pid).into_iter().filter_map(|pid| family_resident_bytes(pid).ok()).sum();
    Ok(resident_bytes(pid)? + children)
}

/// Keeps the calling thread, and what it starts from now on, on one core.
pub fn stay_on(cpu: usize) -> Result<()> {
    let mut only = CpuSet::new();
    only.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &only).with_context(|| format!("moving to core {cpu}"))
}

/// Lets the calling thread, and what it starts from now on, run on every core.
pub fn go_anywhere() -> Result<()> {
    let mut all = CpuSet::new();
    (0..CpuSet::count()).try_for_each(|cpu| all.set(cpu))?;
    sched_setaffinity(Pid::from_raw(0), &all).context("moving to any core")
}

/// Makes this process and its children come before whatever else runs on the machine. Where the kernel
/// groups processes by session, `nice` orders those of one session only, so the session gets one too.
pub fn go_before_others() -> Result<()> {
    const GROUP: &str = "/proc/self/autogroup";
    // Fails for who leads a session or a job already, which is a group of its own as well.
    let _already_leads = nix::unistd::setsid();
    if Path::new(GROUP).exists() {
        std::fs::write(GROUP, "-20").context("setting the session's nice")?;
    }
    Ok(())
}

/// Who comes first on a shared core: -20 before, 19 after everybody else.
pub fn renice(thread: Pid, nice: i8) -> Result<()> {
    run(&["renice", "-n", &nice.to_string(), "-p", &thread.to_string()]).map(drop)
}

/// Runs the thread at once whenever it has work, before everything that is not real time and before what
/// has a lower priority (1 to 99). For threads that sleep most of the time.
pub fn real_time(thread: Pid, priority: u8) -> Result<()> {
    run(&["chrt", "-f", "-p", &priority.to_string(), &thread.to_string()]).map(drop)
}

/// First field of schedstat: nanoseconds on a core. Kernels without schedstats have it all the same.
fn scheduled(task: &Path) -> Result<Duration> {
    let text = std::fs::read_to_string(task.join("schedstat")).context("reading schedstat")?;
    let ns = text.split_whitespace().next().context("an empty schedstat")?;
    Ok(Duration::from_nanos(ns.parse().context("reading schedstat")?))
}
