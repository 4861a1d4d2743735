//! Who the client is: the socket's peer, unless that is a trusted proxy; then the address nearest to
//! us that none of them has, right to left through X-Forwarded-For, else Forwarded (RFC 7239). The
//! peer is whom a PROXY header names, where the listener has them: headers are read only if that one
//! is a trusted proxy too.

pub mod hops;

use std::net::IpAddr;

use hyper::HeaderMap;
use hyper::header::{FORWARDED, HeaderName};
use ipnet::IpNet;

use self::hops::{Hop, Hops, List};
use super::connection::Peer;
use crate::model::{Client, ClientKey, Origin};

#[cfg(test)]
mod tests;

pub(super) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Trusted hops that are read: a longer list of them is malformed.
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

pub(super) fn identify(peer: Peer, headers: &HeaderMap, trusted: &[IpNet]) -> Identified {
    let by_peer = |peer_is_trusted, malformed| Identified {
        client: Client { key: ClientKey::of(peer.address), origin: peer.origin },
        address: peer.address,
        peer_is_trusted,
        malformed,
    };
    if !is_in(trusted, peer.address) {
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

/// The rightmost address that is no trusted proxy's; the leftmost where all are. None without a list, or
/// where a trusted proxy says that it does not know.
fn named(headers: &HeaderMap, trusted: &[IpNet]) -> Result<Option<IpAddr>, Malformed> {
    let (name, list) = if headers.contains_key(X_FORWARDED_FOR) {
        (X_FORWARDED_FOR, List::XForwardedFor)
    } else {
        (FORWARDED, List::Forwarded)
    };
    let (mut nearest, mut read) = (None, 0);
    for line in headers.get_all(name).iter().rev() {
        // Bytes beyond ASCII are somebody's to the left, or make a hop that is none.
        for hop in Hops::of(list, &String::from_utf8_lossy(line.as_bytes())) {
            read += 1;
            match hop {
                _ if read > HOPS_MAX => return Err(Malformed),
                Hop::Malformed => return Err(Malformed),
                Hop::Unnamed => return Ok(None),
                Hop::Address(address) if is_in(trusted, address) => nearest = Some(address),
                Hop::Address(address) => return Ok(Some(address)),
            }
        }
    }
    Ok(nearest)
}
