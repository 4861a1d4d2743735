//! Which files the serving process may still open, by landlock. Rules are of folders: a file that is
//! replaced by another of its name stays in reach.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, LandlockStatus, PathBeneath, PathFd, RestrictionStatus,
    Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope,
};

use super::{Part, folders_of};

/// What a configuration adds to the folders that every process wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Files that a reload reads again: their folders can be read.
    pub files: Vec<PathBuf>,
    /// Folders of pinned key sets: written to.
    pub pinned: Vec<PathBuf>,
    /// The control socket: it is removed at the end.
    pub socket: PathBuf,
    /// The access log: a file in its place can be made and written.
    pub log: Option<PathBuf>,
}

/// Readable: the resolver's and TLS's files, libraries and time zones, what /proc and /sys tell. Name
/// servers may stand behind links to /run; Nix and SUSE keep libraries and certificates elsewhere.
const READ: [&str; 14] = [
    "/etc",
    "/usr",
    "/lib",
    "/lib64",
    "/nix/store",
    "/proc",
    "/sys/devices/system",
    "/sys/fs/cgroup",
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/run/NetworkManager",
    "/var/lib/ca-certificates",
    "/dev/urandom",
    "/dev/null",
];

/// Rights that are taken away wherever no rule gives them: those of Linux 6.12.
const KNOWN: ABI = ABI::V6;

pub(super) fn confine(reach: &Reach) -> Part {
    match restrict(reach) {
        Ok(RestrictionStatus { ruleset: RulesetStatus::FullyEnforced, .. }) => Part::On,
        Ok(RestrictionStatus { ruleset: RulesetStatus::PartiallyEnforced, landlock, .. }) => {
            Part::Partly(format!("this kernel's landlock is older than Linux 6.12's ({landlock:?})"))
        }
        Ok(RestrictionStatus { landlock: LandlockStatus::NotEnabled, .. }) => Part::Off(
            "landlock is not enabled: add it to the `lsm=` list of the kernel's command line".to_owned(),
        ),
        Ok(_) => Part::Off("this kernel has no landlock".to_owned()),
        Err(error) => Part::Off(format!("landlock: {error}")),
    }
}

fn restrict(reach: &Reach) -> Result<RestrictionStatus, RulesetError> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let mut ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(KNOWN))?
        .handle_access(AccessNet::BindTcp)?
        .scope(Scope::from_all(KNOWN))?
        .create()?;
    let folders = folders_of(reach.files.iter());
    // A panic's backtrace reads the names in the own program.
    let program = std::env::current_exe().ok();
    let known = READ.iter().map(Path::new).chain(program.as_deref());
    for path in known.chain(folders.iter().map(PathBuf::as_path)) {
        if let Some(rule) = beneath(path, read) {
            ruleset = ruleset.add_rule(rule)?;
        }
    }
    let kept = read | AccessFs::WriteFile | AccessFs::MakeReg | AccessFs::RemoveFile | AccessFs::Truncate;
    for folder in &reach.pinned {
        if let Some(rule) = beneath(folder, kept) {
            ruleset = ruleset.add_rule(rule)?;
        }
    }
    for folder in folders_of(std::iter::once(&reach.socket)) {
        if let Some(rule) = beneath(&folder, AccessFs::RemoveFile.into()) {
            ruleset = ruleset.add_rule(rule)?;
        }
    }
    for folder in folders_of(reach.log.iter()) {
        if let Some(rule) = beneath(&folder, AccessFs::MakeReg | AccessFs::WriteFile) {
            ruleset = ruleset.add_rule(rule)?;
        }
    }
    ruleset.restrict_self()
}

/// None where there is no such path: nothing is in reach there.
fn beneath(path: &Path, access: BitFlags<AccessFs>) -> Option<PathBeneath<PathFd>> {
    let fits = if path.is_dir() { access } else { access & AccessFs::from_file(KNOWN) };
    Some(PathBeneath::new(PathFd::new(path).ok()?, fits))
}
