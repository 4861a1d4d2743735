//! Addresses of the hosts that a configuration names. Asking a name server blocks, so it is done with
//! a deadline by who must not wait, and on a thread of its own by who follows changes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, ToSocketAddrs as _, UdpSocket};
use std::sync::mpsc;
use std::time::Duration;

use super::Host;
use crate::kernel::drop_capabilities;

/// Names that are asked for.
const NAMES_MAX: usize = 256;
/// Names that are asked for at the same time.
const ASKING_MAX: usize = 8;
/// Addresses of one name.
const ADDRESSES_MAX: usize = 16;

/// What names stood for when they were last asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names(BTreeMap<String, Vec<IpAddr>>);

impl Names {
    /// Asks for every name of `hosts`, a few at a time; those without an answer are left out.
    pub fn resolve(hosts: &[Host]) -> Self {
        let names =
            hosts.iter().map(|host| bare(&host.authority)).filter(|name| name.parse::<IpAddr>().is_err());
        let names: BTreeSet<_> = names.collect();
        let names: Vec<_> = names.into_iter().take(NAMES_MAX).collect();
        // One name whose servers do not answer must not hold up the others for long.
        let asked = std::thread::scope(|scope| {
            let each = names.len().div_ceil(ASKING_MAX).max(1);
            let asking: Vec<_> = names.chunks(each).map(|names| scope.spawn(|| ask_all(names))).collect();
            asking.into_iter().filter_map(|asking| asking.join().ok()).flatten().collect()
        });
        Self(asked)
    }

    /// As [`Names::resolve`], but nothing when that takes longer than `patience`: the thread that asks
    /// ends by the resolver's own deadline.
    pub fn resolve_within(hosts: &[Host], patience: Duration) -> Self {
        if hosts.iter().all(|host| bare(&host.authority).parse::<IpAddr>().is_ok()) {
            return Self::default();
        }
        let (answer, answered) = mpsc::channel();
        let hosts = hosts.to_vec();
        std::thread::spawn(move || {
            // It may outlive the moment at which the process gives its capabilities up.
            match drop_capabilities() {
                Ok(()) => answer.send(Self::resolve(&hosts)).unwrap_or(()),
                Err(error) => tracing::warn!(error, "names are not resolved"),
            }
        });
        answered.recv_timeout(patience).unwrap_or_else(|_| {
            tracing::warn!(
                ?patience,
                "upstreams' names are not resolved yet, and not guarded until they are"
            );
            Self::default()
        })
    }

    /// As what forwards to them wants it.
    pub fn addresses_by_name(&self) -> BTreeMap<String, Vec<IpAddr>> {
        self.0.clone()
    }

    #[cfg(test)]
    pub(super) fn known(name: &str, address: IpAddr) -> Self {
        Self([(name.to_owned(), vec![address])].into())
    }

    /// Takes over what is newer; a name without an answer keeps its old one.
    pub fn renew(&mut self, newer: Self) {
        self.0.extend(newer.0);
    }

    /// Addresses of a host as it is written.
    pub(super) fn addresses(&self, authority: &str) -> Vec<IpAddr> {
        let name = bare(authority);
        match name.parse() {
            Ok(address) => vec![address],
            Err(_) => self.0.get(name).cloned().unwrap_or_default(),
        }
    }
}

fn ask_all(names: &[&str]) -> Vec<(String, Vec<IpAddr>)> {
    let asked = names.iter().map(|name| ((*name).to_owned(), ask(name)));
    asked.filter(|(_, addresses)| !addresses.is_empty()).collect()
}

/// Its addresses that this host has a route to; all of them where it has none to any.
fn ask(name: &str) -> Vec<IpAddr> {
    let Ok(found) = (name, 0).to_socket_addrs() else { return Vec::new() };
    let mut all: Vec<_> = found.map(|address| address.ip()).collect();
    all.sort_unstable();
    all.dedup();
    let routed: Vec<_> = all.iter().copied().filter(|address| has_route(*address)).collect();
    let mut addresses = if routed.is_empty() { all } else { routed };
    addresses.truncate(ADDRESSES_MAX);
    addresses
}

/// Connecting a UDP socket sends nothing; it asks the routing table.
fn has_route(address: IpAddr) -> bool {
    let any: IpAddr =
        if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    UdpSocket::bind((any, 0)).and_then(|socket| socket.connect((address, DISCARD))).is_ok()
}

/// Any port would do.
const DISCARD: u16 = 9;

/// The host alone: without port and brackets.
pub(super) fn bare(authority: &str) -> &str {
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    match authority.split_once(':') {
        Some((host, port)) if !port.contains(':') => host,
        _ => authority,
    }
}
