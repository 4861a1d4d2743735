//! The authority that a request names: `host [":" port]` of RFC 3986 section 3.2, without user info
//! (RFC 9110 section 4.2.4) and without the comma, which makes lists of hosts. Knows nothing of HTTP.

use std::net::Ipv6Addr;

/// RFC 3986 section 3.2.2: no name is longer.
const HOST_BYTES_MAX: usize = 255;

/// Whether it is one; an empty one is not.
pub(super) fn is_authority(text: &str) -> bool {
    let (is_host, port) = match text.strip_prefix('[') {
        Some(literal) => match literal.split_once(']') {
            Some((address, behind)) => (address.parse::<Ipv6Addr>().is_ok(), behind),
            None => return false,
        },
        None => {
            let (name, behind) = text.split_at(text.find(':').unwrap_or(text.len()));
            (is_name(name.as_bytes()), behind)
        }
    };
    is_host && is_port(port)
}

/// A registered name or an IPv4 address, which is one too.
fn is_name(name: &[u8]) -> bool {
    let mut rest = name;
    while let Some((byte, behind)) = rest.split_first() {
        rest = match byte {
            b'%' => match behind.split_first_chunk::<2>() {
                Some((digits, behind)) if digits.iter().all(u8::is_ascii_hexdigit) => behind,
                _ => return false,
            },
            _ if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+;=".contains(byte) => behind,
            _ => return false,
        };
    }
    !name.is_empty() && name.len() <= HOST_BYTES_MAX
}

/// Nothing, or a colon with a number behind it or nothing (RFC 3986 section 3.2.3).
fn is_port(text: &str) -> bool {
    match text.strip_prefix(':') {
        Some("") => true,
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<u16>().is_ok(),
        None => text.is_empty(),
    }
}
