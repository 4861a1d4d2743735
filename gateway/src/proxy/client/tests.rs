use hyper::header::HeaderValue;
use proptest::prelude::*;

use super::*;

const PROXY: &str = "10.0.0.1";

fn identified(peer: &str, lines: &[(&'static str, &str)]) -> Identified {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    let trusted = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
    identify(Peer::of_socket(peer.parse().unwrap()), &headers, &trusted)
}

#[test]
fn the_client_is_the_nearest_address_that_no_trusted_proxy_has() {
    for (lines, expected) in [
        (&[("x-forwarded-for", "192.0.2.1")][..], "192.0.2.1"),
        (&[("x-forwarded-for", "6.6.6.6, 192.0.2.1")], "192.0.2.1"),
        (&[("x-forwarded-for", "6.6.6.6, 192.0.2.1, 10.1.1.1")], "192.0.2.1"),
        (&[("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "192.0.2.1,10.9.9.9")], "192.0.2.1"),
        (&[("x-forwarded-for", "10.3.3.3, 10.1.1.1")], "10.3.3.3"),
        (&[("x-forwarded-for", "192.0.2.1:4711")], "192.0.2.1"),
        (&[("x-forwarded-for", "::ffff:192.0.2.1")], "192.0.2.1"),
        (&[("x-forwarded-for", "[2001:db8::1]:80, fd00::2")], "2001:db8::1"),
        (&[("x-forwarded-for", "2001:db8::1")], "2001:db8::1"),
        (&[("forwarded", "for=192.0.2.1;proto=http, for=10.2.2.2")], "192.0.2.1"),
        (&[("forwarded", "proto=http;For=\"[2001:db8::1]:80\"")], "2001:db8::1"),
        (&[("forwarded", "for=6.6.6.6"), ("x-forwarded-for", "192.0.2.1")], "192.0.2.1"),
    ] {
        let found = identified(PROXY, lines);
        assert_eq!(found.address, expected.parse::<IpAddr>().unwrap(), "{lines:?}");
        assert_eq!(found.client.origin, Origin::Forwarded, "{lines:?}");
    }
}

#[test]
fn what_stands_left_of_the_client_is_not_looked_at() {
    for lines in [
        &[("x-forwarded-for", "nonsense, 192.0.2.1")][..],
        &[("x-forwarded-for", ", ,\u{e9}, 192.0.2.1, 10.1.1.1")],
        &[("x-forwarded-for", "\u{e9}"), ("x-forwarded-for", "192.0.2.1")],
        &[("forwarded", "for=\"6.6.6.6, for=192.0.2.1")],
        &[("forwarded", "for=6.6.6.6;for=\", , for=192.0.2.1, for=10.1.1.1")],
        &[("forwarded", "nonsense"), ("forwarded", "for=192.0.2.1")],
    ] {
        let found = identified(PROXY, lines);
        assert_eq!(
            (found.address.to_string(), found.malformed),
            ("192.0.2.1".to_owned(), false),
            "{lines:?}"
        );
    }
}

#[test]
fn what_cannot_be_read_or_is_not_trusted_leaves_the_peer() {
    let by_peer = Client { key: ClientKey::of(PROXY.parse().unwrap()), origin: Origin::Peer };
    for lines in [
        &[("x-forwarded-for", "192.0.2.1, ")][..],
        &[("x-forwarded-for", "")],
        &[("x-forwarded-for", "192.0.2.1 6.6.6.6")],
        &[("x-forwarded-for", "300.1.1.1")],
        &[("x-forwarded-for", "192.0.2.1:x")],
        &[("x-forwarded-for", "192.0.2.1\u{e9}")],
        &[("x-forwarded-for", "192.0.2.1, nonsense, 10.1.1.1")],
        &[("forwarded", "nonsense")],
        &[("forwarded", "for=192.0.2.1:80")],
        &[("forwarded", "for=192.0.2.1;for=192.0.2.1")],
    ] {
        let found = identified(PROXY, lines);
        assert_eq!((found.client, found.malformed), (by_peer, true), "{lines:?}");
    }
    for lines in [
        &[][..],
        &[("x-forwarded-for", "192.0.2.1, unknown")],
        &[("forwarded", "for=192.0.2.1, for=_hidden")],
        &[("forwarded", "for=unknown")],
        &[("forwarded", "by=192.0.2.1")],
    ] {
        let found = identified(PROXY, lines);
        assert_eq!((found.client, found.malformed), (by_peer, false), "{lines:?}");
    }
    let long = vec!["10.1.1.1"; HOPS_MAX + 1].join(",");
    assert!(identified(PROXY, &[("x-forwarded-for", &long)]).malformed);
    let stranger = identified("192.0.2.9", &[("x-forwarded-for", "192.0.2.1")]);
    assert_eq!((stranger.address, stranger.peer_is_trusted), ("192.0.2.9".parse().unwrap(), false));
    let mapped = identified("::ffff:192.0.2.9", &[]);
    assert_eq!(mapped.client.key, ClientKey::v4([192, 0, 2, 9]));
}

#[test]
fn whom_a_proxy_header_names_is_a_peer_that_is_forwarded() {
    let trusted = ["10.0.0.0/8".parse().unwrap()];
    let mut headers = HeaderMap::new();
    headers.insert("x-forwarded-for", HeaderValue::from_static("192.0.2.1"));
    let named = |address: &str| identify(Peer::forwarded(address.parse().unwrap()), &headers, &trusted);
    let client =
        |address: &str| Client { key: ClientKey::of(address.parse().unwrap()), origin: Origin::Forwarded };
    assert_eq!(named("192.0.2.7").client, client("192.0.2.7"), "its own word counts for nothing");
    assert!(!named("192.0.2.7").peer_is_trusted);
    assert_eq!(named("10.2.2.2").client, client("192.0.2.1"), "a trusted proxy behind the first one");
    headers.clear();
    let alone = identify(Peer::forwarded("10.2.2.2".parse().unwrap()), &headers, &trusted);
    assert_eq!(alone.client, client("10.2.2.2"));
}

proptest! {
    #[test]
    fn a_trusted_address_is_the_client_only_where_all_are(hops in proptest::collection::vec("(10|192)\\.0\\.2\\.[0-9]", 1..6)) {
        let list = hops.join(", ");
        let found = identified(PROXY, &[("x-forwarded-for", &list)]);
        let all_trusted = hops.iter().all(|hop| hop.starts_with("10."));
        prop_assert_eq!(found.address.to_string().starts_with("10."), all_trusted);
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,60}", near in "(for|by|=|[0-9.:]{1,9}|\\[|\\]|\"|\\\\|,|;| |_x|unknown){0,20}") {
        for text in [text, near] {
            for name in ["x-forwarded-for", "forwarded"] {
                if HeaderValue::from_str(&text).is_ok() {
                    identified(PROXY, &[(name, &text)]);
                }
            }
        }
    }

    #[test]
    fn whatever_a_stranger_sent_the_proxys_own_element_is_found(text in "\\PC{0,60}", near in "(for|=|[0-9.:]{1,9}|\"|,|;|_x){0,20}") {
        for text in [text, near] {
            // As a proxy appends, to the line or as another one.
            let list = format!("{text}, 192.0.2.1, 10.1.1.1");
            let quoted = format!("{text}, for=192.0.2.1;host=\"a,b\\\"c\", for=\"10.1.1.1:80\"");
            for (name, value) in [("x-forwarded-for", list), ("forwarded", quoted)] {
                if HeaderValue::from_str(&value).is_ok() {
                    let found = identified(PROXY, &[(name, &value)]);
                    prop_assert_eq!(found.address.to_string(), "192.0.2.1", "{}", value);
                }
            }
        }
    }

    #[test]
    fn an_address_that_is_written_is_read(v4: std::net::Ipv4Addr, v6: std::net::Ipv6Addr, port: u16) {
        let canonical = |address: IpAddr| Hop::Address(address.to_canonical());
        for (text, address) in [(format!("{v4}"), IpAddr::from(v4)), (format!("{v4}:{port}"), v4.into()), (format!("[{v6}]"), v6.into()), (format!("[{v6}]:{port}"), v6.into())] {
            prop_assert_eq!(Hops::of(List::XForwardedFor, &text).next(), Some(canonical(address)));
            let pair = format!("proto=https;FOR=\"{text}\"");
            prop_assert_eq!(Hops::of(List::Forwarded, &pair).next(), Some(canonical(address)));
        }
    }
}
