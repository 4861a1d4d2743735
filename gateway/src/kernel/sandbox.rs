//! What the serving process shuts itself out of, once everything that it needs is open: most system
//! calls (seccomp), most files, binding and signalling (landlock). Best effort: a kernel that has less
//! is said, and Weir goes on. The keeper gets a list of system calls of its own.

mod calls;
mod filter;
mod paths;

use std::path::PathBuf;

use self::filter::{allowing_only, install, killing};
pub use self::paths::Reach;

/// `sandbox`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sandbox {
    /// As much as the kernel has.
    #[default]
    Auto,
    /// Capabilities are dropped all the same.
    Off,
}

/// What holds for the serving process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confinement {
    pub seccomp: Part,
    pub landlock: Part,
}

/// How much of a part could be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    On,
    /// What is missing.
    Partly(String),
    /// Why not.
    Off(String),
}

impl Confinement {
    fn off(why: &str) -> Self {
        Self { seccomp: Part::Off(why.to_owned()), landlock: Part::Off(why.to_owned()) }
    }
}

impl Part {
    pub fn name(&self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Partly(_) => "partly",
            Self::Off(_) => "off",
        }
    }

    pub fn why(&self) -> Option<&str> {
        match self {
            Self::On => None,
            Self::Partly(why) | Self::Off(why) => Some(why),
        }
    }
}

/// Shuts this thread, and all that it starts, into `reach`. No listener can be opened afterwards, so
/// call it when they are, and before the threads that serve.
pub fn confine(sandbox: Sandbox, reach: &Reach) -> Confinement {
    if sandbox == Sandbox::Off {
        return Confinement::off("sandbox is \"off\"");
    }
    let landlock = paths::confine(reach);
    let seccomp = match confine_calls() {
        Ok(()) => Part::On,
        Err(error) => Part::Off(error),
    };
    for (name, part) in [("seccomp", &seccomp), ("landlock", &landlock)] {
        if let Some(why) = part.why() {
            tracing::warn!(part = name, state = part.name(), "the sandbox is not whole: {why}");
        }
    }
    Confinement { seccomp, landlock }
}

/// Two filters: what only an attacker asks for ends the process, what is merely not on the list fails.
fn confine_calls() -> Result<(), String> {
    install(&killing(calls::FATAL)?)?;
    install(&allowing_only(calls::gateway())?)
}

/// The keeper's list, which its child begins with.
pub(super) fn confine_keeper(sandbox: Sandbox) {
    if sandbox == Sandbox::Off {
        return;
    }
    if let Err(error) = allowing_only(calls::keeper()).and_then(|filter| install(&filter)) {
        tracing::warn!(error, "the keeper's system calls are not limited");
    }
}

/// Folders of files, as they are named and as links lead there.
fn folders_of<'a>(files: impl Iterator<Item = &'a PathBuf>) -> Vec<PathBuf> {
    let parent = |file: PathBuf| match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    files.flat_map(|file| [Some(file.clone()), file.canonicalize().ok()]).flatten().map(parent).collect()
}
