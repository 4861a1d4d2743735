//! Pins of another layout version: what is as good as ours goes on under our programs, XDP without a
//! gap, and the rest is taken away when nothing runs on it any more.

use std::fs;
use std::path::Path;

use aya::maps::{Array, Map, MapData};
use weir_ebpf::abi::{Rules, maps};

use super::detach::remove_folder;
use super::load::{LoadError, difference};
use crate::plane::PinDir;

/// Maps that are used by whichever version finds them, if their sizes are its own.
const ADOPTED: [&str; 6] =
    [maps::CLIENTS, maps::CLIENTS_BEFORE, maps::BANS, maps::AGGREGATES, maps::ADDED, maps::KEPT];
/// And these, whose places are hashed, where the seed is known.
const HASHED: [&str; 2] = [maps::SEEN, maps::FRONT];

/// Pins such maps in our folder too, where there is none of ours. Programs of the other version go on
/// using them, as ours will: a client's entry is one throughout. Should our start fail, the other
/// version finds them where they were.
pub(super) fn adopt_maps(pins: &PinDir) -> Result<(), LoadError> {
    for other in pins.others() {
        // An entry may be in either of the two.
        let is_new = !pins.map(maps::CLIENTS).exists();
        let hashed = if seed_of(&other).is_some() { &HASHED[..] } else { &[] };
        for name in ADOPTED.iter().chain(hashed).copied() {
            let (theirs, ours) = (other.map(name), pins.map(name));
            if !theirs.exists() || ours.exists() || (name == maps::CLIENTS_BEFORE && !is_new) {
                continue;
            }
            match difference(&theirs, name)? {
                None => fs::hard_link(&theirs, &ours)
                    .map_err(|source| LoadError::Folder { path: theirs.clone(), source })?,
                Some(difference) => tracing::warn!(
                    map = name,
                    from = %other.path().display(),
                    "entries of another layout are lost: {difference}"
                ),
            }
        }
    }
    Ok(())
}

/// The seed of another version's hashes. Its rules themselves are not shared: it still runs by them.
pub(super) fn seed(pins: &PinDir) -> Option<u64> {
    pins.others().iter().find_map(seed_of)
}

fn seed_of(other: &PinDir) -> Option<u64> {
    let open = |name: &str| match difference(&other.map(name), name) {
        Ok(None) => MapData::from_pin(other.map(name)).ok().map(Map::Array),
        Ok(Some(_)) | Err(_) => None,
    };
    let active: Array<MapData, u64> = open(maps::ACTIVE)?.try_into().ok()?;
    let rules: Array<MapData, Rules> = open(maps::RULES)?.try_into().ok()?;
    let idx = u32::try_from(active.get(&0, 0).ok()? & 1).ok()?;
    Some(rules.get(&idx, 0).ok()?.seed).filter(|seed| *seed != 0)
}

/// Moves links into our folder: whoever attaches finds them there, and puts our program into them.
pub(super) fn adopt_links(pins: &PinDir) {
    for other in pins.others() {
        for interface in other.linked_interfaces() {
            adopt_link(&other.xdp_link(&interface), &pins.xdp_link(&interface));
        }
        adopt_link(&other.proof_link(), &pins.proof_link());
    }
}

fn adopt_link(theirs: &Path, ours: &Path) {
    if !theirs.exists() || ours.exists() {
        return;
    }
    if let Err(error) = fs::rename(theirs, ours) {
        tracing::warn!(link = %theirs.display(), %error, "cannot be taken over");
    }
}

/// Takes the rest of the other versions' pins away: with the last, their programs and maps go.
pub(super) fn clear(pins: &PinDir) {
    for other in pins.others() {
        let folder = other.path().display();
        match remove_folder(other.path()) {
            Ok(()) => tracing::info!(%folder, "took over from another layout version, its pins are removed"),
            Err(error) => tracing::warn!(%folder, "another layout version's pins cannot be removed: {error}"),
        }
    }
}
