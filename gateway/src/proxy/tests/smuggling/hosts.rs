//! Host (RFC 9110 section 7.2, RFC 9112 section 3.2).

use super::row::{check, forwarded, normal, refused};

#[test]
fn a_host_that_is_none_is_refused() {
    let values = [
        "u@a",
        "u:p@a",
        "a,b",
        "a, b",
        "a b",
        "a\tb",
        "a?x",
        "a#x",
        "a/x",
        "a/",
        "a\\b",
        "a\0",
        "\0a",
        "a\u{7f}",
        "a\"",
        "<a>",
        "a^b",
        "a`b",
        "a{b",
        "a|b",
        "http://a",
        "//a",
        "a;b@c",
        "a:80:80",
        "a:x",
        "a:80x",
        "a:-1",
        "a:+80",
        "a: 80",
        "a:99999",
        "a:80,b",
        "::1",
        "[::1",
        "::1]",
        "[::1]x",
        "[::1]:x",
        "[]",
        "[a]",
        "[::1]@b",
        "[1.2.3.4]",
        "[::g]",
        "a[::1]",
        "[[::1]]",
        "a%",
        "a%0",
        "a%zz",
        "\u{e9}",
        ":80",
        "*@",
        "@",
        "@a",
    ];
    let rows = values.map(|value| {
        refused(400, &format!("Host: {value:?}"), format!("GET / HTTP/1.1\r\nHost: {value}\r\n\r\n"))
    });
    check(&rows);
}

#[test]
fn there_is_one_host() {
    check(&[
        refused(400, "none (9112 3.2)", "GET / HTTP/1.1\r\n\r\n"),
        refused(400, "none, but others", "GET / HTTP/1.1\r\nX-Host: a\r\nX-Forwarded-Host: a\r\n\r\n"),
        refused(400, "two equal", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
        refused(400, "two", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
        refused(400, "two, apart, spelt otherwise", "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\nhOST:b\r\n\r\n"),
        refused(400, "one of two empty", "GET / HTTP/1.1\r\nHost: a\r\nHost:\r\n\r\n"),
        refused(400, "two in HTTP/1.0", "GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n"),
        refused(400, "a space before the colon", "GET / HTTP/1.1\r\nHost : a\r\n\r\n"),
        refused(400, "a second with a space", "GET / HTTP/1.1\r\nHost: a\r\n Host: b\r\n\r\n"),
        refused(400, "a second behind a bare CR", "GET / HTTP/1.1\r\nHost: a\rHost: b\r\n\r\n"),
        forwarded(normal("GET / HTTP/1.1").no_host().closes(), "none in HTTP/1.0", "GET / HTTP/1.0\r\n\r\n"),
    ]);
}

#[test]
fn a_host_is_told_to_the_upstream_as_it_came() {
    let values = [
        "a",
        "A.Example",
        "a:80",
        "a:",
        "a.",
        "a-b_c.d~e",
        "1.2.3.4",
        "1.2.3.4:81",
        "[::1]",
        "[::1]:81",
        "[2001:db8::1.2.3.4]",
        "a%20b",
        "xn--e1afmkfd.example",
        "a!$&'()*+;=b",
    ];
    let rows = values.map(|value| {
        let sent = format!("GET / HTTP/1.1\r\nHost: \t{value} \r\n\r\n");
        forwarded(normal("GET / HTTP/1.1").host(value), &format!("Host: {value}"), sent)
    });
    check(&rows);
}
