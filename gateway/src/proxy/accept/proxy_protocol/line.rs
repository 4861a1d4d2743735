//! Version 1 (section 2.1): a line of text, `PROXY TCP4 192.0.2.1 192.0.2.2 4711 443` and CRLF.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use super::{Header, NoHeader};

pub(super) const SIGNATURE: &[u8] = b"PROXY ";

/// The longest line, with its CRLF.
const BYTES_MAX: usize = 107;

/// `bytes` begin with the signature, or are its beginning.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Header>, NoHeader> {
    let within = bytes.get(..BYTES_MAX).unwrap_or(bytes);
    let Some(end) = within.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
        return if within.len() < BYTES_MAX { Ok(None) } else { Err(NoHeader::TooLong) };
    };
    match within.get(end..) {
        Some([b'\r', b'\n', ..]) => {}
        Some([b'\r']) if within.len() < BYTES_MAX => return Ok(None),
        Some([b'\r']) => return Err(NoHeader::TooLong),
        _ => return Err(NoHeader::Malformed),
    }
    let line = within.get(..end).and_then(|line| std::str::from_utf8(line).ok());
    let source = source(line.ok_or(NoHeader::Malformed)?)?;
    Ok(Some(Header { source, bytes: end + 2 }))
}

fn source(line: &str) -> Result<Option<SocketAddr>, NoHeader> {
    let mut words = line.split(' ').skip(1);
    match words.next() {
        // What follows says nothing and is not looked at.
        Some("UNKNOWN") => Ok(None),
        Some("TCP4") => addresses::<Ipv4Addr>(words).map(Some).ok_or(NoHeader::Malformed),
        Some("TCP6") => addresses::<Ipv6Addr>(words).map(Some).ok_or(NoHeader::Malformed),
        _ => Err(NoHeader::Malformed),
    }
}

/// Source and destination, source port and destination port; both halves must be right.
fn addresses<'a, A: FromStr + Into<IpAddr>>(mut words: impl Iterator<Item = &'a str>) -> Option<SocketAddr> {
    let source: A = words.next()?.parse().ok()?;
    words.next()?.parse::<A>().ok()?;
    let source_port = port(words.next()?)?;
    port(words.next()?)?;
    words.next().is_none().then(|| SocketAddr::new(source.into(), source_port))
}

/// Decimal, and no zeros before.
fn port(text: &str) -> Option<u16> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_plain)
}
