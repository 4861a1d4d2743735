//! What reached a namespace's IP layer.

use std::net::IpAddr;

use anyhow::{Context, Result};

use crate::netns::Netns;

/// TCP segments that the namespace's hosts sent again, because nobody had acknowledged them.
pub fn sent_again(netns: &Netns) -> Result<u64> {
    let text = netns.run(|| Ok(std::fs::read_to_string("/proc/thread-self/net/snmp")?))?;
    let mut rows = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, values) = (rows.next().context("no row Tcp")?, rows.next().context("no row Tcp")?);
    let mut pairs = names.split_whitespace().zip(values.split_whitespace());
    let value = pairs.find(|(name, _)| *name == "RetransSegs").map(|(_, value)| value);
    value.context("no count of segments sent again")?.parse().context("reading segments sent again")
}

/// Packets of `destination`'s family that the stack has received.
pub fn received(netns: &Netns, destination: IpAddr) -> Result<u64> {
    // `thread-self`: /proc/net is the main thread's, which is in another namespace.
    let read = |name| netns.run(|| Ok(std::fs::read_to_string(format!("/proc/thread-self/net/{name}"))?));
    let value = if destination.is_ipv4() {
        let text = read("snmp")?;
        let mut rows = text.lines().filter_map(|line| line.strip_prefix("Ip: "));
        let (names, values) = (rows.next().context("no row Ip")?, rows.next().context("no row Ip")?);
        let mut pairs = names.split_whitespace().zip(values.split_whitespace());
        pairs.find(|(name, _)| *name == "InReceives").map(|(_, value)| value.to_owned())
    } else {
        let text = read("snmp6")?;
        text.lines().find_map(|line| line.strip_prefix("Ip6InReceives")).map(|value| value.trim().to_owned())
    };
    value.context("no count of received packets")?.parse().context("reading the count of received packets")
}
