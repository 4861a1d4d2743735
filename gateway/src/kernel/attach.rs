//! Puts the packet program on an interface, or in the place of a predecessor's without a gap.

use std::path::Path;

use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::XdpError;
use aya::programs::{ProgramError, Xdp, XdpMode};
use nix::errno::Errno;

use super::netlink::{Attached, Link, links};
use super::{Mode, ModeWanted};
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
    fn of(error: &ProgramError) -> Self {
        let raw = match error {
            ProgramError::SyscallError(call) => call.io_error.raw_os_error(),
            ProgramError::XdpError(XdpError::NetlinkError(error)) => error.raw_os_error(),
            _ => None,
        };
        let errno = raw.map(Errno::from_raw);
        let reason = match errno {
            Some(Errno::EOPNOTSUPP) => "its driver has no native XDP".to_owned(),
            Some(Errno::ERANGE | Errno::EINVAL) => {
                format!(
                    "its driver refuses it as the interface is set up, MTU and offloads above all ({error})"
                )
            }
            Some(errno) => errno.desc().to_owned(),
            None => error.to_string(),
        };
        Self { errno, reason }
    }

    fn is_taken(&self) -> bool {
        matches!(self.errno, Some(Errno::EBUSY | Errno::EEXIST))
    }

    fn into_error(self, link: &Link, wanted: ModeWanted) -> AttachError {
        let interface = link.name.clone();
        if self.is_taken() {
            let (by, how) = taken_by(link);
            return AttachError::Taken { interface, by, how };
        }
        match wanted {
            ModeWanted::Native => AttachError::NotNative { interface, reason: self.reason },
            _ => AttachError::Refused { interface, reason: self.reason },
        }
    }
}

fn attach_as(program: &mut Xdp, pin: &Path, link: &Link, mode: XdpMode) -> Result<(), Failure> {
    let id = program.attach_to_if_index(link.ifindex, mode).map_err(|error| Failure::of(&error))?;
    let link = program.take_link(id).map_err(|error| Failure::of(&error))?;
    let unpinned = |reason: String| Failure { errno: None, reason };
    let link: FdLink = link.try_into().map_err(|_| unpinned("the kernel made no link".to_owned()))?;
    link.pin(pin).map_err(|error| unpinned(error.to_string()))?;
    Ok(())
}

/// Who has the interface, and how it is taken off: another program on it, or one on an interface that
/// stands on it, beside which the kernel attaches none below.
fn taken_by(link: &Link) -> (String, String) {
    let present = links().unwrap_or_default();
    let upper = |other: &&Link| other.lower == Some(link.ifindex) || link.master == Some(other.ifindex);
    let itself = present.iter().find(|other| other.ifindex == link.ifindex && other.attached.is_some());
    let holder = itself.or_else(|| present.iter().filter(upper).find(|other| other.attached.is_some()));
    let Some((holder, attached)) = holder.and_then(|holder| Some((holder, holder.attached?))) else {
        let by = "another program, on it or on an interface that stands on it";
        return (by.to_owned(), "`bpftool net` lists them".to_owned());
    };
    let (by, name) = described(attached);
    let by = if holder.ifindex == link.ifindex { by } else { format!("{by} on {}", holder.name) };
    (by, how_to_remove(&holder.name, attached, name.as_deref()))
}

/// `program "NAME" (id N, tag T, native)`, and the name. Without CAP_SYS_ADMIN the kernel tells the id only.
pub(super) fn described(attached: Attached) -> (String, Option<String>) {
    let Attached { mode, program_id: id } = attached;
    let info = aya::programs::loaded_programs().filter_map(Result::ok).find(|info| info.id() == id);
    let Some(info) = info else { return (format!("program id {id} ({mode})"), None) };
    let name = info.name_as_str().unwrap_or("unnamed").to_owned();
    (format!("program \"{name}\" (id {id}, tag {:016x}, {mode})", info.tag()), Some(name))
}

/// libxdp's dispatcher is known by its name.
const DISPATCHER: &str = "xdp_dispatcher";

fn how_to_remove(interface: &str, attached: Attached, name: Option<&str>) -> String {
    if name == Some(DISPATCHER) {
        return format!(
            "it is libxdp's dispatcher, which Weir does not join: `xdp-loader status {interface}` lists its programs, `xdp-loader unload {interface} --all` removes them"
        );
    }
    let id = attached.program_id;
    let kind = if attached.mode == Mode::Native { "xdpdrv" } else { "xdpgeneric" };
    format!(
        "`bpftool prog show id {id}` tells what it is, `ip link set {interface} {kind} off` removes it, or, where a link holds it, `bpftool link` and `bpftool link detach id LINK`"
    )
}
