//! Real Redis servers: one alone, a master with replicas and Sentinels, a Cluster. Each on ports that
//! were free, in a folder of its own; killed, frozen and started again as a test likes, gone when it ends.

mod cluster;
mod relay;
mod sentinels;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::ports::free_port;
use crate::process::Process;
use crate::wait::wait_for;

pub use cluster::Cluster;
pub use relay::{Mood, Relay};
pub use sentinels::Watched;

/// To a server that answers, on a busy machine.
const START: Duration = Duration::from_secs(15);

/// A server.
pub struct Redis {
    process: Option<Process>,
    folder: TempDir,
    options: Vec<String>,
    pub port: u16,
    /// What `redis-cli` needs beside the port: a password, TLS.
    cli: Vec<String>,
}

impl Redis {
    /// Without persistence: killed, it is empty.
    pub fn start() -> Result<Self> {
        Self::start_with(&["--save", "", "--appendonly", "no"])
    }

    /// Killed and started again it has what it had.
    pub fn start_kept() -> Result<Self> {
        Self::start_with(&["--save", "", "--appendonly", "yes", "--appendfsync", "always"])
    }

    pub fn start_with(options: &[&str]) -> Result<Self> {
        let mut redis = Self::prepared(options)?;
        redis.start_again()?;
        Ok(redis)
    }

    /// By TLS alone, with the certificates `server.crt`, `server.key` and `ca.crt` of `folder`.
    pub fn start_tls(folder: &Path, options: &[&str]) -> Result<Self> {
        let mut redis = Self::prepared(&["--save", ""])?;
        let file = |name: &str| folder.join(name).display().to_string();
        let port = redis.port.to_string();
        let tls = ["--port", "0", "--tls-port", &port, "--tls-cert-file", &file("server.crt")];
        redis.options.extend(tls.map(str::to_owned));
        let tls = ["--tls-key-file", &file("server.key"), "--tls-ca-cert-file", &file("ca.crt")];
        redis.options.extend(tls.map(str::to_owned));
        redis.options.extend(options.iter().map(|word| (*word).to_owned()));
        redis.cli = [
            "--tls",
            "--cacert",
            &file("ca.crt"),
            "--cert",
            &file("server.crt"),
            "--key",
            &file("server.key"),
        ]
        .map(str::to_owned)
        .to_vec();
        redis.start_again()?;
        Ok(redis)
    }

    /// A place and a port; nothing runs yet.
    pub fn prepared(options: &[&str]) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("weir-redis-").tempdir()?;
        let options = options.iter().map(|word| (*word).to_owned()).collect();
        Ok(Self { process: None, folder, options, port: free_port()?, cli: Vec::new() })
    }

    /// After [`Redis::kill`], at the same port with the same folder.
    pub fn start_again(&mut self) -> Result<()> {
        let mut command = Command::new("redis-server");
        command.current_dir(self.folder.path());
        // What an option says later wins.
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--dir", "."]);
        // Sentinels want their file first.
        let file = self.folder.path().join("sentinel.conf");
        if file.exists() {
            command = Command::new("redis-server");
            command.current_dir(self.folder.path()).arg(&file);
            command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"]);
        }
        command.args(&self.options);
        let mut process = Process::start("redis", command, self.folder.path())?;
        // One that wants a password answers all the same.
        process.wait_until("answers", START, || {
            let said = self.run(&["PING"]).unwrap_or_default();
            said.contains("PONG") || said.contains("NOAUTH") || said.contains("NOPERM")
        })?;
        self.process = Some(process);
        Ok(())
    }

    /// As `kill -9`.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Holds it still, as a host that hangs.
    pub fn freeze(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    pub fn thaw(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        self.process.as_ref().context("redis does not run")?.signal(signal)
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Passwords for [`Redis::ask`].
    pub fn speak_with(&mut self, words: &[&str]) {
        self.cli.extend(words.iter().map(|word| (*word).to_owned()));
    }

    /// A command by `redis-cli`; an error that Redis answers is one.
    pub fn ask(&self, words: &[&str]) -> Result<String> {
        let said = self.run(words)?;
        let codes =
            ["ERR ", "NOAUTH", "WRONGPASS", "NOPERM", "OOM ", "READONLY", "MOVED ", "CLUSTERDOWN", "LOADING"];
        if codes.iter().any(|code| said.starts_with(code)) {
            bail!("redis {words:?}: {}", said.trim());
        }
        Ok(said.trim().to_owned())
    }

    fn run(&self, words: &[&str]) -> Result<String> {
        let mut command = Command::new("timeout");
        command.args(["10", "redis-cli", "--no-auth-warning", "-p", &self.port.to_string()]);
        let output = command.args(&self.cli).args(words).output().context("starting redis-cli")?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
    }

    /// A number that INFO tells.
    pub fn info(&self, name: &str) -> Result<u64> {
        let all = self.ask(&["INFO", "everything"])?;
        let line = all.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        Ok(line.with_context(|| format!("INFO has no {name}"))?.trim().parse()?)
    }

    pub fn is_master(&self) -> bool {
        self.run(&["ROLE"]).is_ok_and(|said| said.starts_with("master"))
    }

    pub fn wait_master(&self, deadline: Duration) -> Result<()> {
        wait_for(format!("{} is a master", self.port), deadline, || self.is_master().then_some(()))
    }
}
