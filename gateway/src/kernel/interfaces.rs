//! The host's interfaces and addresses.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use nix::errno::Errno;
use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::net::if_::InterfaceFlags;

use super::Interfaces;

/// Every address of this host, each once.
pub fn own_addresses() -> Result<Vec<IpAddr>, Errno> {
    let addresses: BTreeSet<IpAddr> = getifaddrs()?.filter_map(|interface| ip(&interface)).collect();
    Ok(addresses.into_iter().collect())
}

/// The interfaces to attach to, each once, in order of name.
pub(super) fn resolve(wanted: &Interfaces, listeners: &[SocketAddr]) -> Result<Vec<String>, Errno> {
    let names: BTreeSet<String> = match wanted {
        Interfaces::Named(names) => names.iter().cloned().collect(),
        Interfaces::Auto => {
            let interfaces: Vec<_> = getifaddrs()?.collect();
            let any = listeners.is_empty() || listeners.iter().any(|listener| listener.ip().is_unspecified());
            let carries = |interface: &&InterfaceAddress| {
                let is_up = interface.flags.contains(InterfaceFlags::IFF_UP);
                let is_lo = interface.flags.contains(InterfaceFlags::IFF_LOOPBACK);
                let names_it = ip(interface)
                    .is_some_and(|address| listeners.iter().any(|listener| listener.ip() == address));
                is_up && (names_it || (any && !is_lo))
            };
            interfaces.iter().filter(carries).map(|interface| interface.interface_name.clone()).collect()
        }
    };
    Ok(names.into_iter().collect())
}

fn ip(interface: &InterfaceAddress) -> Option<IpAddr> {
    let address = interface.address.as_ref()?;
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
}
