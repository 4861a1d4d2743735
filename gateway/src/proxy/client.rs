//! Who the client is: the socket's peer, unless that is a trusted proxy; then the address nearest to
//! us that none of them has, right to left through X-Forwarded-For, else Forwarded (RFC 7239).

use std::net::{IpAddr, SocketAddr};

use hyper::HeaderMap;
use hyper::header::{FORWARDED, HeaderName};
use ipnet::IpNet;

use crate::model::{Client, ClientKey, Origin};

#[cfg(test)]
mod tests;

pub(super) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Hops that are read: a longer list is malformed.
const HOPS_MAX: usize = 64;

/// The client and where it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identified {
    pub client: Client,
    pub address: IpAddr,
    /// Whether the peer is trusted: only then are its forwarding headers kept.
    pub peer_is_trusted: bool,
    /// The headers could not be read; the peer stands in.
    pub malformed: bool,
}

pub(super) fn identify(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> Identified {
    let peer = peer.to_canonical();
    let by_peer = |peer_is_trusted, malformed| Identified {
        client: Client { key: ClientKey::of(peer), origin: Origin::Peer },
        address: peer,
        peer_is_trusted,
        malformed,
    };
    if !is_in(trusted, peer) {
        return by_peer(false, false);
    }
    match named(headers, trusted) {
        Ok(Some(address)) => Identified {
            client: Client { key: ClientKey::of(address), origin: Origin::Forwarded },
            address,
            peer_is_trusted: true,
            malformed: false,
        },
        Ok(None) => by_peer(true, false),
        Err(Malformed) => by_peer(true, true),
    }
}

pub(super) fn is_in(prefixes: &[IpNet], address: IpAddr) -> bool {
    prefixes.iter().any(|prefix| prefix.contains(&address))
}

struct Malformed;

/// The rightmost address that is no trusted proxy's; the leftmost where all are; None without a list.
fn named(headers: &HeaderMap, trusted: &[IpNet]) -> Result<Option<IpAddr>, Malformed> {
    let hops = if headers.contains_key(X_FORWARDED_FOR) {
        hops(headers, &X_FORWARDED_FOR, bare_address)?
    } else {
        hops(headers, &FORWARDED, forwarded_for)?
    };
    let client = hops.iter().rev().find(|hop| !is_in(trusted, **hop));
    Ok(client.or(hops.first()).copied())
}

/// Every list element of every field line, in order.
fn hops(
    headers: &HeaderMap,
    name: &HeaderName,
    parse: fn(&str) -> Option<IpAddr>,
) -> Result<Vec<IpAddr>, Malformed> {
    let mut hops = Vec::new();
    for line in headers.get_all(name) {
        for element in line.to_str().map_err(|_| Malformed)?.split(',') {
            if hops.len() == HOPS_MAX {
                return Err(Malformed);
            }
            hops.push(parse(element.trim()).ok_or(Malformed)?);
        }
    }
    Ok(hops)
}

/// An address, with or without a port, IPv6 with or without brackets.
fn bare_address(text: &str) -> Option<IpAddr> {
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok().map(IpAddr::V6);
    let address = text.parse::<IpAddr>().ok().or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()));
    address.or_else(bracketed).map(|address| address.to_canonical())
}

/// `for=` of a Forwarded element: `for=192.0.2.1`, `for="[2001:db8::1]:80"`.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then(|| bare_address(value.trim().trim_matches('"')))?
    })
}
