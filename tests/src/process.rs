//! A child process that is gone when its owner is: killed and waited for in Drop, its output in a
//! file that an error can quote.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::wait::wait_for;

/// Lines of output that an error quotes.
const QUOTED_LINES: usize = 12;

/// A running child.
pub struct Process {
    child: Child,
    name: String,
    output: PathBuf,
}

impl Process {
    /// Starts `command` with both outputs in `folder`/`name`.log.
    pub fn start(name: &str, mut command: Command, folder: &Path) -> Result<Self> {
        let output = folder.join(format!("{name}.log"));
        let file =
            File::options().create(true).append(true).open(&output).context("opening the child's log")?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("starting {name} ({:?})", command.get_program()))?;
        Ok(Self { child, name: name.to_owned(), output })
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap_or(i32::MAX))
    }

    /// Everything that it wrote so far.
    pub fn output(&self) -> String {
        std::fs::read_to_string(&self.output).unwrap_or_default()
    }

    /// The end of its output, for an error's text.
    pub fn last_words(&self) -> String {
        let output = self.output();
        let lines: Vec<_> = output.lines().collect();
        lines.get(lines.len().saturating_sub(QUOTED_LINES)..).unwrap_or_default().join("\n")
    }

    /// Waits until `condition` holds; an early end of the child is an error that quotes it.
    pub fn wait_until(
        &mut self,
        what: &str,
        deadline: Duration,
        mut condition: impl FnMut() -> bool,
    ) -> Result<()> {
        let child = &mut self.child;
        let result = wait_for(what, deadline, || match child.try_wait() {
            Ok(Some(status)) => Some(Err(anyhow::anyhow!("it ended with {status}"))),
            Ok(None) | Err(_) => condition().then_some(Ok(())),
        });
        result.and_then(|held| held).with_context(|| format!("{}: {what}\n{}", self.name, self.last_words()))
    }

    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(self.pid(), signal).with_context(|| format!("sending {signal} to {}", self.name))
    }

    /// Waits for its end.
    pub fn wait(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let child = &mut self.child;
        wait_for(format!("the end of {}", self.name), deadline, || child.try_wait().ok().flatten())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            // Both fail only when the child ended meanwhile, which is what is wanted.
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}
