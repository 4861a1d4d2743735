//! The binary: reads the environment once, hands it on.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser as _;
use weir::cli::{Cli, Surroundings, execute};
use weir::kernel::ManagerSaid;
use weir::run::default_socket;
use weir::telemetry::log;

fn main() -> ExitCode {
    let cli = Cli::parse();
    log::start(std::env::var("WEIR_LOG").ok().as_deref());
    let uid = nix::unistd::geteuid();
    let runtime_dir = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let default_socket = default_socket(uid.is_root(), runtime_dir.as_deref(), uid.as_raw());
    let ssh = ["SSH_CONNECTION", "SSH_CLIENT"].into_iter().find_map(|name| std::env::var(name).ok());
    let said = |name| std::env::var(name).ok();
    let manager = ManagerSaid {
        listen_pid: said("LISTEN_PID"),
        listen_fds: said("LISTEN_FDS"),
        listen_fdnames: said("LISTEN_FDNAMES"),
        notify_socket: said("NOTIFY_SOCKET"),
    };
    execute(cli, &Surroundings { default_socket, ssh, manager })
}
