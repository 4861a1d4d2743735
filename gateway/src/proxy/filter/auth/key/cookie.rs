//! A key in a cookie: `name=KEY` between semicolons (RFC 6265 section 4.2), over several lines where
//! HTTP/2 splits them (RFC 9113 section 8.2.3).

use std::borrow::Cow;

use hyper::HeaderMap;
use hyper::header::{COOKIE, HeaderValue};

use super::place::Found;

pub(super) fn find<'a>(headers: &'a HeaderMap, name: &str) -> Found<'a> {
    let mut values = pairs(headers).filter_map(|pair| value(pair, name));
    match (values.next(), values.next()) {
        (None, _) => Found::Nothing,
        (Some(value), None) => Found::Key(Cow::Borrowed(value)),
        (Some(_), Some(_)) => Found::Several,
    }
}

/// Takes the cookie out; the others stay, in one line.
pub(super) fn strip(headers: &mut HeaderMap, name: &str) {
    let rest: Vec<_> = pairs(headers).filter(|pair| value(pair, name).is_none()).collect();
    let line = rest.join(&b"; "[..]);
    headers.remove(COOKIE);
    if let Ok(line) = HeaderValue::from_bytes(&line)
        && !line.is_empty()
    {
        headers.insert(COOKIE, line);
    }
}

fn pairs(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let lines = headers.get_all(COOKIE).iter();
    let pairs = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    pairs.map(<[u8]>::trim_ascii).filter(|pair| !pair.is_empty())
}

fn value<'a>(pair: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let value = pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
    let quoted = value.strip_prefix(b"\"").and_then(|inside| inside.strip_suffix(b"\""));
    Some(quoted.unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(lines: &[&'static str], key: Option<&str>, stripped: Option<&str>) {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(COOKIE, HeaderValue::from_static(line));
        }
        let found = match find(&headers, "key") {
            Found::Key(key) => Some(String::from_utf8(key.into_owned()).unwrap()),
            Found::Nothing => None,
            Found::Several => Some("several".to_owned()),
        };
        assert_eq!(found.as_deref(), key, "{lines:?}");
        strip(&mut headers, "key");
        assert_eq!(headers.get(COOKIE).map(|line| line.to_str().unwrap()), stripped, "{lines:?}");
    }

    #[test]
    fn a_key_is_found_and_taken_out() {
        check(&["key=one"], Some("one"), None);
        check(&["a=1; key=\"one\"; b=2"], Some("one"), Some("a=1; b=2"));
        check(&["a=1", "key=one", "b=2"], Some("one"), Some("a=1; b=2"));
        check(&["key=one;key=two"], Some("several"), None);
        check(&["monkey=1; keys=2; key"], None, Some("monkey=1; keys=2; key"));
        check(&[], None, None);
    }
}
