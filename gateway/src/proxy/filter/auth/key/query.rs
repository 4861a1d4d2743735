//! A key in the query: `name=KEY` between `&`s, percent-encoded where it must be (RFC 3986 section 3.4).

use std::borrow::Cow;

use hyper::Uri;
use hyper::http::uri::PathAndQuery;

use super::place::Found;

pub(super) fn find<'a>(query: &'a str, name: &str) -> Found<'a> {
    let mut values = query.split('&').filter_map(|pair| value(pair, name));
    match (values.next(), values.next()) {
        (None, _) => Found::Nothing,
        (Some(value), None) => Found::Key(decode(value)),
        (Some(_), Some(_)) => Found::Several,
    }
}

/// Takes the pair out; what else stands in the query keeps its order and its letters.
pub(super) fn strip(uri: &mut Uri, name: &str) {
    let Some(query) = uri.query() else { return };
    let rest: Vec<_> = query.split('&').filter(|pair| value(pair, name).is_none()).collect();
    let mut text = uri.path().to_owned();
    if !rest.is_empty() {
        text.push('?');
        text.push_str(&rest.join("&"));
    }
    let mut parts = std::mem::take(uri).into_parts();
    // A part of what was a path and query is one.
    parts.path_and_query = Some(text.parse().unwrap_or(PathAndQuery::from_static("/")));
    *uri = Uri::from_parts(parts).unwrap_or_default();
}

fn value<'a>(pair: &'a str, name: &str) -> Option<&'a str> {
    let (found, value) = pair.split_once('=')?;
    (found == name).then_some(value)
}

/// `%41` is `A`; what is no such code stays.
fn decode(value: &str) -> Cow<'_, [u8]> {
    if !value.contains('%') {
        return Cow::Borrowed(value.as_bytes());
    }
    let mut decoded = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((byte, behind)) = rest.split_first() {
        let code = behind.first_chunk::<2>().filter(|_| *byte == b'%');
        let code = code.and_then(|code| std::str::from_utf8(code).ok());
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(code) => {
                decoded.push(code);
                rest = behind.get(2..).unwrap_or_default();
            }
            None => {
                decoded.push(*byte);
                rest = behind;
            }
        }
    }
    Cow::Owned(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(target: &str, key: Option<&str>, stripped: &str) {
        let mut uri: Uri = target.parse().unwrap();
        let found = match find(uri.query().unwrap_or_default(), "key") {
            Found::Key(key) => Some(String::from_utf8(key.into_owned()).unwrap()),
            Found::Nothing => None,
            Found::Several => Some("several".to_owned()),
        };
        assert_eq!(found.as_deref(), key, "{target}");
        strip(&mut uri, "key");
        assert_eq!(uri.to_string(), stripped, "{target}");
    }

    #[test]
    fn a_key_is_found_and_taken_out() {
        check("/a?key=one", Some("one"), "/a");
        check("/a?x=1&key=one&y=%20", Some("one"), "/a?x=1&y=%20");
        check("/a?key=%6fne%zz%", Some("one%zz%"), "/a");
        check("/a?key=one&key=two&b", Some("several"), "/a?b");
        check("/a?monkey=1&keys=2&key", None, "/a?monkey=1&keys=2&key");
        check("http://h:1/a?key=one", Some("one"), "http://h:1/a");
        check("/a", None, "/a");
    }
}
