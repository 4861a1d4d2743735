//! The keeper's side of the kernel plane: loads, attaches, pins, opens the listening sockets, starts
//! and restarts the gateway. The only code that runs with capabilities; it reads no byte of a client.

mod array_of_maps;
mod attach;
mod attachments;
mod choice;
mod config;
mod detach;
mod guard;
mod handover;
mod holder;
mod interfaces;
mod keeper;
mod listen;
mod load;
mod log;
mod mode;
mod netlink;
mod object;
mod privileges;
mod probe;
mod proof;
mod refusal;
mod resize;
mod rules;
mod sandbox;
mod slots;
mod survey;
mod syncookies;
mod takeover;
mod watchdog;

pub use attach::AttachError;
pub use attachments::{Attachments, INTERFACES_MAX, Interface, Occasion, State};
pub use config::{Config, Interfaces, ModeWanted, Port, Protocol, Unproved};
pub use detach::{DetachError, Detached, detach};
pub use guard::{Guard, Guarded, Host, HostFacts, Names, Ranges, Why, sessions};
pub use handover::{Handover, HandoverError, Heard, Start, addresses};
pub use interfaces::own_addresses;
pub use keeper::{CapacitiesWanted, Keeper, KeeperError};
pub use listen::{ListenError, Manager, ManagerSaid, open_listeners};
pub use load::{LoadError, Loaded, load};
pub use log::KernelLog;
pub use mode::Mode;
pub use privileges::drop_capabilities;
pub use probe::{Feature, Found, probe};
pub use resize::{Capacities, resize};
pub use rules::wanted;
pub use sandbox::{Confinement, Part, Reach, Sandbox, confine};
pub use slots::{fill_slots, make_maps};
pub use survey::survey;
pub use syncookies::SyncookiesError;
pub use watchdog::Watchdog;

use std::net::SocketAddr;

use weir_ebpf::abi::flags;

use crate::plane::{Added, Charge, ChargeError, Maps, MapsError, PinDir};
use crate::{limit, plane};

/// Whether the programs may drop: true too where the pins do not say otherwise.
pub fn is_dropping(pins: &PinDir) -> bool {
    let asked = Charge::open(pins).ok().zip(Maps::open(pins).ok());
    !asked.is_some_and(|(charge, maps)| maps.is_unattended(&charge).unwrap_or(false))
}

/// What the kernel plane came to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub mode: Mode,
    pub interfaces: Vec<Interface>,
    /// Why it is not native on every interface, or not there.
    pub why: Option<String>,
    /// What `why` says beside the interfaces'.
    pub note: Option<String>,
    /// What proves clients: "sockops", "accept" or "none".
    pub proof: &'static str,
}

impl Facts {
    /// A kernel plane on `interfaces`; `note` is what else is not as it might be.
    pub fn on(interfaces: Vec<Interface>, note: Option<String>, proof: &'static str) -> Self {
        let mode = Mode::over(interfaces.iter().map(|interface| interface.state));
        let is_news = |interface: &&Interface| {
            !matches!(interface.state, State::Native | State::Covered) && interface.why.is_some()
        };
        let notes = interfaces.iter().filter(is_news).map(|interface| {
            let Interface { name, state, why } = interface;
            format!("{name} is {state} ({})", why.as_deref().unwrap_or_default())
        });
        let why = notes.chain(note.clone()).collect::<Vec<_>>().join("; ");
        Self { mode, interfaces, why: (!why.is_empty()).then_some(why), note, proof }
    }

    /// The same when the interfaces are other.
    pub fn with(&self, interfaces: Vec<Interface>) -> Self {
        Self::on(interfaces, self.note.clone(), self.proof)
    }

    /// No kernel plane, and why.
    pub fn off(why: impl Into<String>) -> Self {
        Self { mode: Mode::Off, interfaces: Vec::new(), why: Some(why.into()), note: None, proof: "none" }
    }
}

/// A kernel plane in force.
pub struct Established {
    pub pins: PinDir,
    pub attachments: Attachments,
    pub watchdog: Watchdog,
    /// What did not come as it was wanted: SYN cookies, proof at the handshake, a capacity.
    pub note: Option<String>,
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
    #[error(transparent)]
    Remember(#[from] plane::BanError),
    #[error(transparent)]
    Syncookies(#[from] SyncookiesError),
    #[error(transparent)]
    Charge(#[from] ChargeError),
    #[error("the host's interfaces cannot be listed: {0}")]
    Interfaces(std::io::Error),
}

/// The setting that SYN cookies need, or what a predecessor found where they are not wanted any more.
fn syncookies(config: &Config, pins: &PinDir) -> Result<(), SyncookiesError> {
    if config.syn_cookies { syncookies::begin(pins) } else { syncookies::end(pins) }
}

/// A clean stop: programs stay and limit on, but SYN cookies end and the setting that they need is put
/// back, for nobody is left to look after it.
pub fn end_cookies(pins: &PinDir, maps: &Maps) -> Result<(), Error> {
    maps.stop_cookies()?;
    syncookies::end(pins)?;
    Ok(())
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
    let is_first = pins.linked_interfaces().is_empty();
    let seed = takeover::seed(&pins).unwrap_or_else(plane::fresh_seed);
    let mut loaded = load(&pins, config)?;
    let mut notes = Vec::new();
    let additions = Added::in_kernel(&pins)?.present();
    let mut wanted = wanted(config, limit, trusted_proxies, listeners, guard, &additions);
    if let Err(error) = syncookies(config, &pins) {
        wanted.rules.flags &= !flags::SYN_COOKIES;
        notes.push(format!("SYN cookies are off: {error}"));
    }
    Maps::open(&pins)?.apply(&wanted, seed)?;
    if is_first {
        // Nothing of this layout ran yet: clients and bans that are there came from another.
        plane::remember(&pins)?;
    }
    let watchdog = Watchdog::start(Charge::open(&pins)?, config.watchdog)?;
    takeover::adopt_links(&pins);
    let mut attachments = Attachments::new(&pins, &config.interfaces, config.mode, listeners);
    attachments.begin()?;
    if let Err(error) = proof::attach(loaded.proof()?, &pins) {
        notes.push(format!("{error}; clients are proved when the gateway accepts them"));
    }
    takeover::clear(&pins);
    // Not before: another layout's program knows no slots, and would go on with the map before.
    if let Err(error) = resize(&pins, Capacities::of(config)) {
        notes.push(format!("a map keeps its capacity: {error}"));
    }
    let note = (!notes.is_empty()).then(|| notes.join("; "));
    Ok(Established { pins, attachments, watchdog, note, log: KernelLog::of(loaded.ebpf()) })
}
