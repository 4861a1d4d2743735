//! Addresses of the hosts that a configuration names. Asking a name server blocks, so it is done with
//! a deadline by who must not wait, and on a thread of its own by who follows changes.

use std::collections::BTreeMap;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::mpsc;
use std::time::Duration;

use super::Host;
use crate::kernel::drop_capabilities;

/// Names that are asked for.
const NAMES_MAX: usize = 256;
/// Addresses of one name.
const ADDRESSES_MAX: usize = 16;

/// What names stood for when they were last asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names(BTreeMap<String, Vec<IpAddr>>);

impl Names {
    /// Asks for every name of `hosts`, one after the other; those without an answer are left out.
    pub fn resolve(hosts: &[Host]) -> Self {
        let names =
            hosts.iter().map(|host| bare(&host.authority)).filter(|name| name.parse::<IpAddr>().is_err());
        let mut found = BTreeMap::new();
        for name in names {
            if found.len() < NAMES_MAX && !found.contains_key(name) {
                found.insert(name.to_owned(), ask(name));
            }
        }
        found.retain(|_, addresses| !addresses.is_empty());
        Self(found)
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

fn ask(name: &str) -> Vec<IpAddr> {
    let found = (name, 0).to_socket_addrs();
    found.map(|found| found.map(|address| address.ip()).take(ADDRESSES_MAX).collect()).unwrap_or_default()
}

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
