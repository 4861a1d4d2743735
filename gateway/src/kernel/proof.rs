//! Attaches the sockops program at the root of a cgroup v2 hierarchy: it then sees every accepted
//! connection of the host, sockets in other network namespaces included.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use aya::programs::links::FdLink;
use aya::programs::{CgroupAttachMode, SockOps};
use nix::mount::{MsFlags, mount};

use crate::plane::PinDir;

#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    #[error("no cgroup v2 hierarchy is mounted")]
    NoCgroup,
    #[error("handshakes cannot be watched: {0}")]
    Refused(String),
}

/// Where one is mounted if there is none: a bare hierarchy beside mounted v1 controllers.
const OWN_CGROUP: &str = "/run/weir/cgroup2";

/// Attaches our program, then lets a predecessor's go: for a moment both run, and proving twice is proving once.
pub(super) fn attach(program: &mut SockOps, pins: &PinDir) -> Result<(), ProofError> {
    let refused = |error: &dyn std::error::Error| ProofError::Refused(error.to_string());
    let root = cgroup_root().ok_or(ProofError::NoCgroup)?;
    let cgroup = File::open(&root).map_err(|error| refused(&error))?;
    // Single: aya attaches by link, and links are "multi" in the kernel whatever is asked.
    let id = program.attach(cgroup, CgroupAttachMode::Single).map_err(|error| refused(&error))?;
    let link = program.take_link(id).map_err(|error| refused(&error))?;
    let link: FdLink = link.try_into().map_err(|error: aya::programs::links::LinkError| refused(&error))?;
    let path = pins.proof_link();
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(refused(&error)),
        Ok(()) | Err(_) => {}
    }
    link.pin(path).map(drop).map_err(|error| refused(&error))
}

fn cgroup_root() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let mounted = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let path = fields.nth(1)?;
        (fields.next()? == "cgroup2").then(|| PathBuf::from(path))
    });
    mounted.or_else(mount_own)
}

fn mount_own() -> Option<PathBuf> {
    let path = Path::new(OWN_CGROUP);
    fs::create_dir_all(path).ok()?;
    mount(Some("none"), path, Some("cgroup2"), MsFlags::empty(), None::<&str>).ok()?;
    tracing::info!(path = OWN_CGROUP, "mounted a cgroup v2 hierarchy");
    Some(path.to_owned())
}
