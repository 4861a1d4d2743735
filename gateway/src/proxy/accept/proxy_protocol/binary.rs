//! Version 2 (section 2.2): 16 bytes, then addresses by family, then TLVs, which are skipped.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Header, NoHeader};

pub(super) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The smallest packet that any host takes without fragments, less its headers: the specification asks
/// senders to keep below.
pub(super) const BYTES_MAX: usize = 536;

const FIXED_BYTES: usize = 16;
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;

/// Family and transport, and what their addresses take.
const UNSPEC: u8 = 0x00;
const TCP4: (u8, usize) = (0x11, 12);
const TCP6: (u8, usize) = (0x21, 36);
const UNIX_STREAM: (u8, usize) = (0x31, 216);

/// `bytes` begin with the signature, or are its beginning.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Header>, NoHeader> {
    let Some(command) = bytes.get(12) else { return Ok(None) };
    if !matches!(*command, LOCAL | PROXY) {
        return Err(NoHeader::Malformed);
    }
    let Some(family) = bytes.get(13) else { return Ok(None) };
    let Some(addresses_bytes) = addresses_bytes(*command, *family) else { return Err(NoHeader::Malformed) };
    let Some([high, low]) = bytes.get(14..FIXED_BYTES) else { return Ok(None) };
    let rest_bytes = usize::from(u16::from_be_bytes([*high, *low]));
    if rest_bytes > BYTES_MAX - FIXED_BYTES {
        return Err(NoHeader::TooLong);
    }
    if rest_bytes < addresses_bytes {
        return Err(NoHeader::Malformed);
    }
    let whole = FIXED_BYTES + rest_bytes;
    let Some(rest) = bytes.get(FIXED_BYTES..whole) else { return Ok(None) };
    let source = if *command == PROXY { source(*family, rest) } else { None };
    Ok(Some(Header { source, bytes: whole }))
}

/// None: a family that nobody may send, or datagrams, which come over no connection. That of LOCAL is
/// not looked at.
fn addresses_bytes(command: u8, family: u8) -> Option<usize> {
    if command == LOCAL || family == UNSPEC {
        return Some(0);
    }
    [TCP4, TCP6, UNIX_STREAM].into_iter().find(|(known, _)| *known == family).map(|(_, bytes)| bytes)
}

fn source(family: u8, rest: &[u8]) -> Option<SocketAddr> {
    let (address, port) = if family == TCP4.0 {
        let (address, rest) = rest.split_first_chunk::<4>()?;
        (IpAddr::V4(Ipv4Addr::from_octets(*address)), rest.get(4..6)?)
    } else if family == TCP6.0 {
        let (address, rest) = rest.split_first_chunk::<16>()?;
        (IpAddr::V6(Ipv6Addr::from_octets(*address)), rest.get(16..18)?)
    } else {
        return None;
    };
    Some(SocketAddr::new(address, u16::from_be_bytes(*port.first_chunk()?)))
}
