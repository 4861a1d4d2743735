//! What operators added to the lists while Weir ran: single prefixes by `add`, whole lists by `load`.
//! Kept in the kernel's ADDED, so that it survives a reload, a crash and a restart; without a kernel
//! plane in this process.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aya::maps::{HashMap, Map, MapData, MapError};
use ipnet::IpNet;
use weir_ebpf::abi::{AddedKey, Sentence, maps};

use super::lists::List;
use super::maps::{MapsError, in_map, open};
use super::pins::PinDir;

/// How a prefix came to a list: the number in ADDED.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    Added = 0,
    Loaded = 1,
}

/// Prefixes beside the configuration's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Additions {
    pub allow: Named,
    pub deny: Named,
}

/// One list's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    pub added: BTreeSet<IpNet>,
    pub loaded: BTreeSet<IpNet>,
}

/// The additions in force, and where they are kept.
pub struct Added {
    state: Mutex<State>,
}

struct State {
    present: Arc<Additions>,
    kernel: Option<HashMap<MapData, AddedKey, u64>>,
}

impl Additions {
    pub fn of(&self, sentence: Sentence) -> &Named {
        if sentence == Sentence::Allow { &self.allow } else { &self.deny }
    }

    pub fn of_mut(&mut self, sentence: Sentence) -> &mut Named {
        if sentence == Sentence::Allow { &mut self.allow } else { &mut self.deny }
    }

    pub fn len(&self) -> usize {
        self.allow.len() + self.deny.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// As lists with counters of their own; those that name nobody are left out.
    pub fn lists(&self) -> impl Iterator<Item = List> + '_ {
        [
            ("added to allow", Sentence::Allow, &self.allow.added),
            ("loaded to allow", Sentence::Allow, &self.allow.loaded),
            ("added to deny", Sentence::Deny, &self.deny.added),
            ("loaded to deny", Sentence::Deny, &self.deny.loaded),
        ]
        .into_iter()
        .filter(|(.., prefixes)| !prefixes.is_empty())
        .map(|(name, sentence, prefixes)| List::new(name, sentence, prefixes.iter().copied()))
    }

    fn rows(&self) -> impl Iterator<Item = AddedKey> + '_ {
        [
            (&self.allow.added, Sentence::Allow, Origin::Added),
            (&self.allow.loaded, Sentence::Allow, Origin::Loaded),
            (&self.deny.added, Sentence::Deny, Origin::Added),
            (&self.deny.loaded, Sentence::Deny, Origin::Loaded),
        ]
        .into_iter()
        .flat_map(|(prefixes, sentence, origin)| prefixes.iter().map(move |net| key(net, sentence, origin)))
    }

    fn insert(&mut self, row: &AddedKey) {
        let Some(net) = net_of(row) else { return };
        let sentence = if row.sentence == Sentence::Allow as u8 { Sentence::Allow } else { Sentence::Deny };
        let named = self.of_mut(sentence);
        let prefixes = if row.origin == Origin::Loaded as u8 { &mut named.loaded } else { &mut named.added };
        prefixes.insert(net);
    }
}

impl Named {
    pub fn len(&self) -> usize {
        self.added.len() + self.loaded.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn iter(&self) -> impl Iterator<Item = &IpNet> {
        self.added.iter().chain(&self.loaded)
    }
}

impl Added {
    /// Without a kernel plane.
    pub fn in_process() -> Self {
        Self { state: Mutex::new(State { present: Arc::default(), kernel: None }) }
    }

    /// Over the pinned ADDED, with what a predecessor left there.
    pub fn in_kernel(pins: &PinDir) -> Result<Self, MapsError> {
        let map: HashMap<MapData, AddedKey, u64> = open(pins, maps::ADDED, Map::HashMap)?;
        let mut present = Additions::default();
        for row in map.keys() {
            present.insert(&in_map(maps::ADDED, row)?);
        }
        Ok(Self { state: Mutex::new(State { present: Arc::new(present), kernel: Some(map) }) })
    }

    pub fn present(&self) -> Arc<Additions> {
        Arc::clone(&self.locked().present)
    }

    /// Keeps `wanted` from now on. On an error the caller goes on with what was.
    pub fn keep(&self, wanted: Additions) -> Result<(), MapsError> {
        let mut state = self.locked();
        let State { present, kernel } = &mut *state;
        if let Some(map) = kernel {
            let (old, new): (BTreeSet<_>, BTreeSet<_>) = (present.rows().collect(), wanted.rows().collect());
            for row in new.difference(&old) {
                in_map(maps::ADDED, map.insert(row, 1, 0))?;
            }
            for row in old.difference(&new) {
                match map.remove(row) {
                    Err(MapError::KeyNotFound) => {}
                    removed => in_map(maps::ADDED, removed)?,
                }
            }
        }
        *present = Arc::new(wanted);
        Ok(())
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(net: &IpNet, sentence: Sentence, origin: Origin) -> AddedKey {
    let mut row = AddedKey {
        length: net.prefix_len(),
        sentence: sentence as u8,
        origin: origin as u8,
        ..AddedKey::default()
    };
    match net.network() {
        IpAddr::V4(v4) => {
            row.family = 4;
            let [a, b, c, d] = v4.octets();
            row.address = [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        }
        IpAddr::V6(v6) => {
            row.family = 6;
            row.address = v6.octets();
        }
    }
    row
}

fn net_of(row: &AddedKey) -> Option<IpNet> {
    let [a, b, c, d, ..] = row.address;
    let address = match row.family {
        4 => IpAddr::from([a, b, c, d]),
        _ => IpAddr::from(row.address),
    };
    IpNet::new(address, row.length).ok()
}
