//! A real `weir run` under test: a folder, a control socket and pins of its own, started until
//! `/readyz` says so, ended by TERM, and nothing left behind.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::bpffs::PinFolder;
use crate::http;
use crate::ports::free_port;
use crate::process::Process;
use crate::wait::wait_for;

/// Loading and verifying the programs takes the most of it, in a debug build.
const START: Duration = Duration::from_secs(20);
const STOP: Duration = Duration::from_secs(10);

/// Where an instance lives: everything that its configuration may want to name.
pub struct Place {
    folder: TempDir,
    pins: PinFolder,
    /// A free port of loopback, for a listener.
    pub port: u16,
    pub admin: SocketAddr,
}

impl Place {
    pub fn new() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("weir-test-").tempdir()?;
        let admin = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), free_port()?);
        Ok(Self { folder, pins: PinFolder::new()?, port: free_port()?, admin })
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The folder with pins named `prog_packets`, `prog_charge` and as the maps are.
    pub fn pins(&self) -> PathBuf {
        self.pins.versioned()
    }

    /// Makes the pins of an instance that ended another layout version's; the folder that they are in then.
    pub fn age_pins(&self, version: u32) -> Result<PathBuf> {
        self.pins.as_version(version)
    }

    pub fn socket(&self) -> PathBuf {
        self.folder().join("control.sock")
    }

    fn config(&self) -> PathBuf {
        self.folder().join("weir.toml")
    }

    /// Writes weir.toml: `text`, with this place's `pin_dir` in `[kernel]` and its `[admin]`.
    pub fn write_config(&self, text: &str) -> Result<()> {
        let pin_dir = format!("[kernel]\npin_dir = {:?}\n", self.pins.path());
        let text = match text.split_once("[kernel]\n") {
            Some((before, after)) => format!("{before}{pin_dir}{after}"),
            None => format!("{text}\n{pin_dir}"),
        };
        let admin = format!("\n[admin]\naddress = \"{}\"\nsocket = {:?}\n", self.admin, self.socket());
        std::fs::write(self.config(), text + &admin).context("writing weir.toml")
    }

    /// Runs `weir ARGUMENTS --config weir.toml` to its end, whether or not an instance runs. One that
    /// does not end is ended, with exit code 124.
    pub fn command(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", "30"]).arg(binary()?);
        command.args(arguments).arg("--config").arg(self.config());
        command.output().context("starting weir")
    }

    /// As [`Place::command`], for a command that must succeed and prints JSON.
    pub fn json(&self, arguments: &[&str]) -> Result<serde_json::Value> {
        let output = self.command(arguments)?;
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr);
            bail!("weir {}: {}: {}", arguments.join(" "), output.status, error.trim());
        }
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("weir {}: not JSON", arguments.join(" ")))
    }
}

/// A running instance. In Drop: TERM, then `weir xdp detach`, then the pins go.
pub struct Weir {
    process: Process,
    pub place: Place,
}

impl Weir {
    /// Starts it with the configuration that `text` makes of its place, in the namespace and on the
    /// cores of the calling thread, and waits until it is ready.
    pub fn start(text: impl FnOnce(&Place) -> String) -> Result<Self> {
        let place = Place::new()?;
        place.write_config(&text(&place))?;
        Self::start_at(place)
    }

    /// Starts it where a configuration is already written, after another's end for instance.
    pub fn start_at(place: Place) -> Result<Self> {
        let process = start_process(&place)?;
        Ok(Self { process, place })
    }

    /// Starts it by another command than `weir run --config` of root's.
    pub fn start_by(place: Place, command: Command) -> Result<Self> {
        let process = wait_until_ready(&place, command)?;
        Ok(Self { process, place })
    }

    /// As [`Weir::start_by`], where the command names things of the place.
    pub fn start_by_place(place: Place, command: impl FnOnce(&Place) -> Command) -> Result<Self> {
        let command = command(&place);
        Self::start_by(place, command)
    }

    /// Starts it again where it was, after its end.
    pub fn start_again(&mut self) -> Result<()> {
        self.process = start_process(&self.place)?;
        Ok(())
    }

    /// As [`Weir::start_again`], by another command.
    pub fn start_again_by(&mut self, command: Command) -> Result<()> {
        self.process = wait_until_ready(&self.place, command)?;
        Ok(())
    }

    /// The serving child of a keeper; None where one process serves.
    pub fn gateway_pid(&self) -> Option<Pid> {
        let children = format!("/proc/{0}/task/{0}/children", self.pid());
        let children = std::fs::read_to_string(children).ok()?;
        children.split_whitespace().next()?.parse().ok().map(Pid::from_raw)
    }

    pub fn wait(&mut self, deadline: Duration) -> Result<std::process::ExitStatus> {
        self.process.wait(deadline)
    }

    /// The first process: the keeper, where there are two.
    pub fn pid(&self) -> Pid {
        self.process.pid()
    }

    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    pub fn output(&self) -> String {
        self.process.output()
    }

    /// Runs `weir ARGUMENTS` against this instance.
    pub fn command(&self, arguments: &[&str]) -> Result<Output> {
        self.place.command(arguments)
    }

    pub fn json(&self, arguments: &[&str]) -> Result<serde_json::Value> {
        self.place.json(arguments)
    }

    /// `weir status --json`, at a JSON pointer such as `/kernel/mode`.
    pub fn status(&self, pointer: &str) -> Result<serde_json::Value> {
        let status = self.json(&["status", "--json"])?;
        status.pointer(pointer).cloned().with_context(|| format!("status has no {pointer}: {status}"))
    }

    /// The admin listener's `/metrics`; from inside the instance's namespace.
    pub fn metrics(&self) -> Result<String> {
        Ok(http::get(self.place.admin, "/metrics")?.text())
    }

    /// One of them, by its name and labels as they stand there; 0 where it is not.
    pub fn metric(&self, name: &str) -> Result<u64> {
        let metrics = self.metrics()?;
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(line.map_or(Ok(0), str::parse)?)
    }

    /// Connections and streams that it ended for `reason`.
    pub fn closed(&self, reason: &str) -> Result<u64> {
        self.metric(&format!("weir_connections_closed_total{{reason=\"{reason}\"}}"))
    }

    pub fn wait_closed(&self, reason: &str) -> Result<()> {
        let is_counted = || self.closed(reason).is_ok_and(|count| count > 0).then_some(());
        wait_for(format_args!("a connection closed for {reason}"), http::PATIENCE, is_counted)
    }

    /// The first listener's.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.place.port))
    }

    /// Kilobytes of memory that the serving process has now.
    pub fn resident_kib(&self) -> Result<u64> {
        let pid = self.gateway_pid().unwrap_or_else(|| self.pid());
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }

    /// Ends it by TERM and waits for the end; XDP stays, as the design says.
    pub fn stop(&mut self) -> Result<std::process::ExitStatus> {
        self.process.signal(Signal::SIGTERM)?;
        self.process.wait(STOP)
    }
}

fn start_process(place: &Place) -> Result<Process> {
    let mut command = Command::new(binary()?);
    command.arg("run").arg("--config").arg(place.config()).env("RUST_BACKTRACE", "1");
    wait_until_ready(place, command)
}

fn wait_until_ready(place: &Place, command: Command) -> Result<Process> {
    let mut process = Process::start("weir", command, place.folder())?;
    let admin = place.admin;
    process.wait_until("ready", START, || {
        http::get(admin, "/readyz").is_ok_and(|answer| answer.status == 200)
    })?;
    Ok(process)
}

impl Drop for Weir {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("weir did not end by TERM: {error:#}");
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.pins().exists() {
            return;
        }
        match self.command(&["xdp", "detach"]) {
            Ok(output) if output.status.success() => {}
            Ok(output) => eprintln!("weir xdp detach: {}", String::from_utf8_lossy(&output.stderr).trim()),
            Err(error) => eprintln!("weir xdp detach: {error:#}"),
        }
    }
}

/// WEIR_BIN, else the newest of the workspace's builds.
pub fn binary() -> Result<PathBuf> {
    if let Some(binary) = std::env::var_os("WEIR_BIN") {
        let binary = PathBuf::from(binary);
        ensure!(binary.is_file(), "WEIR_BIN is {}, which is not a file", binary.display());
        return Ok(binary);
    }
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    ["release", "debug"]
        .into_iter()
        .map(|profile| target.join(profile).join("weir"))
        .filter_map(|binary| Some((std::fs::metadata(&binary).ok()?.modified().ok()?, binary)))
        .max()
        .map(|(_, binary)| binary)
        .context("no weir binary: `cargo xtask build` makes one, or name it in WEIR_BIN")
}
