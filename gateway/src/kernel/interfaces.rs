//! The host's addresses, and the interfaces that carry a listener's.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use nix::errno::Errno;
use nix::ifaddrs::{InterfaceAddress, getifaddrs};

use super::choice::Carrying;

/// Every address of this host, each once.
pub fn own_addresses() -> Result<Vec<IpAddr>, Errno> {
    let addresses: BTreeSet<IpAddr> = getifaddrs()?.filter_map(|interface| ip(&interface)).collect();
    Ok(addresses.into_iter().collect())
}

/// The interfaces that packets to `listeners` come by.
pub(super) fn carrying(listeners: &[SocketAddr]) -> Result<Carrying, Errno> {
    if listeners.is_empty() || listeners.iter().any(|listener| listener.ip().is_unspecified()) {
        return Ok(Carrying::Any);
    }
    let carries = |interface: &InterfaceAddress| {
        ip(interface).is_some_and(|address| listeners.iter().any(|listener| listener.ip() == address))
    };
    let named = getifaddrs()?.filter(carries).map(|interface| interface.interface_name);
    Ok(Carrying::Named(named.collect()))
}

fn ip(interface: &InterfaceAddress) -> Option<IpAddr> {
    let address = interface.address.as_ref()?;
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
}
