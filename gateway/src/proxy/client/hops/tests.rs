use super::*;

#[track_caller]
fn check(list: List, line: &str, expected: &[&str]) {
    let told = |hop| match hop {
        Hop::Address(address) => address.to_string(),
        Hop::Unnamed => "unnamed".to_owned(),
        Hop::Malformed => "malformed".to_owned(),
    };
    let hops: Vec<_> = Hops::of(list, line).map(told).collect();
    assert_eq!(hops, expected, "{line:?}");
}

#[test]
fn forwarded_elements_are_read_from_the_right() {
    for (line, expected) in [
        ("for=192.0.2.1", &["192.0.2.1"][..]),
        ("for=192.0.2.1, for=192.0.2.2", &["192.0.2.2", "192.0.2.1"]),
        ("For=192.0.2.1,FOR=192.0.2.2", &["192.0.2.2", "192.0.2.1"]),
        ("for=\"192.0.2.1\"", &["192.0.2.1"]),
        ("for=\"192.0.2.1:4711\"", &["192.0.2.1"]),
        ("for=\"192.0.2.1:_port\"", &["192.0.2.1"]),
        ("for=\"[2001:db8::1]\"", &["2001:db8::1"]),
        ("for=\"[2001:db8:cafe::17]:4711\"", &["2001:db8:cafe::17"]),
        ("for=\"[::ffff:192.0.2.1]\"", &["192.0.2.1"]),
        ("for=\"\\192.0\\.2.1\"", &["192.0.2.1"]),
        ("for=192.0.2.43;proto=http;by=203.0.113.43", &["192.0.2.43"]),
        ("by=203.0.113.43; for=192.0.2.43 ;", &["192.0.2.43"]),
        (";;for=192.0.2.1;;", &["192.0.2.1"]),
        ("host=\"a,b;for=6.6.6.6\";for=192.0.2.1", &["192.0.2.1"]),
        ("for=192.0.2.1;host=\"\\\", for=6.6.6.6\"", &["192.0.2.1"]),
        ("for=192.0.2.1;host=\"\\\\\", for=192.0.2.2", &["192.0.2.2", "192.0.2.1"]),
        ("for=unknown", &["unnamed"]),
        ("for=\"unknown:80\"", &["unnamed"]),
        ("for=_gazonk", &["unnamed"]),
        ("for=\"_mdn.x-1\"", &["unnamed"]),
        ("by=192.0.2.1", &["unnamed"]),
        ("", &["unnamed"]),
        ("for=192.0.2.1,", &["unnamed", "192.0.2.1"]),
    ] {
        check(List::Forwarded, line, expected);
    }
}

#[test]
fn elements_that_are_none_are_malformed() {
    for line in [
        "for",
        "for=",
        "=192.0.2.1",
        "for =192.0.2.1",
        "for= 192.0.2.1",
        "for=192.0.2.1 for=192.0.2.2",
        "for=192.0.2.1;for=192.0.2.1",
        "for=192.0.2.1;For=unknown",
        "for=192.0.2.1:80",
        "for=2001:db8::1",
        "for=\"2001:db8::1\"",
        "for=[2001:db8::1]",
        "for=\"[192.0.2.1]\"",
        "for=\"[2001:db8::1\"",
        "for=\"[2001:db8::1]80\"",
        "for=\"192.0.2.1:\"",
        "for=\"192.0.2.1:123456\"",
        "for=\"192.0.2.1:8x\"",
        "for=\"192.0.2.1:_\"",
        "for=\"192.0.2.1",
        "for=192.0.2.1\"",
        "for=\"192.0.2.1\"x",
        "for=\"192.0.2.1\\",
        "for=_",
        "for=\"_a b\"",
        "for=300.0.2.1",
        "for=192.0.2.01",
        "for=host.example",
        "for=\"\"",
        "f(r=192.0.2.1",
        "nonsense",
    ] {
        check(List::Forwarded, line, &["malformed"]);
    }
}

#[test]
fn x_forwarded_for_is_a_list_of_addresses() {
    for (line, expected) in [
        (
            "192.0.2.1, 192.0.2.2:80\t,[2001:db8::1]:80, [::1] ,::2",
            &["::2", "::1", "2001:db8::1", "192.0.2.2", "192.0.2.1"][..],
        ),
        ("unknown", &["unnamed"]),
        ("Unknown, 192.0.2.1", &["192.0.2.1", "unnamed"]),
        ("", &["malformed"]),
        ("192.0.2.1,", &["malformed", "192.0.2.1"]),
        ("\"192.0.2.1\"", &["malformed"]),
        ("192.0.2.1;192.0.2.2", &["malformed"]),
        ("fe80::1%eth0", &["malformed"]),
        ("0x7f.1", &["malformed"]),
        ("3221225985", &["malformed"]),
        ("192.0.2.1:99999", &["malformed"]),
    ] {
        check(List::XForwardedFor, line, expected);
    }
}
