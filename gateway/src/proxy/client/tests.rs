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
    identify(peer.parse().unwrap(), &headers, &trusted)
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
fn what_cannot_be_read_or_is_not_trusted_leaves_the_peer() {
    for lines in [
        &[("x-forwarded-for", "unknown")][..],
        &[("x-forwarded-for", "192.0.2.1, ")],
        &[("x-forwarded-for", "")],
        &[("x-forwarded-for", "192.0.2.1 6.6.6.6")],
        &[("x-forwarded-for", "300.1.1.1")],
        &[("forwarded", "for=_hidden")],
        &[("forwarded", "by=192.0.2.1")],
    ] {
        let found = identified(PROXY, lines);
        assert!(found.malformed, "{lines:?}");
        assert_eq!(found.client, Client { key: ClientKey::of(PROXY.parse().unwrap()), origin: Origin::Peer });
    }
    let long = vec!["192.0.2.1"; HOPS_MAX + 1].join(",");
    assert!(identified(PROXY, &[("x-forwarded-for", &long)]).malformed);
    assert_eq!(identified(PROXY, &[]).client.origin, Origin::Peer);
    let stranger = identified("192.0.2.9", &[("x-forwarded-for", "192.0.2.1")]);
    assert_eq!((stranger.address, stranger.peer_is_trusted), ("192.0.2.9".parse().unwrap(), false));
    let mapped = identified("::ffff:192.0.2.9", &[]);
    assert_eq!(mapped.client.key, ClientKey::v4([192, 0, 2, 9]));
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
    fn no_text_panics(text in "[ -~]{0,60}") {
        identified(PROXY, &[("x-forwarded-for", &text)]);
        identified(PROXY, &[("forwarded", &text)]);
    }
}
