//! Puts the packet program on an interface, or in the place of a predecessor's without a gap.

use std::os::fd::AsFd as _;
use std::path::Path;

use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::XdpError;
use aya::programs::{ProgramError, Xdp, XdpMode};
use nix::errno::Errno;

use super::holder::Holder;
use super::netlink::Link;
use super::{Mode, ModeWanted, refusal};
use crate::plane::PinDir;

#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    #[error(
        "XDP on {interface} is taken by {by}: take that off ({how}), or choose another interface in [kernel] interfaces"
    )]
    Taken { interface: String, by: String, how: String },
    #[error("{interface} cannot do native XDP ({reason}): set [kernel] mode to \"generic\" or \"auto\"")]
    NotNative { interface: String, reason: String },
    #[error("XDP cannot be attached to {interface}: {reason}")]
    Refused { interface: String, reason: String },
}

/// What an attachment came to.
pub(super) struct Came {
    pub mode: Mode,
    /// Why not native, where that was wanted.
    pub note: Option<String>,
}

/// Attaches to `link`, in the place of what a predecessor's pin holds there if that still fits.
pub(super) fn attach(
    program: &mut Xdp,
    pins: &PinDir,
    link: &Link,
    wanted: ModeWanted,
) -> Result<Came, AttachError> {
    let pin = pins.xdp_link(&link.name);
    if let Some(mode) = replace(program, &pin, link, wanted) {
        let note = (mode == Mode::Generic && wanted != ModeWanted::Generic)
            .then(|| "kept as it was: changing it to native would be a gap".to_owned());
        return Ok(Came { mode, note });
    }
    let mut note = None;
    if wanted != ModeWanted::Generic {
        match attach_as(program, &pin, link, XdpMode::Driver) {
            Ok(()) => return Ok(Came { mode: Mode::Native, note: None }),
            Err(failure) if wanted == ModeWanted::Native || failure.is_taken() => {
                return Err(failure.into_error(link, wanted));
            }
            Err(failure) => note = Some(failure.reason),
        }
    }
    match attach_as(program, &pin, link, XdpMode::Skb) {
        Ok(()) => Ok(Came { mode: Mode::Generic, note }),
        Err(failure) => Err(failure.into_error(link, ModeWanted::Generic)),
    }
}

/// Swaps our program into the pinned link; None where there is none that still holds, or of another mode.
fn replace(program: &mut Xdp, pin: &Path, link: &Link, wanted: ModeWanted) -> Option<Mode> {
    let pinned: FdLink = PinnedLink::from_pin(pin).ok()?.into();
    let mode = link.attached.map(|attached| attached.mode);
    let fits = matches!(
        (wanted, mode),
        (ModeWanted::Native | ModeWanted::Auto, Some(Mode::Native))
            | (ModeWanted::Generic | ModeWanted::Auto, Some(Mode::Generic))
    );
    let replaced = fits
        && pinned
            .try_into()
            .is_ok_and(|link| program.attach_to_link(link).and_then(|id| program.take_link(id)).is_ok());
    if replaced {
        return mode;
    }
    // The interface went and came, or another mode is wanted: the old link is of no use.
    if let Err(error) = std::fs::remove_file(pin) {
        tracing::warn!(interface = link.name, %error, "cannot remove the old link's pin");
    }
    None
}

struct Failure {
    errno: Option<Errno>,
    reason: String,
}

impl Failure {
    /// With the driver's own words, where it has any.
    fn asked(error: &ProgramError, program: &Xdp, ifindex: u32, mode: XdpMode) -> Self {
        let plain = Self::of(error);
        if plain.is_taken() {
            return plain;
        }
        let words = program.fd().ok().and_then(|fd| refusal::words(ifindex, fd.as_fd(), mode));
        Self { reason: words.map_or(plain.reason, |words| format!("the kernel says \"{words}\"")), ..plain }
    }

    fn of(error: &ProgramError) -> Self {
        let raw = match error {
            ProgramError::SyscallError(call) => call.io_error.raw_os_error(),
            ProgramError::XdpError(XdpError::NetlinkError(error)) => error.raw_os_error(),
            _ => None,
        };
        let errno = raw.map(Errno::from_raw);
        let reason = errno.map_or(error.to_string(), |errno| errno.desc().to_owned());
        Self { errno, reason }
    }

    fn is_taken(&self) -> bool {
        matches!(self.errno, Some(Errno::EBUSY | Errno::EEXIST))
    }

    fn into_error(self, link: &Link, wanted: ModeWanted) -> AttachError {
        let interface = link.name.clone();
        if self.is_taken() {
            let Holder { by, how } = Holder::of(link);
            return AttachError::Taken { interface, by, how };
        }
        match wanted {
            ModeWanted::Native => AttachError::NotNative { interface, reason: self.reason },
            _ => AttachError::Refused { interface, reason: self.reason },
        }
    }
}

fn attach_as(program: &mut Xdp, pin: &Path, link: &Link, mode: XdpMode) -> Result<(), Failure> {
    let ifindex = link.ifindex;
    let attached = program.attach_to_if_index(ifindex, mode);
    let id = attached.map_err(|error| Failure::asked(&error, program, ifindex, mode))?;
    let link = program.take_link(id).map_err(|error| Failure::of(&error))?;
    let unpinned = |reason: String| Failure { errno: None, reason };
    let link: FdLink = link.try_into().map_err(|_| unpinned("the kernel made no link".to_owned()))?;
    link.pin(pin).map_err(|error| unpinned(error.to_string()))?;
    Ok(())
}
