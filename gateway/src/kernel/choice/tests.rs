//! Every kind of interface, alone and beside what it stands on.

use std::collections::BTreeSet;

use super::{Carrying, Choice, choose, fits};
use crate::kernel::Interfaces;
use crate::kernel::netlink::Link;

fn link(ifindex: u32, name: &str, kind: &str) -> Link {
    Link {
        ifindex,
        name: name.to_owned(),
        kind: kind.to_owned(),
        is_up: true,
        is_loopback: name == "lo",
        is_ethernet: true,
        ..Link::default()
    }
}

fn port(master: u32, link: Link) -> Link {
    Link { master: Some(master), ..link }
}

fn upon(lower: u32, link: Link) -> Link {
    Link { lower: Some(lower), ..link }
}

/// `name: answer` for each row; "hint" where native is worth a hint.
#[track_caller]
fn check(links: &[Link], wanted: &Interfaces, carrying: &Carrying, expected: &[&str]) {
    let rows: Vec<_> = choose(links, wanted, carrying)
        .into_iter()
        .map(|row| match row.choice {
            Choice::Attach { hint: None, .. } => format!("{}: attach", row.name),
            Choice::Attach { hint: Some(hint), .. } => format!("{}: attach, {hint}", row.name),
            Choice::Wait(why) | Choice::Covered(why) | Choice::Left(why) => format!("{}: {why}", row.name),
        })
        .collect();
    let is_as_expected =
        rows.len() == expected.len() && rows.iter().zip(expected).all(|(row, part)| row.contains(part));
    assert!(is_as_expected, "wanted {expected:#?}, got {rows:#?}");
}

fn named(names: &[&str]) -> Interfaces {
    Interfaces::Named(names.iter().map(|name| (*name).to_owned()).collect())
}

#[track_caller]
fn check_named(links: &[Link], names: &[&str], expected: &[&str]) {
    check(links, &named(names), &Carrying::Any, expected);
}

fn everything() -> Vec<Link> {
    let tunnel = |link: Link| Link { is_ethernet: false, ..link };
    vec![
        link(1, "lo", ""),
        link(2, "eth0", ""),
        upon(2, link(3, "eth0.5", "vlan")),
        link(4, "bond0", "bond"),
        port(4, link(5, "eth1", "")),
        port(4, link(6, "eth2", "")),
        upon(4, link(7, "bond0.9", "vlan")),
        link(8, "br0", "bridge"),
        port(8, link(9, "eth3", "")),
        port(8, link(10, "veth1", "veth")),
        link(11, "docker0", "bridge"),
        port(11, link(12, "veth2", "veth")),
        link(13, "veth3", "veth"),
        tunnel(link(14, "wg0", "wireguard")),
        link(15, "vxlan0", "vxlan"),
        upon(2, link(16, "mac0", "macvlan")),
        link(17, "vrf0", "vrf"),
        Link { is_up: false, ..link(18, "eth4", "") },
    ]
}

#[test]
fn auto_judges_each_packet_once_and_leaves_containers_cables_alone() {
    let expected = [
        "bond0: attach, a bond needs native XDP in every",
        "bond0.9: bond0 sees",
        "br0: its ports see its packets first (eth3), but nobody those of veth1",
        "docker0: attach, name its ports",
        "eth0: attach",
        "eth0.5: eth0 sees",
        "eth1: a port of bond0",
        "eth2: a port of bond0",
        "eth3: attach",
        "mac0: eth0 sees",
        "veth3: attach",
        "vrf0: a VRF's packets are seen on its members",
        "vxlan0: attach",
        "wg0: a wireguard interface has no Ethernet frames",
    ];
    check(&everything(), &Interfaces::Auto, &Carrying::Any, &expected);
}

#[test]
fn auto_takes_what_carries_a_listener_and_waits_until_it_is_up() {
    let carrying = |names: &[&str]| Carrying::Named(names.iter().map(|name| (*name).to_owned()).collect());
    check(&everything(), &Interfaces::Auto, &carrying(&["lo"]), &["lo: attach"]);
    let vlan = "eth0.5: attach, name eth0 instead, which sees its packets too";
    check(&everything(), &Interfaces::Auto, &carrying(&["eth0.5"]), &[vlan]);
    check(&everything(), &Interfaces::Auto, &carrying(&["eth4"]), &["auto: no interface that carries"]);
    check(&[], &Interfaces::Auto, &Carrying::Named(BTreeSet::new()), &["auto: no interface that carries"]);
}

#[test]
fn what_is_named_is_taken_up_or_down_and_waited_for() {
    let links = everything();
    check_named(&links, &["eth4"], &["eth4: attach"]);
    check_named(&links, &["eth9", "eth0"], &["eth0: attach", "eth9: there is no such interface yet"]);
    check_named(&links, &["ens*"], &["ens*: no interface has such a name yet"]);
    check_named(&links, &["veth*"], &["veth1: attach", "veth2: attach", "veth3: attach"]);
    check_named(&links, &["br0"], &["br0: attach, name its ports instead"]);
    check_named(&links, &["eth1"], &["eth1: attach, name bond0 instead"]);
    check_named(&links, &["eth1", "eth1*"], &["eth1: attach"]);
    check_named(
        &links,
        &["br0", "veth1"],
        &["br0: its ports see its packets first (veth1), but nobody", "veth1: attach"],
    );
}

#[test]
fn a_star_stands_for_any_text() {
    for (pattern, name, expected) in [
        ("eth0", "eth0", true),
        ("eth0", "eth01", false),
        ("eth*", "eth", true),
        ("eth*", "eth0.5", true),
        ("eth*", "veth0", false),
        ("*", "", true),
        ("*0*", "eth0.5", true),
        ("e*0", "eth01", false),
        ("e*h*5", "eth0.5", true),
    ] {
        assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
    }
}
