//! The command line: what a person types, and what comes back.

mod apply;

mod keys;

mod operate;

mod print;

mod store;

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::control::GuardView;
use crate::control::ListName;
use crate::run::{self, Exit, RunArgs};
use crate::{config, kernel, plane};

/// Linux API gateway whose per-client limit lives in the kernel.
///
/// Exit codes: 0 ok, 1 the configuration or the request is wrong, 2 usage, 3 the system refused (port, capability, kernel).
#[derive(Parser)]
#[command(name = "weir", version, disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve until TERM; HUP reloads
    Run(Run),
    /// Read the configuration and print the memory ceiling by part, without starting anything
    Check(Check),
    /// What runs, in which mode, and how full everything is
    Status(Ask),
    /// Why a client is served or not, and until when
    Explain(Explain),
    /// Clients whose packets are dropped for a while
    Bans(Bans),
    /// Prefixes that are free of every limit, beside the configuration's
    Allow(Lists),
    /// Prefixes that are dropped, beside the configuration's
    Deny(Lists),
    /// Sampled decisions of the packet path and every ban, as they happen
    Watch(Watch),
    /// Published sets of keys that verify JSON Web Tokens
    Jwks(Jwks),
    /// Put a configuration in force: for good, or on trial until it is kept
    Apply(Apply),
    /// Read the configuration again; a wrong one changes nothing
    Reload(Ask),
    /// The Redis that nodes share: what this node knows of it, and what it answers
    Store(Store),
    /// API keys in a file: make, list, take away, replace
    Keys(keys::Keys),
    /// XDP programs of this instance; works with weir dead
    Xdp(Xdp),
    /// The serving child of `weir run`
    #[command(hide = true)]
    Gateway(Run),
}

#[derive(Args)]
struct Run {
    /// Configuration file
    #[arg(long, default_value = "weir.toml")]
    config: PathBuf,
    /// Attach XDP here instead of [kernel] interfaces; may be repeated
    #[arg(long, value_name = "NAME")]
    interface: Vec<String>,
    /// An operator's address that is never cut off; the keeper hands its own on
    #[arg(long, value_name = "IP", hide = true)]
    ssh_peer: Vec<IpAddr>,
}

#[derive(Args)]
struct Check {
    /// Configuration file
    #[arg(long, default_value = "weir.toml")]
    config: PathBuf,
    /// Attach XDP here instead of [kernel] interfaces; may be repeated
    #[arg(long, value_name = "NAME")]
    interface: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Where the running weir is asked.
#[derive(Args, Clone)]
struct Ask {
    /// Control socket
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Configuration file that names the control socket
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct Store {
    #[command(subcommand)]
    action: StoreAction,
}

#[derive(Subcommand)]
enum StoreAction {
    /// State, masters, lag, slots, clock; exit code 3 while it is down
    Status {
        #[command(flatten)]
        ask: Ask,
    },
    /// Ask every master: role, round trip, cost of a script, memory; exit code 3 if one does not answer
    Ping {
        #[command(flatten)]
        ask: Ask,
    },
}

#[derive(Args)]
struct Explain {
    /// IPv4 or IPv6 address; IPv6 stands for its /64
    #[arg(value_name = "IP")]
    address: String,
    #[command(flatten)]
    ask: Ask,
}

#[derive(Args)]
struct Bans {
    #[command(subcommand)]
    action: BansAction,
}

#[derive(Subcommand)]
enum BansAction {
    /// Bans that hold, the first to end first
    List {
        #[command(flatten)]
        ask: Ask,
    },
    /// Drop a client's packets to protected ports
    Add {
        #[arg(value_name = "IP")]
        address: String,
        /// How long, as in 1h; left out: until it is lifted
        #[arg(long = "for", value_name = "TIME")]
        length: Option<String>,
        #[command(flatten)]
        ask: Ask,
    },
    /// Lift a ban, forgive the debt and reset the level
    Rm {
        #[arg(value_name = "IP")]
        address: String,
        /// Do not shed it again for so long
        #[arg(long, value_name = "TIME", default_value = "0s")]
        grace: String,
        #[command(flatten)]
        ask: Ask,
    },
}

#[derive(Args)]
struct Lists {
    #[command(subcommand)]
    action: ListAction,
}

#[derive(Subcommand)]
enum ListAction {
    /// Lists of the kind with what came from their sources, and the prefixes that were added
    List {
        #[command(flatten)]
        ask: Ask,
    },
    /// Add a prefix or an address; it stays until it is removed
    Add {
        #[arg(value_name = "PREFIX")]
        prefix: String,
        #[command(flatten)]
        ask: Ask,
    },
    /// Take out a prefix that was added or loaded
    Rm {
        #[arg(value_name = "PREFIX")]
        prefix: String,
        #[command(flatten)]
        ask: Ask,
    },
    /// Put a file of prefixes in the place of what was loaded before; a bad line changes nothing
    Load {
        /// A prefix or an address a line, # begins a comment; - reads standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        ask: Ask,
    },
}

#[derive(Args)]
struct Jwks {
    #[command(subcommand)]
    action: JwksAction,
}

#[derive(Subcommand)]
enum JwksAction {
    /// Every set with its keys, its age, and what is wrong with it
    Status {
        #[command(flatten)]
        ask: Ask,
    },
    /// Fetch sets now, whatever their age
    Refresh {
        /// One of them; left out: all
        #[arg(value_name = "URL")]
        url: Option<String>,
        #[command(flatten)]
        ask: Ask,
    },
}

#[derive(Args)]
struct Watch {
    /// End after so many lines
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    #[command(flatten)]
    ask: Ask,
}

#[derive(Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["file", "keep", "revert"]))]
struct Apply {
    /// The new configuration; - reads it from standard input
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Only on trial: the old one comes back after this, as in 60s, unless --keep comes first
    #[arg(long, value_name = "TIME", requires = "file")]
    confirm: Option<String>,
    /// Write what is on trial to weir's configuration file
    #[arg(long)]
    keep: bool,
    /// End the trial by what held before
    #[arg(long)]
    revert: bool,
    #[command(flatten)]
    ask: Ask,
}

#[derive(Args)]
struct Xdp {
    #[command(subcommand)]
    action: XdpAction,
}

#[derive(Subcommand)]
enum XdpAction {
    /// Interfaces that run this instance's program
    Status {
        #[command(flatten)]
        pins: Pins,
    },
    /// What the kernel plane needs of this kernel, and what is there; exit code 3 if something is not
    Probe {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Take programs, links and pins away: everything, or from some interfaces
    Detach {
        #[arg(value_name = "IFACE")]
        interfaces: Vec<String>,
        #[command(flatten)]
        pins: Pins,
    },
}

#[derive(Args)]
struct Pins {
    /// Folder of the pins, without the layout version
    #[arg(long, value_name = "PATH")]
    pin_dir: Option<PathBuf>,
    /// Configuration file that names it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What the environment says, read once in main.
pub struct Surroundings {
    pub default_socket: PathBuf,
    /// SSH_CONNECTION, else SSH_CLIENT: who is on the other side of the terminal.
    pub ssh: Option<String>,
    pub manager: kernel::ManagerSaid,
}

impl Surroundings {
    /// Far ends of the SSH sessions that a command came over.
    fn sessions(&self) -> Vec<IpAddr> {
        kernel::sessions(self.ssh.as_deref())
    }
}

/// Does what was typed.
pub fn execute(cli: Cli, surroundings: &Surroundings) -> ExitCode {
    let done = match cli.command {
        Command::Run(args) => return ended(run::run(&run_args(args, surroundings))),
        Command::Gateway(args) => return ended(run::gateway(&run_args(args, surroundings))),
        Command::Check(args) => return check(args, surroundings),
        Command::Status(ask) => operate::status(&ask, surroundings),
        Command::Apply(args) => apply::apply(&args, surroundings),
        Command::Reload(ask) => operate::reload(&ask, surroundings),
        Command::Explain(args) => operate::explain(&args, surroundings),
        Command::Bans(args) => operate::bans(args.action, surroundings),
        Command::Allow(args) => operate::lists(ListName::Allow, args.action, surroundings),
        Command::Deny(args) => operate::lists(ListName::Deny, args.action, surroundings),
        Command::Jwks(args) => operate::jwks(args.action, surroundings),
        Command::Watch(args) => operate::watch(&args, surroundings),
        Command::Store(args) => store::store(args.action, surroundings),
        Command::Keys(args) => keys::keys(args),
        Command::Xdp(args) => operate::xdp(args.action, surroundings),
    };
    match done {
        Ok(()) => code(Exit::Done),
        Err((exit, message)) => {
            eprintln!("weir: {message}");
            code(exit)
        }
    }
}

fn run_args(args: Run, surroundings: &Surroundings) -> RunArgs {
    let default_socket = surroundings.default_socket.clone();
    // A gateway is told by its keeper, who could see more.
    let sessions = if args.ssh_peer.is_empty() { surroundings.sessions() } else { args.ssh_peer };
    let manager = surroundings.manager.clone();
    RunArgs { config: args.config, interfaces: args.interface, default_socket, sessions, manager }
}

fn ended(run: Result<ExitCode, run::Failure>) -> ExitCode {
    run.unwrap_or_else(|failure| {
        eprintln!("weir: {:#}", failure.error);
        code(failure.exit)
    })
}

fn code(exit: Exit) -> ExitCode {
    ExitCode::from(exit as u8)
}

fn check(args: Check, surroundings: &Surroundings) -> ExitCode {
    let json = args.json;
    let run = Run { config: args.config, interface: args.interface, ssh_peer: Vec::new() };
    let loaded = run::load(&run_args(run, surroundings));
    let ceiling = loaded
        .as_ref()
        .ok()
        .map(|loaded| config::ceiling(&loaded.config, run::workers(&loaded.config), run::possible_cpus()));
    match (&loaded, json) {
        (_, true) => {
            print::say(print::checked(&loaded, ceiling.as_ref()));
        }
        (Ok(loaded), false) => {
            print::say(format_args!("{}: ok", loaded.config.file.display()));
            if let Some(ceiling) = ceiling {
                print::say(ceiling);
            }
            print::say(print::guarded(&GuardView::all(&loaded.guard)));
            let certificates = loaded.config.proxy.certificates();
            if !certificates.is_empty() {
                print::say(print::certificates(&certificates, plane::unix_s()));
            }
        }
        (Err(errors), false) => eprintln!("{errors}"),
    }
    code(if loaded.is_ok() { Exit::Done } else { Exit::Wrong })
}

/// A folder's default, for commands that work without a daemon.
fn default_pin_dir() -> PathBuf {
    kernel::Config::default().pin_dir
}
