//! What is known of a client's connection, and holds for every request on it.

use std::net::IpAddr;

use bytes::Bytes;
use hyper::header::HeaderValue;

use super::tls::ClientCertificate;
use crate::model::Origin;

#[derive(Debug)]
pub(super) struct Connection {
    pub peer: Peer,
    /// Its address as X-Forwarded-For has it.
    pub peer_text: HeaderValue,
    pub scheme: Scheme,
    /// Shown in the handshake, of a chain that was verified.
    pub certificate: Option<ClientCertificate>,
}

impl Connection {
    pub fn new(peer: Peer, scheme: Scheme, certificate: Option<ClientCertificate>) -> Self {
        let peer_text = HeaderValue::from_maybe_shared(Bytes::from(peer.address.to_string()));
        let peer_text = peer_text.unwrap_or(HeaderValue::from_static("unknown"));
        Self { peer, peer_text, scheme, certificate }
    }
}

/// Who a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    pub address: IpAddr,
    pub origin: Origin,
}

impl Peer {
    /// The socket's own.
    pub fn of_socket(address: IpAddr) -> Self {
        Self { address: address.to_canonical(), origin: Origin::Peer }
    }

    /// Whom a trusted proxy's PROXY header names.
    pub fn forwarded(address: IpAddr) -> Self {
        Self { address: address.to_canonical(), origin: Origin::Forwarded }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    Http,
    Https,
}

impl Scheme {
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}
