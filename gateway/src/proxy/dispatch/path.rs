//! The path that dispatch decides on: unreserved characters decoded, dot segments taken out
//! (RFC 3986 section 6.2.2), empty segments merged. `/x/../deny/`, `/%64eny/` and `//deny/` are `/deny/`.

use std::borrow::Cow;

/// Borrowed where the path is normal already, as nearly all are.
pub fn normalise(path: &str) -> Cow<'_, str> {
    if is_normal(path.as_bytes()) { Cow::Borrowed(path) } else { Cow::Owned(merge(&decode(path))) }
}

fn is_normal(path: &[u8]) -> bool {
    let dotted = path.windows(2).any(|pair| matches!(pair, b"//" | b"/."));
    path.first() == Some(&b'/') && !dotted && !path.contains(&b'%') && !path.contains(&b'\\')
}

/// Decodes percent-encoded unreserved characters (RFC 3986 section 2.3), and an encoded slash's
/// neighbours, dots: what stays encoded is data.
fn decode(path: &str) -> String {
    let mut decoded = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        let (before, from) = rest.split_at(at);
        decoded.push_str(before);
        let byte = from.get(1..3).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte {
            Some(byte) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                decoded.push(char::from(byte));
                rest = from.get(3..).unwrap_or_default();
            }
            _ => {
                decoded.push('%');
                rest = from.get(1..).unwrap_or_default();
            }
        }
    }
    decoded.push_str(rest);
    // What browsers and some upstreams take for a slash selects like one.
    decoded.replace('\\', "/")
}

fn merge(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    let mut ends_open = false;
    for segment in path.split('/') {
        ends_open = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            _ => segments.push(segment),
        }
    }
    let mut merged = String::with_capacity(path.len());
    for segment in &segments {
        merged.push('/');
        merged.push_str(segment);
    }
    if ends_open || segments.is_empty() {
        merged.push('/');
    }
    merged
}
