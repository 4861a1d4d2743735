//! The keeper's side of the kernel plane: loads, attaches, pins, opens the listening sockets, starts
//! and restarts the gateway. The only code that runs with capabilities; it reads no byte of a client.

mod attach;
mod config;
mod detach;
mod guard;
mod handover;
mod interfaces;
mod keeper;
mod listen;
mod load;
mod log;
mod netlink;
mod object;
mod privileges;
mod proof;
mod resize;
mod rules;
mod slots;

pub use attach::{AttachError, Mode};
pub use config::{Config, Interfaces, ModeWanted, Port, Protocol, Unproved};
pub use detach::{DetachError, Detached, detach};
pub use guard::{Guard, Guarded, Host, HostFacts, Names, Ranges, Why, sessions};
pub use handover::{Handover, HandoverError, Start, addresses};
pub use interfaces::own_addresses;
pub use keeper::{Keeper, KeeperError};
pub use listen::{ListenError, open_listeners};
pub use load::{LoadError, Loaded, load};
pub use log::KernelLog;
pub use privileges::drop_capabilities;
pub use resize::{Capacities, resize};
pub use rules::wanted;
pub use slots::{fill_slots, make_maps};

use std::net::SocketAddr;

use crate::plane::{Maps, MapsError, PinDir};
use crate::{limit, plane};

/// The interfaces of this instance with the mode that each is in now.
pub fn attached_modes(pins: &PinDir) -> std::io::Result<Vec<(String, Mode)>> {
    let mut modes = Vec::new();
    for name in pins.linked_interfaces() {
        let ifindex = nix::net::if_::if_nametoindex(name.as_str()).map_err(std::io::Error::from)?;
        let mode = netlink::attached(ifindex)?.map_or(Mode::Off, |attached| attached.mode);
        modes.push((name, mode));
    }
    modes.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(modes)
}

/// What the kernel plane came to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub mode: Mode,
    pub interfaces: Vec<(String, Mode)>,
    /// Why it is not native on every interface.
    pub why: Option<String>,
    /// What proves clients: "sockops", "accept" or "none".
    pub proof: &'static str,
}

impl Facts {
    /// No kernel plane, and why.
    pub fn off(why: impl Into<String>) -> Self {
        Self { mode: Mode::Off, interfaces: Vec::new(), why: Some(why.into()), proof: "none" }
    }
}

/// A kernel plane in force.
pub struct Established {
    pub pins: PinDir,
    pub facts: Facts,
    pub log: KernelLog,
}

/// Why the kernel plane cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Attach(#[from] AttachError),
    #[error(transparent)]
    Maps(#[from] MapsError),
    #[error("no interface carries a listener's address: name one in [kernel] interfaces")]
    NoInterface,
    #[error("the host's interfaces cannot be listed: {0}")]
    Interfaces(nix::errno::Errno),
}

/// Takes over what a predecessor pinned, or begins: maps, programs, rules, then XDP on every
/// interface, then proof. Rules are in force before the first packet meets the program.
pub fn establish(
    config: &Config,
    limit: &limit::Config,
    trusted_proxies: &[ipnet::IpNet],
    listeners: &[SocketAddr],
    guard: &Guard,
) -> Result<Established, Error> {
    let pins = PinDir::new(&config.pin_dir);
    let names = interfaces::resolve(&config.interfaces, listeners).map_err(Error::Interfaces)?;
    if names.is_empty() {
        return Err(Error::NoInterface);
    }
    let mut loaded = load(&pins, config)?;
    let wanted = wanted(config, limit, trusted_proxies, listeners, guard);
    Maps::open(&pins)?.apply(&wanted, plane::fresh_seed())?;
    let mut attached = Vec::new();
    let mut notes = Vec::new();
    for name in &names {
        let (mode, note) = attach::attach(loaded.packets()?, &pins, name, config.mode)?;
        attached.push((name.clone(), mode));
        notes.extend(note);
    }
    attach::detach_others(&pins, &names);
    let proof = match proof::attach(loaded.proof()?, &pins) {
        Ok(()) => "sockops",
        Err(error) => {
            notes.push(format!("{error}; clients are proved when the gateway accepts them"));
            "accept"
        }
    };
    let native = attached.iter().all(|(_, mode)| *mode == Mode::Native);
    let mode = if native { Mode::Native } else { Mode::Generic };
    let why = (!notes.is_empty()).then(|| notes.join("; "));
    let facts = Facts { mode, interfaces: attached, why, proof };
    Ok(Established { pins, facts, log: KernelLog::of(loaded.ebpf()) })
}
