//! Which interfaces the program goes to, and why not to the others: from what the kernel says about
//! each, without asking or changing anything. A packet is to be judged once, as early as may be.

use std::collections::BTreeSet;

use super::Interfaces;
use super::netlink::Link;

/// What is to be done about an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    pub name: String,
    pub choice: Choice,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// `hint` is for who reads that it came to generic.
    Attach { ifindex: u32, hint: Option<String> },
    /// It is not there.
    Wait(String),
    /// Its packets are judged on another interface.
    Covered(String),
    /// The program would not see packets there, or not understand them.
    Left(String),
}

/// Interfaces that `interfaces = "auto"` is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Carrying {
    /// A listener on every address, or no listener.
    Any,
    /// Those with a listener's address.
    Named(BTreeSet<String>),
}

/// Stand on another interface, which sees their packets first.
const STAND_ON_LOWER: [&str; 6] = ["vlan", "macvlan", "macvtap", "ipvlan", "ipvtap", "hsr"];

/// One answer for each name that is configured, or that a pattern or "auto" finds; in order of name.
pub(super) fn choose(links: &[Link], wanted: &Interfaces, carrying: &Carrying) -> Vec<Chosen> {
    let candidates: Vec<&Link> =
        links.iter().filter(|link| is_candidate(links, wanted, carrying, link)).collect();
    let mut chosen: Vec<_> = candidates
        .iter()
        .map(|link| Chosen { name: link.name.clone(), choice: choice(links, &candidates, link) })
        .collect();
    let waits = |name: String, why: &str| Chosen { name, choice: Choice::Wait(why.to_owned()) };
    match wanted {
        Interfaces::Named(names) => {
            let missing = names.iter().filter(|name| !candidates.iter().any(|link| fits(name, &link.name)));
            chosen.extend(missing.map(|name| match name.contains('*') {
                true => waits(name.clone(), "no interface has such a name yet"),
                false => waits(name.clone(), "there is no such interface yet: `ip link` lists what there is"),
            }));
        }
        Interfaces::Auto if chosen.is_empty() => {
            chosen.push(waits("auto".to_owned(), "no interface that carries a listener's address is up yet"));
        }
        Interfaces::Auto => {}
    }
    chosen.sort_by(|a, b| a.name.cmp(&b.name));
    chosen
}

fn is_candidate(links: &[Link], wanted: &Interfaces, carrying: &Carrying, link: &Link) -> bool {
    match (wanted, carrying) {
        (Interfaces::Named(names), _) => names.iter().any(|name| fits(name, &link.name)),
        (Interfaces::Auto, Carrying::Named(names)) => link.is_up && names.contains(&link.name),
        (Interfaces::Auto, Carrying::Any) => {
            // A container's cable: what it sends to this host is judged on the bridge, and native XDP on its
            // end would take segmentation offload from the container.
            let is_cable =
                link.kind == "veth" && master(links, link).is_some_and(|master| master.kind == "bridge");
            link.is_up && !link.is_loopback && !is_cable
        }
    }
}

fn choice(links: &[Link], candidates: &[&Link], link: &Link) -> Choice {
    let is_candidate = |ifindex: u32| candidates.iter().any(|other| other.ifindex == ifindex);
    if !link.is_ethernet {
        let kind = if link.kind.is_empty() { "tunnel" } else { &link.kind };
        return Choice::Left(format!(
            "a {kind} interface has no Ethernet frames; its packets come encapsulated on another one"
        ));
    }
    if link.kind == "vrf" {
        return Choice::Left("a VRF's packets are seen on its members only: name those".to_owned());
    }
    // The kernel hands a bond's program to its ports.
    if let Some(bond) =
        master(links, link).filter(|master| master.kind == "bond" && is_candidate(master.ifindex))
    {
        return Choice::Covered(format!("a port of {}, which runs the program for it", bond.name));
    }
    let lower = link.lower.filter(|_| STAND_ON_LOWER.contains(&link.kind.as_str()));
    let lower = lower.and_then(|ifindex| links.iter().find(|lower| lower.ifindex == ifindex));
    if let Some(lower) = lower.filter(|lower| is_candidate(lower.ifindex)) {
        return Choice::Covered(format!("{} sees its packets first", lower.name));
    }
    if link.kind != "bond" {
        let ports: Vec<_> = links.iter().filter(|port| port.master == Some(link.ifindex)).collect();
        let (seen, unseen): (Vec<&Link>, Vec<&Link>) =
            ports.iter().partition(|port| is_candidate(port.ifindex));
        if !seen.is_empty() {
            return Choice::Covered(covered_by_ports(&seen, &unseen));
        }
    }
    Choice::Attach { ifindex: link.ifindex, hint: hint(link, lower, master(links, link)) }
}

fn covered_by_ports(seen: &[&Link], unseen: &[&Link]) -> String {
    let names = |links: &[&Link]| links.iter().map(|link| link.name.as_str()).collect::<Vec<_>>().join(", ");
    match unseen {
        [] => format!("its ports see its packets first ({})", names(seen)),
        _ => format!(
            "its ports see its packets first ({}), but nobody those of {}",
            names(seen),
            names(unseen)
        ),
    }
}

/// What to do for native XDP where this interface has none.
fn hint(link: &Link, lower: Option<&Link>, master: Option<&Link>) -> Option<String> {
    match (link.kind.as_str(), lower, master) {
        ("bond", _, _) => {
            Some("a bond needs native XDP in every port's driver, and none of their own".to_owned())
        }
        ("bridge" | "team", _, _) => Some("name its ports instead".to_owned()),
        (_, Some(lower), _) => Some(format!("name {} instead, which sees its packets too", lower.name)),
        (_, None, Some(bond)) if bond.kind == "bond" => {
            Some(format!("name {} instead, for all its ports", bond.name))
        }
        _ => None,
    }
}

fn master<'a>(links: &'a [Link], link: &Link) -> Option<&'a Link> {
    links.iter().find(|other| Some(other.ifindex) == link.master)
}

/// Whether `name` is `pattern`, in which each `*` stands for any text.
pub(super) fn fits(pattern: &str, name: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else { return pattern == name };
    let Some(rest) = name.strip_prefix(head) else { return false };
    (0..=rest.len()).any(|skipped| rest.get(skipped..).is_some_and(|rest| fits(tail, rest)))
}

#[cfg(test)]
mod tests;
