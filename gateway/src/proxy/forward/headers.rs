//! Headers on their way: what belongs to one hop is taken out (RFC 9110 section 7.6.1), and the
//! upstream is told where the request came from.

use std::net::IpAddr;

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::header::{CONNECTION, EXPECT, FORWARDED, HOST, HeaderName, HeaderValue};

use crate::proxy::client::X_FORWARDED_FOR;
use crate::proxy::connection::Connection;
use crate::proxy::http1::is_of_one_hop;

const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Of Connection; as fields they are hop-by-hop anyway, listed or not, and nearly every client sends one.
const OWN_WORDS: [&[u8]; 3] = [b"keep-alive", b"close", b"upgrade"];

/// The hop that a request came over.
pub(in crate::proxy) struct Hop<'a> {
    pub over: &'a Connection,
    pub peer_is_trusted: bool,
    /// Whom it was found to come from.
    pub client: IpAddr,
}

/// Everything that Connection lists, and what is hop-by-hop without being listed.
pub(in crate::proxy) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let names = headers.keys().filter(|name| is_of_one_hop(name.as_str().as_bytes()));
    let mut names: Vec<HeaderName> = names.cloned().collect();
    if names.contains(&CONNECTION) {
        names.extend(listed(headers));
    }
    for name in names {
        headers.remove(name);
    }
}

/// What Connection lists, but for words about the connection itself.
pub(in crate::proxy) fn listed(headers: &HeaderMap) -> Vec<HeaderName> {
    let lines = headers.get_all(CONNECTION).iter();
    let names = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    let is_word = |name: &[u8]| OWN_WORDS.iter().any(|word| name.eq_ignore_ascii_case(word));
    names.filter(|name| !is_word(name)).filter_map(|name| HeaderName::from_bytes(name).ok()).collect()
}

/// Makes a client's headers the upstreams'; Host is each one's own.
pub(in crate::proxy) fn to_upstream(headers: &mut HeaderMap, hop: &Hop<'_>) {
    let host = headers.remove(HOST);
    strip_hop_by_hop(headers);
    // 100 Continue is between us and the client; the body is sent on as it comes.
    headers.remove(EXPECT);
    if !hop.peer_is_trusted {
        remove_strangers(headers);
    }
    let chain = forwarded_chain(headers, hop);
    headers.insert(X_FORWARDED_FOR, chain);
    if hop.peer_is_trusted && headers.contains_key(FORWARDED) {
        headers.append(FORWARDED, forwarded_element(hop.over.peer.address));
    }
    headers.entry(X_FORWARDED_PROTO).or_insert_with(|| HeaderValue::from_static(hop.over.scheme.name()));
    if let Some(host) = host {
        headers.entry(X_FORWARDED_HOST).or_insert(host);
    }
}

/// A stranger's word about who sent the request, or about what was asked for, is not passed on.
fn remove_strangers(headers: &mut HeaderMap) {
    let names = headers.keys().filter(|name| says_who(name.as_str()));
    let names: Vec<HeaderName> = names.cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// Whether a field, its name in lower case, says who asks or for what. The last two make some upstreams
/// serve another path than the one that was judged here; to some an underscore is a hyphen.
pub(in crate::proxy) fn says_who(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("x-").or_else(|| name.strip_prefix("x_")) else {
        return name == FORWARDED.as_str();
    };
    rest.starts_with("forwarded-")
        || rest.starts_with("forwarded_")
        || ["real-ip", "original-url", "rewrite-url"].iter().any(|known| {
            let same = |(byte, known): (u8, u8)| byte == known || (byte == b'_' && known == b'-');
            rest.len() == known.len() && rest.bytes().zip(known.bytes()).all(same)
        })
}

/// A trusted peer's list with the peer behind it; a stranger's is replaced.
fn forwarded_chain(headers: &HeaderMap, hop: &Hop<'_>) -> HeaderValue {
    use std::fmt::Write as _;

    let peer = &hop.over.peer_text;
    if !hop.peer_is_trusted {
        return peer.clone();
    }
    let mut chain = String::new();
    for line in headers.get_all(X_FORWARDED_FOR) {
        if let Ok(line) = line.to_str() {
            chain.push_str(line);
            chain.push_str(", ");
        }
    }
    if chain.is_empty() && hop.client != hop.over.peer.address {
        // It said so in Forwarded. Writing to a String does not fail.
        write!(chain, "{}, ", hop.client).unwrap_or(());
    }
    chain.push_str(peer.to_str().unwrap_or_default());
    HeaderValue::from_maybe_shared(Bytes::from(chain)).unwrap_or(HeaderValue::from_static("unknown"))
}

/// The peer behind a trusted peer's Forwarded (RFC 7239 section 4).
fn forwarded_element(peer: IpAddr) -> HeaderValue {
    let element = match peer {
        IpAddr::V4(peer) => format!("for={peer}"),
        IpAddr::V6(peer) => format!("for=\"[{peer}]\""),
    };
    HeaderValue::from_maybe_shared(Bytes::from(element)).unwrap_or(HeaderValue::from_static("for=unknown"))
}
