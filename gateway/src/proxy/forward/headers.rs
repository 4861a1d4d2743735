//! Headers on their way: what belongs to one hop is taken out (RFC 9110 section 7.6.1), and the
//! upstream is told where the request came from.

use std::net::IpAddr;

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::header::{
    CONNECTION, EXPECT, FORWARDED, HOST, HeaderName, HeaderValue, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};

use crate::proxy::client::X_FORWARDED_FOR;
use crate::proxy::connection::Scheme;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The hop that a request came over.
pub(in crate::proxy) struct Hop<'a> {
    pub peer: IpAddr,
    pub peer_is_trusted: bool,
    pub scheme: Scheme,
    /// Host of the upstream.
    pub host: &'a HeaderValue,
}

/// Everything that Connection lists, and what is hop-by-hop without being listed.
pub(in crate::proxy) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let listed: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(','))
            .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
            .collect();
        for name in listed {
            headers.remove(name);
        }
        headers.remove(CONNECTION);
    }
    for name in [KEEP_ALIVE, PROXY_CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(name);
    }
}

/// Makes a client's headers the upstream's.
pub(in crate::proxy) fn to_upstream(headers: &mut HeaderMap, hop: &Hop<'_>) {
    strip_hop_by_hop(headers);
    // 100 Continue is between us and the client; the body is sent on as it comes.
    headers.remove(EXPECT);
    let host = headers.insert(HOST, hop.host.clone());
    if !hop.peer_is_trusted {
        // A stranger's word about who sent the request is not passed on.
        headers.remove(FORWARDED);
        headers.remove(X_FORWARDED_PROTO);
        headers.remove(X_FORWARDED_HOST);
    }
    let chain = forwarded_chain(headers, hop);
    headers.insert(X_FORWARDED_FOR, chain);
    if !headers.contains_key(X_FORWARDED_PROTO) {
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(hop.scheme.name()));
    }
    if let (Some(host), false) = (host, headers.contains_key(X_FORWARDED_HOST)) {
        headers.insert(X_FORWARDED_HOST, host);
    }
}

/// A trusted peer's list with the peer behind it; a stranger's is replaced.
fn forwarded_chain(headers: &HeaderMap, hop: &Hop<'_>) -> HeaderValue {
    use std::fmt::Write as _;

    let mut chain = String::with_capacity(48);
    if hop.peer_is_trusted {
        for line in headers.get_all(X_FORWARDED_FOR) {
            if let Ok(line) = line.to_str() {
                chain.push_str(line);
                chain.push_str(", ");
            }
        }
    }
    // Writing to a String does not fail.
    write!(chain, "{}", hop.peer).unwrap_or(());
    HeaderValue::from_maybe_shared(Bytes::from(chain)).unwrap_or(HeaderValue::from_static("unknown"))
}
