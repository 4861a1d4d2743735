//! `weir bans`: list, add, rm.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ipnet::IpNet;
use weir_ebpf::abi::Sentence;

use super::message::{BanView, News};
use super::{Parts, fleet};
use crate::fleet::Order;
use crate::kernel::Why;
use crate::model::{ClientKey, prefix_of};
use crate::plane::{BanReason, BanRow, now_ns};
use crate::telemetry::utc::seconds_text;

pub(super) fn list(parts: &Parts) -> Result<Vec<BanView>, String> {
    let now_ns = now_ns();
    let rows = parts.shared.bans.list(now_ns).map_err(|error| error.to_string())?;
    Ok(rows.iter().map(|row| view(row, now_ns)).collect())
}

pub(super) fn add(parts: &Parts, address: &str, seconds: Option<u64>) -> Result<BanView, String> {
    let address = parse_address(address)?;
    if let Some(list) = protected_by(parts, address) {
        return Err(format!("{address} is never dropped: it is in {list}; take it out there first"));
    }
    if let Some(row) = parts.guarding.present().met_by(&prefix_of(ClientKey::of(address))).next() {
        return Err(format!("a ban of {address} would cut off {row}"));
    }
    let key = ClientKey::of(address);
    let now_ns = now_ns();
    let length = seconds.map(Duration::from_secs);
    let bans = &parts.shared.bans;
    bans.add(key, BanReason::Operator, 0, length, now_ns).map_err(|error| error.to_string())?;
    tell(parts, News::Banned { client: key.to_string(), reason: "operator".to_owned(), level: 0, seconds });
    fleet::order(parts, Order::ban(key, length, BanReason::Operator, 0));
    let row = bans.find(key, now_ns).ok_or_else(|| "the ban's time is over already".to_owned())?;
    Ok(view(&row, now_ns))
}

/// Lifts the ban, forgives the debt, resets the level, and sheds the client for nothing during the grace.
pub(super) fn remove(parts: &Parts, address: &str, grace_seconds: u64) -> Result<bool, String> {
    let key = ClientKey::of(parse_address(address)?);
    let grace = Duration::from_secs(grace_seconds);
    let held = lift(parts, key, grace)?;
    fleet::order(parts, Order::unban(key, grace));
    Ok(held)
}

/// As [`remove`], on this node alone.
pub(super) fn lift(parts: &Parts, key: ClientKey, grace: Duration) -> Result<bool, String> {
    let now_ns = now_ns();
    let shared = &parts.shared;
    let held = shared.bans.remove(key, now_ns).map_err(|error| error.to_string())?;
    shared.shedder.pardon(key, grace, now_ns);
    shared.plane.forgive(key, now_ns).map_err(|error| error.to_string())?;
    shared.forget_denials();
    if held {
        tell(parts, News::Unbanned { client: key.to_string() });
    }
    Ok(held)
}

pub(super) fn view(row: &BanRow, now_ns: u64) -> BanView {
    let left = row.until_ns.map(|until_ns| Duration::from_nanos(until_ns.saturating_sub(now_ns)));
    let reason = match row.reason {
        BanReason::Shed => "shed",
        BanReason::Operator => "operator",
    };
    BanView {
        client: row.key.to_string(),
        reason: reason.to_owned(),
        level: row.level,
        ends_in_seconds: left.map(|left| left.as_secs() + u64::from(left.subsec_nanos() > 0)),
        ends_at: left.map(|left| utc(SystemTime::now() + left)),
    }
}

/// An address, or a /64 as `bans list` writes it.
pub(super) fn parse_address(text: &str) -> Result<IpAddr, String> {
    let bare = text.strip_suffix("/64").filter(|bare| bare.contains(':')).unwrap_or(text);
    let address = bare.parse::<IpAddr>().map(|address| address.to_canonical());
    address.map_err(|_| {
        format!("`{text}` is no address: write 192.0.2.1 or 2001:db8::1 (which stands for its /64)")
    })
}

/// A list that names an address.
pub(super) struct Naming {
    pub what: String,
    pub sentence: Sentence,
}

/// What keeps this address from being banned.
pub(super) fn protected(parts: &Parts, address: IpAddr) -> Option<String> {
    let list = protected_by(parts, address);
    list.or_else(|| {
        let guard = parts.guarding.present();
        let met = guard.met_by(&prefix_of(ClientKey::of(address))).next()?;
        Some(met.to_string())
    })
}

/// The list that keeps the kernel from dropping this address.
fn protected_by(parts: &Parts, address: IpAddr) -> Option<String> {
    let free = settings(parts, address).into_iter().find(|naming| naming.sentence == Sentence::Allow);
    free.map(|naming| naming.what)
}

/// Every list that names the address, and the guard.
pub(super) fn lists(parts: &Parts, address: IpAddr) -> Vec<Naming> {
    let guard = parts.guarding.present();
    let found = guard.met_by(&IpNet::from(address)).filter(|row| row.why != Why::Management);
    let found = found.map(|row| Naming { what: format!("the guard: {row}"), sentence: Sentence::Allow });
    settings(parts, address).into_iter().chain(found).collect()
}

fn settings(parts: &Parts, address: IpAddr) -> Vec<Naming> {
    let config = parts.config.load();
    let kernel = &config.kernel;
    let own = [
        ("[kernel] allow", Sentence::Allow, &kernel.allow),
        ("[kernel] management", Sentence::Allow, &kernel.management),
        ("trusted_proxies", Sentence::Allow, &config.proxy.trusted_proxies),
        ("[kernel] deny", Sentence::Deny, &kernel.deny),
    ];
    let own =
        own.into_iter().map(|(what, sentence, prefixes)| (what.to_owned(), sentence, prefixes.as_slice()));
    let named = kernel.lists.iter().map(|list| {
        let dry_run = if list.sentence == Sentence::Observe { ", in dry run" } else { "" };
        (format!("the list {}{dry_run}", list.name), list.sentence, list.prefixes.as_slice())
    });
    let names = |prefixes: &[IpNet]| prefixes.iter().any(|prefix| prefix.contains(&address));
    let written = own.chain(named).filter(|(.., prefixes)| names(prefixes));
    let mut namings: Vec<_> = written.map(|(what, sentence, _)| Naming { what, sentence }).collect();
    let added = parts.added.present();
    let added = added.lists().filter(|list| names(&list.prefixes));
    namings.extend(added.map(|list| Naming { what: list.name, sentence: list.sentence }));
    namings
}

pub(super) fn tell(parts: &Parts, news: News) {
    // Nobody watching is no failure.
    match parts.news.send(news) {
        Ok(_) | Err(_) => {}
    }
}

/// RFC 3339 in UTC, whole seconds.
fn utc(moment: SystemTime) -> String {
    let seconds = moment.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    format!("{}Z", seconds_text(seconds))
}
