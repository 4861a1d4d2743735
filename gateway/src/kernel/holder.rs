//! Who has an interface that the program cannot be attached to, and how it is made free.

use std::path::{Path, PathBuf};

use aya::programs::{ProgramInfo, loaded_programs};

use super::Mode;
use super::netlink::{Attached, Link, links};

/// Another program's place, for people.
pub(super) struct Holder {
    /// `program "NAME" (id N, tag T, native)`.
    pub by: String,
    /// What takes it off.
    pub how: String,
}

/// libxdp's pins: a folder for each dispatcher, in it the programs that it calls.
const LIBXDP_PINS: &str = "/sys/fs/bpf/xdp";
/// A dispatcher has so many places.
const DISPATCHED_MAX: usize = 10;

impl Holder {
    /// A program on the interface itself, or on one that stands on it: beside such the kernel attaches none.
    pub fn of(link: &Link) -> Self {
        let present = links().unwrap_or_default();
        let upper = |other: &&Link| other.lower == Some(link.ifindex) || link.master == Some(other.ifindex);
        let itself = present.iter().find(|other| other.ifindex == link.ifindex && other.attached.is_some());
        let holder = itself.or_else(|| present.iter().filter(upper).find(|other| other.attached.is_some()));
        let Some((holder, attached)) = holder.and_then(|holder| Some((holder, holder.attached?))) else {
            let by = "another program, on it or on an interface that stands on it";
            return Self { by: by.to_owned(), how: "`bpftool net` lists them".to_owned() };
        };
        let by = described(holder.ifindex, attached);
        let by = if holder.ifindex == link.ifindex { by } else { format!("{by} on {}", holder.name) };
        Self { by, how: how_to_remove(holder, attached) }
    }
}

/// Name, id, tag and mode. Without CAP_SYS_ADMIN the kernel tells the id only.
pub(super) fn described(ifindex: u32, attached: Attached) -> String {
    let Attached { mode, program_id: id } = attached;
    let info = loaded_programs().filter_map(Result::ok).find(|info| info.id() == id);
    let program = match &info {
        Some(info) => format!("program \"{}\" (id {id}, tag {:016x}, {mode})", name(info), info.tag()),
        None => format!("program id {id} ({mode})"),
    };
    match dispatcher(ifindex, id) {
        Some(folder) => format!("{program}, libxdp's dispatcher of {}", dispatched(&folder)),
        None => program,
    }
}

fn how_to_remove(holder: &Link, attached: Attached) -> String {
    let (interface, id) = (&holder.name, attached.program_id);
    if dispatcher(holder.ifindex, id).is_some() {
        return format!(
            "Weir does not join dispatchers: `xdp-loader status {interface}` lists its programs, `xdp-loader unload {interface} --all` removes them"
        );
    }
    let kind = if attached.mode == Mode::Native { "xdpdrv" } else { "xdpgeneric" };
    format!(
        "`bpftool prog show id {id}` tells what it is, `ip link set {interface} {kind} off` removes it, or, where a link holds it, `bpftool link` and `bpftool link detach id LINK`"
    )
}

/// The pins of the dispatcher that runs there as program `id`.
fn dispatcher(ifindex: u32, id: u32) -> Option<PathBuf> {
    let folder = Path::new(LIBXDP_PINS).join(format!("dispatch-{ifindex}-{id}"));
    folder.is_dir().then_some(folder)
}

fn dispatched(folder: &Path) -> String {
    let names = (0..DISPATCHED_MAX).map_while(|idx| {
        let path = folder.join(format!("prog{idx}-prog"));
        path.exists()
            .then(|| ProgramInfo::from_pin(&path).map_or("?".to_owned(), |info| name(&info).to_owned()))
    });
    names.collect::<Vec<_>>().join(", ")
}

fn name(info: &ProgramInfo) -> &str {
    info.name_as_str().filter(|name| !name.is_empty()).unwrap_or("unnamed")
}
