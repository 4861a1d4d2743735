//! Keeps the program on the interfaces that are wanted while they come, go and come again. Whoever
//! has news calls [`Attachments::follow`], which reads everything and does what is left to do: there
//! is nothing that a lost message could make it miss.

use std::fmt;
use std::net::SocketAddr;

use aya::programs::Xdp;
use aya_obj::programs::XdpAttachType;
use weir_ebpf::abi::programs;

use super::attach::{self, AttachError, Came};
use super::choice::{Choice, Chosen, choose};
use super::netlink::{self, Link};
use super::{Interfaces, Mode, ModeWanted, interfaces};
use crate::plane::PinDir;

/// What became of an interface that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Native,
    Generic,
    /// It is not there yet, or no longer.
    Waiting,
    /// Another interface sees its packets.
    Covered,
    /// The program would be of no use there.
    Left,
    /// Another program has it.
    Taken,
    /// The kernel or the driver refuses.
    Refused,
    /// Somebody took the program off.
    Detached,
}

impl State {
    pub const ALL: [Self; 8] = [
        Self::Native,
        Self::Generic,
        Self::Waiting,
        Self::Covered,
        Self::Left,
        Self::Taken,
        Self::Refused,
        Self::Detached,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Waiting => "waiting",
            Self::Covered => "covered",
            Self::Left => "left",
            Self::Taken => "taken",
            Self::Refused => "refused",
            Self::Detached => "detached",
        }
    }

    pub const fn is_attached(self) -> bool {
        matches!(self, Self::Native | Self::Generic)
    }

    pub(super) const fn of(mode: Mode) -> Self {
        match mode {
            Mode::Native => Self::Native,
            Mode::Generic => Self::Generic,
            Mode::Unattached | Mode::Off => Self::Detached,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An interface and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    pub name: String,
    pub state: State,
    pub why: Option<String>,
}

/// Interfaces that are followed: more than a host has, and one message of the keeper's each.
pub const INTERFACES_MAX: usize = 128;

const DETACHED: &str = "the program was taken off by hand: start weir again to attach it";

/// The interfaces of one instance.
pub struct Attachments {
    pins: PinDir,
    wanted: Interfaces,
    mode: ModeWanted,
    listeners: Vec<SocketAddr>,
    rows: Vec<Row>,
    left_out: usize,
}

#[derive(Clone)]
struct Row {
    interface: Interface,
    /// Where it is, or was when it went.
    ifindex: Option<u32>,
    /// Where it was refused.
    refused_at: Option<u32>,
}

/// Why the interfaces are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    News,
    /// Some time has gone by: what was refused is tried again. Not at each news, of which a driver's
    /// refusal may be the reason.
    Turn,
}

impl Row {
    fn of(name: String, state: State, why: Option<String>) -> Self {
        Self { interface: Interface { name, state, why }, ifindex: None, refused_at: None }
    }
}

impl Attachments {
    pub(super) fn new(
        pins: &PinDir,
        wanted: &Interfaces,
        mode: ModeWanted,
        listeners: &[SocketAddr],
    ) -> Self {
        Self {
            pins: pins.clone(),
            wanted: wanted.clone(),
            mode,
            listeners: listeners.to_vec(),
            rows: Vec::new(),
            left_out: 0,
        }
    }

    pub fn interfaces(&self) -> Vec<Interface> {
        self.rows.iter().map(|row| row.interface.clone()).collect()
    }

    /// The first time: what a predecessor has where it is not wanted goes. An error where nothing came
    /// of any interface, or where a mode was demanded and refused.
    pub(super) fn begin(&mut self) -> Result<(), super::Error> {
        let (links, chosen) = self.chosen().map_err(super::Error::Interfaces)?;
        let is_kept = |row: &Chosen| matches!(row.choice, Choice::Attach { .. } | Choice::Wait(_));
        for interface in self.pins.linked_interfaces() {
            if !chosen.iter().any(|row| row.name == interface && is_kept(row)) {
                self.take_off(&interface, "not wanted");
            }
        }
        let mut failures = self.realize(&links, chosen, Occasion::Turn);
        let is_hopeless = !self
            .rows
            .iter()
            .any(|row| row.interface.state.is_attached() || matches!(row.interface.state, State::Waiting));
        if is_hopeless && failures.is_empty() {
            failures.extend(self.rows.iter().find_map(useless));
        }
        let is_demanded = |error: &AttachError| {
            self.mode != ModeWanted::Auto && !matches!(error, AttachError::Taken { .. })
        };
        let decisive = failures.iter().position(|error| is_hopeless || is_demanded(error));
        decisive.map_or(Ok(()), |idx| Err(failures.swap_remove(idx).into()))
    }

    /// Reads which interfaces there are and does what is left to do. Whether anything came of it.
    pub fn follow(&mut self, occasion: Occasion) -> std::io::Result<bool> {
        let before = self.interfaces();
        let (links, chosen) = self.chosen()?;
        self.realize(&links, chosen, occasion);
        Ok(self.interfaces() != before)
    }

    fn chosen(&mut self) -> std::io::Result<(Vec<Link>, Vec<Chosen>)> {
        let links = netlink::links()?;
        let carrying = interfaces::carrying(&self.listeners)?;
        let mut chosen = choose(&links, &self.wanted, &carrying);
        let left_out = chosen.len().saturating_sub(INTERFACES_MAX);
        if left_out > self.left_out {
            tracing::warn!(
                left_out,
                at_most = INTERFACES_MAX,
                "too many interfaces, the last by name are left out"
            );
        }
        self.left_out = left_out;
        chosen.truncate(INTERFACES_MAX);
        Ok((links, chosen))
    }

    fn realize(&mut self, links: &[Link], mut chosen: Vec<Chosen>, occasion: Occasion) -> Vec<AttachError> {
        self.follow_renames(links, &chosen);
        // First off, then on, from below: the kernel attaches nothing below an interface that runs a program.
        for row in chosen.iter().filter(|row| matches!(row.choice, Choice::Covered(_) | Choice::Left(_))) {
            if self.pins.xdp_link(&row.name).exists() {
                self.take_off(&row.name, "its packets are judged elsewhere now");
            }
        }
        chosen.sort_by_key(|row| links.iter().find(|link| link.name == row.name).map(Link::storey));
        let (mut rows, mut failures) = (Vec::new(), Vec::new());
        for Chosen { name, choice } in chosen {
            let before = self.rows.iter().find(|row| row.interface.name == name);
            let row = match choice {
                Choice::Wait(why) => self.waiting(name, why, links, before),
                Choice::Covered(why) => Row::of(name, State::Covered, Some(why)),
                Choice::Left(why) => Row::of(name, State::Left, Some(why)),
                Choice::Attach { ifindex, hint } => match links.iter().find(|link| link.ifindex == ifindex) {
                    Some(link) => self.attached(link, hint, before, occasion, &mut failures),
                    None => continue,
                },
            };
            if before.is_none_or(|before| before.interface != row.interface) {
                tell(&row.interface);
            }
            rows.push(row);
        }
        rows.sort_by(|a: &Row, b| a.interface.name.cmp(&b.interface.name));
        self.rows = rows;
        failures
    }

    fn waiting(&self, name: String, why: String, links: &[Link], before: Option<&Row>) -> Row {
        let known = before.and_then(|before| before.ifindex);
        let renamed = known.and_then(|ifindex| links.iter().find(|link| link.ifindex == ifindex));
        let why = renamed
            .map_or(why, |link| format!("it was renamed to {}, where the program still runs", link.name));
        Row { ifindex: known, ..Row::of(name, State::Waiting, Some(why)) }
    }

    /// Attaches unless that is done, was undone by hand, or was refused just now.
    fn attached(
        &self,
        link: &Link,
        hint: Option<String>,
        before: Option<&Row>,
        occasion: Occasion,
        failures: &mut Vec<AttachError>,
    ) -> Row {
        let name = || link.name.clone();
        if let Some(before) = before {
            let is_same = before.ifindex == Some(link.ifindex);
            let is_pinned = self.pins.xdp_link(&link.name).exists();
            if before.ifindex.is_some() && !is_pinned || is_same && link.attached.is_none() {
                // Whoever took it off meant it, in a panic perhaps.
                let row = Row::of(name(), State::Detached, Some(DETACHED.to_owned()));
                return Row { ifindex: before.ifindex, ..row };
            }
            let is_refused = before.refused_at == Some(link.ifindex)
                && occasion == Occasion::News
                && (before.interface.state == State::Refused || link.attached.is_some());
            if is_same && before.interface.state.is_attached() || is_refused {
                return before.clone();
            }
        }
        match self.attach(link) {
            Ok(Came { mode, note }) => {
                let why = note.map(|note| hint.map_or(note.clone(), |hint| format!("{note}: {hint}")));
                Row { ifindex: Some(link.ifindex), ..Row::of(name(), State::of(mode), why) }
            }
            Err(error) => {
                let state = match error {
                    AttachError::Taken { .. } => State::Taken,
                    AttachError::NotNative { .. } | AttachError::Refused { .. } => State::Refused,
                };
                let row = Row::of(name(), state, Some(error.to_string()));
                failures.push(error);
                Row { refused_at: Some(link.ifindex), ..row }
            }
        }
    }

    /// The pinned program is the one in force, whoever loaded it.
    fn attach(&self, link: &Link) -> Result<Came, AttachError> {
        let path = self.pins.program(programs::PACKETS);
        let mut program =
            Xdp::from_pin(&path, XdpAttachType::Interface).map_err(|error| AttachError::Refused {
                interface: link.name.clone(),
                reason: format!(
                    "the program {} cannot be opened ({error}): start weir again",
                    path.display()
                ),
            })?;
        attach::attach(&mut program, &self.pins, link, self.mode)
    }

    /// A renamed interface keeps its program; its pin goes by the new name if that is wanted too.
    fn follow_renames(&mut self, links: &[Link], chosen: &[Chosen]) {
        for row in &mut self.rows {
            let renamed = links
                .iter()
                .find(|link| Some(link.ifindex) == row.ifindex && link.name != row.interface.name);
            let Some(link) = renamed.filter(|link| chosen.iter().any(|row| row.name == link.name)) else {
                continue;
            };
            let (from, to) = (self.pins.xdp_link(&row.interface.name), self.pins.xdp_link(&link.name));
            match std::fs::rename(&from, &to) {
                Ok(()) => {
                    tracing::info!(from = row.interface.name, to = link.name, "the interface was renamed");
                    row.interface.name.clone_from(&link.name);
                }
                Err(error) => tracing::warn!(interface = link.name, %error, "renamed, and its pin cannot be"),
            }
        }
    }

    fn take_off(&self, interface: &str, why: &str) {
        match std::fs::remove_file(self.pins.xdp_link(interface)) {
            Ok(()) => tracing::info!(interface, "detached: {why}"),
            Err(error) => tracing::warn!(interface, %error, "cannot detach"),
        }
    }
}

fn useless(row: &Row) -> Option<AttachError> {
    let Interface { name, state, why } = &row.interface;
    let reason = why.clone().filter(|_| *state == State::Left)?;
    Some(AttachError::Refused { interface: name.clone(), reason })
}

/// Once for each change.
fn tell(interface: &Interface) {
    let Interface { name, state, why } = interface;
    let why = why.as_deref().unwrap_or_default();
    match state {
        State::Native | State::Covered => tracing::info!(interface = name, %state, "{why}"),
        State::Generic | State::Waiting | State::Left | State::Taken | State::Refused | State::Detached => {
            tracing::warn!(interface = name, %state, "{why}");
        }
    }
}
