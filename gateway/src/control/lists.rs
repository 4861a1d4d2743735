//! `weir allow` and `weir deny`: list, add, rm, load. What they change is kept beside the configuration
//! and swapped in whole; a change that fails leaves everything as it was.

use std::path::Path;

use ipnet::IpNet;
use weir_ebpf::abi::Sentence;

use super::Parts;
use super::message::{ListName, ListView, ListsView};
use crate::config::parse_prefixes;
use crate::kernel::{Guard, Ranges};
use crate::plane::{Additions, ListCount};

/// Prefixes that `list` shows of those that were added.
const SHOWN_MAX: usize = 1_000;
/// Guarded addresses that a refusal names.
const TOLD_MAX: usize = 8;

impl ListName {
    fn sentence(self) -> Sentence {
        match self {
            Self::Allow => Sentence::Allow,
            Self::Deny => Sentence::Deny,
        }
    }
}

/// Every list of the kind with what it met, and the prefixes that were added one by one.
pub(super) fn list(parts: &Parts, name: ListName) -> Result<ListsView, String> {
    let counts = match &parts.maps {
        Some(maps) => Some(maps.list_counts().map_err(|error| error.to_string())?),
        None => None,
    };
    let config = parts.config.load();
    let kernel = &config.kernel;
    let guard = parts.guarding.present();
    let additions = parts.added.present();
    let mut rows: Vec<(String, Sentence, usize)> = vec![
        ("allow".to_owned(), Sentence::Allow, kernel.allow.len()),
        ("management".to_owned(), Sentence::Allow, kernel.management.len()),
        ("trusted_proxies".to_owned(), Sentence::Allow, config.proxy.trusted_proxies.len()),
        ("guard".to_owned(), Sentence::Allow, guard.prefixes().count()),
        ("deny".to_owned(), Sentence::Deny, kernel.deny.len()),
    ];
    rows.extend(kernel.lists.iter().map(|list| (list.name.clone(), list.sentence, list.prefixes.len())));
    rows.extend(additions.lists().map(|list| (list.name, list.sentence, list.prefixes.len())));
    let is_of_kind = |sentence: Sentence| (sentence == Sentence::Allow) == (name == ListName::Allow);
    let lists = rows
        .into_iter()
        .filter(|(_, sentence, prefixes)| is_of_kind(*sentence) && *prefixes > 0)
        .map(|(name, sentence, prefixes)| view(name, sentence, prefixes, counts.as_deref()))
        .collect();
    let added = additions.of(name.sentence()).added.iter().take(SHOWN_MAX).map(IpNet::to_string).collect();
    Ok(ListsView { lists, added })
}

/// Adds a prefix; it stays until it is removed, over reloads and restarts.
pub(super) fn add(parts: &Parts, name: ListName, prefix: &str) -> Result<ListView, String> {
    let net = one_prefix(prefix)?;
    change(parts, name, |additions| {
        additions.of_mut(name.sentence()).added.insert(net);
        Ok(())
    })
}

/// Takes a prefix out that was added or loaded.
pub(super) fn remove(parts: &Parts, name: ListName, prefix: &str) -> Result<ListView, String> {
    let net = one_prefix(prefix)?;
    change(parts, name, |additions| {
        let named = additions.of_mut(name.sentence());
        let (added, loaded) = (named.added.remove(&net), named.loaded.remove(&net));
        if added || loaded {
            return Ok(());
        }
        Err(format!(
            "{net} was not added to this list while weir ran; what the configuration names is taken out there"
        ))
    })
}

/// Puts a list in the place of what was loaded before. `source` is what errors name.
pub(super) fn load(parts: &Parts, name: ListName, source: &str, text: &[u8]) -> Result<ListView, String> {
    let text = std::str::from_utf8(text).map_err(|error| format!("{source}: no UTF-8 text: {error}"))?;
    let prefixes = parse_prefixes(text, Path::new(source)).map_err(|errors| errors.to_string())?;
    change(parts, name, |additions| {
        additions.of_mut(name.sentence()).loaded = prefixes.into_iter().collect();
        Ok(())
    })
}

fn change(
    parts: &Parts,
    name: ListName,
    edit: impl FnOnce(&mut Additions) -> Result<(), String>,
) -> Result<ListView, String> {
    let additions = parts.reloader.change_lists(parts, |additions| {
        edit(additions)?;
        let config = parts.config.load();
        let (n_prefixes, most) = (config.kernel.n_prefixes() + additions.len(), config.kernel.prefixes);
        if n_prefixes > most as usize {
            return Err(format!(
                "the lists would hold {n_prefixes} prefixes, and [kernel] prefixes is {most}: raise it and reload"
            ));
        }
        if name == ListName::Deny {
            let allow = Ranges::of(config.kernel.allowed().chain(additions.allow.iter().copied()));
            refuse_cut_off(additions.deny.iter(), &allow, &parts.guarding.present())?;
        }
        Ok(())
    })?;
    let prefixes = additions.of(name.sentence()).len();
    Ok(view("added and loaded".to_owned(), name.sentence(), prefixes, None))
}

/// The guard wins over a deny list: one that names whom it keeps is a mistake. Who is allowed too is not cut off.
fn refuse_cut_off<'a>(
    denied: impl Iterator<Item = &'a IpNet>,
    allow: &Ranges,
    guard: &Guard,
) -> Result<(), String> {
    let hits = denied.filter_map(|net| {
        let row = guard.met_by(net).find(|row| !allow.covers(&row.prefix))?;
        Some(format!("{net} would cut off {row}"))
    });
    let told: Vec<_> = hits.take(TOLD_MAX).collect();
    if told.is_empty() { Ok(()) } else { Err(told.join("\n")) }
}

fn view(name: String, sentence: Sentence, prefixes: usize, counts: Option<&[ListCount]>) -> ListView {
    let count = counts.and_then(|counts| counts.iter().find(|count| count.name == name));
    let met = |value: fn(&ListCount) -> u64| counts.map(|_| count.map_or(0, value));
    ListView {
        packets: met(|count| count.packets),
        bytes: met(|count| count.bytes),
        name,
        dry_run: sentence == Sentence::Observe,
        prefixes,
    }
}

fn one_prefix(text: &str) -> Result<IpNet, String> {
    let wrong =
        || format!("`{text}` is no address and no prefix: write 192.0.2.1, 192.0.2.0/24 or 2001:db8::/32");
    match parse_prefixes(text, Path::new("")) {
        Ok(prefixes) => match prefixes.as_slice() {
            [net] => Ok(*net),
            _ => Err(wrong()),
        },
        Err(_) => Err(wrong()),
    }
}
