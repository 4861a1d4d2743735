//! Puts the packet program on interfaces, or in the place of a predecessor's without a gap.

use std::fmt;

use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::{ProgramError, Xdp, XdpMode};
use nix::errno::Errno;

use super::{ModeWanted, netlink};
use crate::plane::PinDir;

/// How XDP runs on an interface, or over all of them (the slowest).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the driver, before a socket buffer is made.
    Native,
    /// In the stack, on socket buffers: slower, on every interface.
    Generic,
    /// No kernel plane: limits live in the process table.
    Off,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Off => "off",
        })
    }
}

#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    #[error("no interface `{0}`: `ip link` lists what there is")]
    NoInterface(String),
    #[error(
        "XDP on {interface} is taken by {by}: stop it, or choose another interface in [kernel] interfaces"
    )]
    Taken { interface: String, by: String },
    #[error("{interface} cannot do native XDP ({reason}): set [kernel] mode to \"generic\" or \"auto\"")]
    NotNative { interface: String, reason: String },
    #[error("XDP cannot be attached to {interface}: {reason}")]
    Refused { interface: String, reason: String },
}

/// Attaches to `interface`; the mode it came to and a note where that is not the best one.
pub(super) fn attach(
    program: &mut Xdp,
    pins: &PinDir,
    interface: &str,
    wanted: ModeWanted,
) -> Result<(Mode, Option<String>), AttachError> {
    let ifindex = nix::net::if_::if_nametoindex(interface)
        .map_err(|_| AttachError::NoInterface(interface.to_owned()))?;
    if let Some(mode) = replace(program, pins, interface, ifindex, wanted) {
        return Ok((mode, None));
    }
    if wanted != ModeWanted::Generic {
        match attach_as(program, pins, interface, XdpMode::Driver) {
            Ok(()) => return Ok((Mode::Native, None)),
            Err(failure) if wanted == ModeWanted::Native || failure.errno == Some(Errno::EBUSY) => {
                return Err(failure.into_error(interface, ifindex, wanted));
            }
            Err(_) => {}
        }
    }
    match attach_as(program, pins, interface, XdpMode::Skb) {
        Ok(()) => {
            let note = (wanted != ModeWanted::Generic).then(|| format!("{interface} has no native XDP"));
            Ok((Mode::Generic, note))
        }
        Err(failure) => Err(failure.into_error(interface, ifindex, ModeWanted::Generic)),
    }
}

/// Detaches from interfaces that a predecessor had and we do not want.
pub(super) fn detach_others(pins: &PinDir, wanted: &[String]) {
    for interface in pins.linked_interfaces() {
        if !wanted.contains(&interface) {
            match std::fs::remove_file(pins.xdp_link(&interface)) {
                Ok(()) => tracing::info!(interface, "detached, no longer configured"),
                Err(error) => tracing::warn!(interface, %error, "cannot detach"),
            }
        }
    }
}

/// Swaps our program into the pinned link; None where there is none that still holds, or of another mode.
fn replace(
    program: &mut Xdp,
    pins: &PinDir,
    interface: &str,
    ifindex: u32,
    wanted: ModeWanted,
) -> Option<Mode> {
    let path = pins.xdp_link(interface);
    let link: FdLink = PinnedLink::from_pin(&path).ok()?.into();
    let mode = netlink::attached(ifindex).ok().flatten().map(|attached| attached.mode);
    let fits = matches!(
        (wanted, mode),
        (ModeWanted::Native | ModeWanted::Auto, Some(Mode::Native))
            | (ModeWanted::Generic | ModeWanted::Auto, Some(Mode::Generic))
    );
    let replaced = fits
        && link
            .try_into()
            .is_ok_and(|link| program.attach_to_link(link).and_then(|id| program.take_link(id)).is_ok());
    if replaced {
        return mode;
    }
    // The interface went and came, or another mode is wanted: the old link is of no use.
    if let Err(error) = std::fs::remove_file(&path) {
        tracing::warn!(interface, %error, "cannot remove the old link's pin");
    }
    None
}

struct Failure {
    errno: Option<Errno>,
    reason: String,
}

impl Failure {
    fn into_error(self, interface: &str, ifindex: u32, wanted: ModeWanted) -> AttachError {
        let interface = interface.to_owned();
        match self.errno {
            Some(Errno::EBUSY | Errno::EEXIST) => {
                let by = match netlink::attached(ifindex) {
                    Ok(Some(attached)) => attached.describe(),
                    Ok(None) | Err(_) => "another program".to_owned(),
                };
                AttachError::Taken { interface, by }
            }
            _ if wanted == ModeWanted::Native => AttachError::NotNative { interface, reason: self.reason },
            _ => AttachError::Refused { interface, reason: self.reason },
        }
    }
}

fn attach_as(program: &mut Xdp, pins: &PinDir, interface: &str, mode: XdpMode) -> Result<(), Failure> {
    let failure = |error: &ProgramError| match error {
        ProgramError::SyscallError(call) => Failure {
            errno: call.io_error.raw_os_error().map(Errno::from_raw),
            reason: call.io_error.to_string(),
        },
        _ => Failure { errno: None, reason: error.to_string() },
    };
    let id = program.attach(interface, mode).map_err(|error| failure(&error))?;
    let link = program.take_link(id).map_err(|error| failure(&error))?;
    let unpinned = |reason: String| Failure { errno: None, reason };
    let link: FdLink = link.try_into().map_err(|_| unpinned("the kernel made no link".to_owned()))?;
    link.pin(pins.xdp_link(interface)).map_err(|error| unpinned(error.to_string()))?;
    Ok(())
}
