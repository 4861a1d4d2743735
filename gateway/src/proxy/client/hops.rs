//! Lists of hops, read from the right, where the nearest proxy wrote: X-Forwarded-For, which has no
//! specification, and Forwarded (RFC 7239). What stands left of the answer is never looked at: it is
//! whatever a stranger sent. Knows no proxies and no header map.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// One element of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    Address(IpAddr),
    /// `unknown`, an obfuscated identifier, or an element without `for=`: right, and says nothing.
    Unnamed,
    Malformed,
}

/// Whose grammar a line has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    XForwardedFor,
    Forwarded,
}

/// The hops of a line, the last one first.
pub struct Hops<'a> {
    list: List,
    rest: Option<&'a str>,
}

impl<'a> Hops<'a> {
    pub fn of(list: List, line: &'a str) -> Self {
        Self { list, rest: Some(line) }
    }
}

impl Iterator for Hops<'_> {
    type Item = Hop;

    fn next(&mut self) -> Option<Hop> {
        let rest = self.rest?;
        let (comma, read): (_, fn(&str) -> Hop) = match self.list {
            List::XForwardedFor => (rest.rfind(','), bare),
            List::Forwarded => (last_comma(rest), element),
        };
        self.rest = comma.and_then(|at| rest.get(..at));
        Some(read(trimmed(comma.and_then(|at| rest.get(at + 1..)).unwrap_or(rest))))
    }
}

/// An address, with or without a port, IPv6 with or without brackets.
fn bare(text: &str) -> Hop {
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok().map(IpAddr::V6);
    let address = text.parse::<IpAddr>().ok();
    let address = address.or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip())).or_else(bracketed);
    match address {
        Some(address) => Hop::Address(address.to_canonical()),
        None if text.eq_ignore_ascii_case("unknown") => Hop::Unnamed,
        None => Hop::Malformed,
    }
}

/// The last one outside quoted strings.
fn last_comma(text: &str) -> Option<usize> {
    let mut is_quoted = false;
    text.bytes().enumerate().rev().find_map(|(at, byte)| {
        if byte == b'"' && !is_escaped(text, at) {
            is_quoted = !is_quoted;
        }
        (byte == b',' && !is_quoted).then_some(at)
    })
}

/// Whether an odd number of backslashes stands before.
fn is_escaped(text: &str, at: usize) -> bool {
    let before = text.bytes().take(at).rev();
    before.take_while(|byte| *byte == b'\\').count() % 2 == 1
}

/// Section 4: `forwarded-element = [ forwarded-pair ] *( ";" [ forwarded-pair ] )`.
fn element(text: &str) -> Hop {
    let mut found = None;
    let mut rest = text;
    loop {
        let Some((name, value, behind)) = pair(rest) else { return Hop::Malformed };
        if name.eq_ignore_ascii_case("for") && found.replace(node(&value)).is_some() {
            // No parameter may stand twice.
            return Hop::Malformed;
        }
        match behind.strip_prefix(';') {
            Some(behind) => rest = behind,
            None if behind.is_empty() => return found.unwrap_or(Hop::Unnamed),
            None => return Hop::Malformed,
        }
    }
}

/// A pair, which may be empty, its value unquoted, and what follows.
fn pair(text: &str) -> Option<(&str, String, &str)> {
    let text = trimmed(text);
    if text.is_empty() || text.starts_with(';') {
        return Some(("", String::new(), text));
    }
    let (name, value) = text.split_once('=')?;
    if name.is_empty() || !name.bytes().all(is_token_byte) {
        return None;
    }
    let (value, behind) = match value.strip_prefix('"') {
        Some(quoted) => unquoted(quoted)?,
        None => {
            let end = value.bytes().position(|byte| !is_token_byte(byte)).unwrap_or(value.len());
            let (token, behind) = value.split_at_checked(end).filter(|(token, _)| !token.is_empty())?;
            (token.to_owned(), behind)
        }
    };
    Some((name, value, trimmed(behind)))
}

/// A quoted string behind its first quote, and what follows its last (RFC 9110 section 5.6.4).
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => value.push(chars.next()?.1),
            _ => value.push(char),
        }
    }
    None
}

/// Section 6: `node = nodename [ ":" node-port ]`; IPv6 is in brackets.
fn node(text: &str) -> Hop {
    let (name, port) = match text.strip_prefix('[') {
        Some(_) => text.split_at(text.find(']').map_or(text.len(), |end| end + 1)),
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let is_port = match port.strip_prefix(':') {
        Some(port) => is_obfuscated(port) || is_number(port),
        None => port.is_empty(),
    };
    let in_brackets = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    let address = match in_brackets {
        Some(name) => name.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => name.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    };
    match address {
        _ if !is_port => Hop::Malformed,
        Some(address) => Hop::Address(address.to_canonical()),
        None if name.eq_ignore_ascii_case("unknown") || is_obfuscated(name) => Hop::Unnamed,
        None => Hop::Malformed,
    }
}

/// Section 6.3: an underscore, and letters, digits, `.`, `_`, `-`.
fn is_obfuscated(text: &str) -> bool {
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    text.strip_prefix('_').is_some_and(|rest| !rest.is_empty() && rest.bytes().all(is_fine))
}

/// One to five digits.
fn is_number(text: &str) -> bool {
    (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

fn trimmed(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

#[cfg(test)]
mod tests;
