//! The composition root: builds the parts in order, wires the channels between them, waits, drains.
//! With a kernel plane this process is the keeper and its child the gateway; without, one process serves.

mod banner;

mod serve;
mod signals;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;

pub use self::serve::possible_cpus;
use self::serve::{Serving, serve};
use crate::config::{self, Config};
use crate::kernel::{
    Capacities, CapacitiesWanted, Established, Facts, Guard, Handover, Interface, Interfaces, Keeper,
    Manager, ManagerSaid, ModeWanted, Names, addresses, end_cookies, establish, open_listeners,
};
use crate::plane::{Maps, PinDir};

/// `weir run`, and what its child is told.
#[derive(Clone, Debug)]
pub struct RunArgs {
    pub config: PathBuf,
    /// Named on the command line: they win over [kernel] interfaces.
    pub interfaces: Vec<String>,
    pub default_socket: PathBuf,
    /// Operators' addresses: far ends of the SSH sessions that this was started from.
    pub sessions: Vec<IpAddr>,
    pub manager: ManagerSaid,
}

/// A configuration and whom it must not cut off, as this host is now.
pub struct Loaded {
    pub config: Config,
    pub guard: Guard,
    names: Names,
}

/// Exit codes of design.md section 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Done = 0,
    Wrong = 1,
    System = 3,
}

/// Why a run ended before it should.
pub struct Failure {
    pub exit: Exit,
    pub error: anyhow::Error,
}

impl Failure {
    fn wrong(error: impl Into<anyhow::Error>) -> Self {
        Self { exit: Exit::Wrong, error: error.into() }
    }

    fn system(error: impl Into<anyhow::Error>) -> Self {
        Self { exit: Exit::System, error: error.into() }
    }
}

/// Threads that serve: the setting, or one a core that this process may run on.
pub fn workers(config: &Config) -> usize {
    config.workers.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get))
}

/// Reads the configuration and lays the command line over it; one that would cut off whom the guard
/// names is refused.
pub fn load(args: &RunArgs) -> Result<Loaded, config::Errors> {
    let (loaded, held) = load_anyway(args)?;
    held.map(|()| loaded)
}

/// As [`load`], and what the guard says against it: it wins over a deny list, so a gateway that is
/// started again serves.
fn load_anyway(args: &RunArgs) -> Result<(Loaded, Result<(), config::Errors>), config::Errors> {
    let text = config::read(&args.config)?;
    let mut config = config::parse(&text, &args.config, &args.default_socket)?;
    overlay(&args.interfaces, &mut config);
    let mut names = Names::default();
    let guard = config::find_guard(&config, &[], &args.sessions, &mut names)?;
    let held = config::refuse_cut_off(&text, &config, &guard);
    Ok((Loaded { config, guard, names }, held))
}

fn overlay(interfaces: &[String], config: &mut Config) {
    if !interfaces.is_empty() {
        config.kernel.interfaces = Interfaces::Named(interfaces.to_vec());
    }
}

/// Runs until TERM.
pub fn run(args: &RunArgs) -> Result<ExitCode, Failure> {
    let loaded = load(args).map_err(Failure::wrong)?;
    let config = &loaded.config;
    let wanted: Vec<_> = config.proxy.listeners.iter().map(|listener| listener.address).collect();
    let mut manager = Manager::of(&args.manager);
    let (listeners, bound) =
        open_listeners(&wanted, workers(config), &mut manager).map_err(Failure::system)?;
    let kernel = &config.kernel;
    if kernel.mode == ModeWanted::Off {
        let facts = Facts::off("[kernel] mode is \"off\"");
        return serve(Serving::alone(args, loaded, listeners, facts));
    }
    match establish(kernel, &config.limit, &config.proxy.trusted_proxies, &bound, &loaded.guard) {
        Ok(established) => keep(args, config, listeners, established),
        Err(error) if kernel.mode == ModeWanted::Auto && !config.proxy.listeners.is_empty() => {
            tracing::warn!("no kernel plane, limits live in the process table: {error}");
            serve(Serving::alone(args, loaded, listeners, Facts::off(error.to_string())))
        }
        Err(error) => Err(Failure::system(error)),
    }
}

/// The keeper's life.
fn keep(
    args: &RunArgs,
    config: &Config,
    listeners: Vec<Vec<std::net::TcpListener>>,
    established: Established,
) -> Result<ExitCode, Failure> {
    let Established { pins, attachments, watchdog, note, log } = established;
    if let Some(note) = &note {
        tracing::warn!("{note}");
    }
    let program = std::env::current_exe().context("finding the own program").map_err(Failure::system)?;
    let mut arguments: Vec<std::ffi::OsString> =
        vec!["gateway".into(), "--config".into(), args.config.clone().into()];
    for interface in &args.interfaces {
        arguments.push("--interface".into());
        arguments.push(interface.into());
    }
    for session in &args.sessions {
        arguments.push("--ssh-peer".into());
        arguments.push(session.to_string().into());
    }
    let maps = Arc::new(Maps::open(&pins).map_err(Failure::system)?);
    let keeper = Keeper {
        listeners,
        note,
        attachments,
        pins: pins.clone(),
        maps: Arc::clone(&maps),
        capacities: capacities(args.clone()),
        log,
        watchdog,
        program: program.into(),
        arguments,
        sandbox: config.sandbox,
        drain: config.proxy.timeouts.drain,
    };
    let ended = keeper.run().map(ExitCode::from).map_err(Failure::system);
    // Said, and no more: how the keeper ended is what the exit code tells.
    if let Err(error) = end_cookies(&pins, &maps) {
        tracing::warn!("{error}");
    }
    ended
}

/// What the keeper reads again when the gateway has read a changed file.
fn capacities(args: RunArgs) -> CapacitiesWanted {
    Box::new(move || {
        let said = |errors: config::Errors| errors.to_string();
        let text = config::read(&args.config).map_err(said)?;
        let config = config::parse(&text, &args.config, &args.default_socket).map_err(said)?;
        Ok(Capacities::of(&config.kernel))
    })
}

/// The gateway's life: what the keeper opened comes as descriptors, what it pinned is opened here.
pub fn gateway(args: &RunArgs) -> Result<ExitCode, Failure> {
    let handover = Handover::inherited().context("the keeper's socket").map_err(Failure::system)?;
    let start = handover.receive_start().map_err(Failure::system)?;
    let (loaded, held) = load_anyway(args).map_err(Failure::wrong)?;
    if let Err(errors) = held {
        tracing::warn!("the guard wins over the configuration:\n{errors}");
    }
    let pins = PinDir::new(&loaded.config.kernel.pin_dir);
    let facts = facts_of(&pins, start.interfaces, start.note);
    let mut serving = Serving::under_keeper(args, loaded, start.listeners, facts, handover);
    serving.open_pins(&pins).map_err(Failure::system)?;
    serve(serving)
}

/// What the keeper established.
fn facts_of(pins: &PinDir, interfaces: Vec<Interface>, note: Option<String>) -> Facts {
    let proof = if pins.proof_link().exists() { "sockops" } else { "accept" };
    Facts::on(interfaces, note, proof)
}

/// Addresses with the ports that the sockets really have.
fn bound(listeners: &[Vec<std::net::TcpListener>]) -> Vec<std::net::SocketAddr> {
    addresses(listeners)
}

/// The path of the control socket unless the configuration names another: root's, the user's, or a
/// folder of the user's own under the temporary one.
pub fn default_socket(is_root: bool, runtime_dir: Option<&Path>, uid: u32) -> PathBuf {
    match (is_root, runtime_dir) {
        (true, _) => PathBuf::from("/run/weir/control.sock"),
        (false, Some(folder)) => folder.join("weir/control.sock"),
        (false, None) => std::env::temp_dir().join(format!("weir-{uid}/control.sock")),
    }
}
