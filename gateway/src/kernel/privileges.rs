//! Capabilities: what each process keeps.

use caps::{CapSet, Capability, CapsHashSet};

/// What the keeper needs: programs and maps, XDP and netlink, raw tracepoints, low ports.
const KEEPER: [Capability; 4] = [
    Capability::CAP_BPF,
    Capability::CAP_NET_ADMIN,
    Capability::CAP_PERFMON,
    Capability::CAP_NET_BIND_SERVICE,
];

/// Who serves keeps none, for ever: neither it nor what it might be made to execute gains one. Call it
/// before the first thread starts: capabilities are a thread's.
pub fn drop_capabilities() -> Result<(), String> {
    nix::sys::prctl::set_no_new_privs().map_err(|error| format!("no_new_privs: {error}"))?;
    keep(&CapsHashSet::new())
}

/// The keeper keeps its four; a later replacement of programs needs them.
pub(super) fn drop_to_keeper() -> Result<(), String> {
    let held = caps::read(None, CapSet::Permitted).map_err(|error| error.to_string())?;
    keep(&KEEPER.into_iter().filter(|capability| held.contains(capability)).collect())
}

fn keep(kept: &CapsHashSet) -> Result<(), String> {
    let refused = |set: &str, error: caps::errors::CapsError| format!("{set} capabilities: {error}");
    // Without CAP_SETPCAP (an unprivileged start) the bounding set stays; no_new_privs and the empty sets hold.
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP).unwrap_or(false) {
        for capability in caps::all() {
            if !kept.contains(&capability)
                && caps::has_cap(None, CapSet::Bounding, capability).unwrap_or(false)
            {
                caps::drop(None, CapSet::Bounding, capability).map_err(|error| refused("bounding", error))?;
            }
        }
    }
    caps::clear(None, CapSet::Ambient).map_err(|error| refused("ambient", error))?;
    caps::set(None, CapSet::Inheritable, &CapsHashSet::new())
        .map_err(|error| refused("inheritable", error))?;
    caps::set(None, CapSet::Effective, kept).map_err(|error| refused("effective", error))?;
    caps::set(None, CapSet::Permitted, kept).map_err(|error| refused("permitted", error))
}
