//! Network namespaces that a test makes and that are gone when it ends, however it ends. Work is
//! done inside one by a thread that enters it: a child of that thread is inside too, and unlike with
//! `ip netns exec` it still sees bpffs and cgroups.

use std::fs::File;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A namespace of our own, with `lo` up; deleted in Drop.
pub struct Netns {
    name: String,
}

impl Netns {
    /// `role` is for who reads `ip netns`; process id and a number make the name unique.
    pub fn new(role: &str) -> Result<Self> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("weir-{}-{number}-{role}", std::process::id());
        run(&["ip", "netns", "add", &name])?;
        let netns = Self { name };
        netns.ip("link set lo up")?;
        Ok(netns)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// `ip ARGUMENTS` inside.
    pub fn ip(&self, arguments: &str) -> Result<()> {
        let mut command = vec!["ip", "-n", &self.name];
        command.extend(arguments.split_whitespace());
        run(&command).map(drop)
    }

    /// Runs `work` on a thread inside; sockets and processes that it makes are inside too.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                self.enter()?;
                work()
            });
            match inside.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Moves the calling thread inside for the rest of its life.
    pub fn enter(&self) -> Result<()> {
        let file = File::open(format!("/run/netns/{}", self.name)).context("opening the namespace")?;
        setns(file, CloneFlags::CLONE_NEWNET).context("entering the namespace")
    }

    /// Writes a file below /sys as this namespace sees it: sysfs shows the mounter's devices.
    pub fn write_sys(&self, path: &str, value: &str) -> Result<()> {
        let mut shell = Command::new("ip")
            .args(["netns", "exec", &self.name, "tee", path])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .context("starting ip netns exec")?;
        if let Some(mut input) = shell.stdin.take() {
            input.write_all(value.as_bytes())?;
        }
        let status = shell.wait()?;
        if !status.success() {
            bail!("writing {value} to {path}: {status}");
        }
        Ok(())
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        if let Err(error) = run(&["ip", "netns", "del", &self.name]) {
            eprintln!("left behind: namespace {}: {error:#}", self.name);
        }
    }
}

/// Runs a command to its end and gives its output; an error holds what it wrote.
pub fn run(command: &[&str]) -> Result<String> {
    let (program, arguments) = command.split_first().context("no command")?;
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("starting {program}: is it installed?"))?;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        bail!("{}: {}: {}", command.join(" "), output.status, error.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
