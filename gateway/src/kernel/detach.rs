//! `weir xdp detach`: takes programs, links and pins away, with the daemon alive or dead. It needs
//! nothing but the pin folder.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::syncookies;
use crate::plane::PinDir;

/// What was taken away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detached {
    pub interfaces: Vec<String>,
    /// Whether maps, programs and the proof went too: when no interface is left.
    pub everything: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum DetachError {
    #[error("no XDP program of this instance on {0}: `weir xdp status` lists what there is")]
    NotAttached(String),
    #[error("{path}: {source}")]
    Remove { path: PathBuf, source: io::Error },
}

/// Detaches from `interfaces` (empty: all), whichever layout version has them. Removing a link's last pin
/// detaches its program; a living keeper holds none open.
pub fn detach(instance: &Path, interfaces: &[String]) -> Result<Detached, DetachError> {
    let pins = PinDir::new(instance);
    let versions: Vec<_> = std::iter::once(pins.clone()).chain(pins.others()).collect();
    let linked = pins.linked_in_any();
    let chosen = if interfaces.is_empty() { linked.clone() } else { interfaces.to_vec() };
    if let Some(stranger) = chosen.iter().find(|name| !linked.contains(name)) {
        return Err(DetachError::NotAttached(stranger.clone()));
    }
    for link in versions.iter().flat_map(|pins| chosen.iter().map(|name| pins.xdp_link(name))) {
        if link.exists() {
            remove(&link)?;
        }
    }
    let everything = linked.iter().all(|name| chosen.contains(name));
    if everything {
        remove_versions(&versions)?;
        // Somebody else's pins may be in the instance's folder: then it stays.
        match fs::remove_dir(instance) {
            Ok(()) | Err(_) => {}
        }
    }
    Ok(Detached { interfaces: chosen, everything })
}

fn remove_versions(versions: &[PinDir]) -> Result<(), DetachError> {
    for pins in versions {
        // Programs are gone: what cannot be put back is said, and does not keep the rest here.
        if let Err(error) = syncookies::end(pins) {
            tracing::warn!("{error}");
        }
        remove_folder(pins.path())?;
    }
    Ok(())
}

pub(super) fn remove_folder(path: &Path) -> Result<(), DetachError> {
    let failed = |source: io::Error| DetachError::Remove { path: path.to_owned(), source };
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(failed)?,
    };
    for entry in entries {
        remove(&entry.map_err(failed)?.path())?;
    }
    fs::remove_dir(path).map_err(failed)
}

fn remove(path: &Path) -> Result<(), DetachError> {
    fs::remove_file(path).map_err(|source| DetachError::Remove { path: path.to_owned(), source })
}
