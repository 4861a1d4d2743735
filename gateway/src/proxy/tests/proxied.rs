//! Listeners whose connections begin with a PROXY header.

use std::io::{Read as _, Write as _};

use super::harness::{Gateway, Upstream};
use super::{forward, respond};

const TRUSTED: &str = "trusted_proxies = [\"127.0.0.1\"]\n";
const LISTENER: &str = "proxy_protocol = true\n[timeouts]\nhandshake = \"300ms\"\n";
const V2_V4: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0f\xc0\0\x02\x01\xc0\0\x02\x02\x12\x67\x01\xbb\x04\0\0";
const V2_LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
const V1: &[u8] = b"PROXY TCP4 192.0.2.1 192.0.2.2 4711 443\r\n";

fn get(fields: &str) -> String {
    format!("GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\r\n")
}

/// Writes the pieces one by one, and reads to the end.
fn ask(gateway: &Gateway, pieces: &[&[u8]]) -> String {
    let mut stream = gateway.connect().expect("the gateway listens");
    stream.set_nodelay(true).unwrap();
    for piece in pieces {
        // Who is refused may be closed already.
        stream.write_all(piece).unwrap_or(());
    }
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).map(drop).unwrap_or(());
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn the_upstream_is_told_whom_the_header_names() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nup");
    let gateway =
        Gateway::start_under(TRUSTED, &format!("{LISTENER}{}", forward("a", "/", upstream.port, "")));
    let request = get("X-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n");
    for (header, chain) in [
        (V1, "192.0.2.1"),
        (V2_V4, "192.0.2.1"),
        (b"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n", "192.0.2.1"),
        // A trusted proxy behind the first: its word about others is believed.
        (b"PROXY TCP4 127.0.0.1 192.0.2.2 1 2\r\n", "6.6.6.6, 127.0.0.1"),
        (b"PROXY UNKNOWN\r\n", "6.6.6.6, 127.0.0.1"),
        (V2_LOCAL, "6.6.6.6, 127.0.0.1"),
    ] {
        let whole = [header, request.as_bytes()].concat();
        let bytes: Vec<_> = whole.chunks(1).collect();
        for pieces in [&[whole.as_slice()][..], &[header, request.as_bytes()], &bytes] {
            let answer = ask(&gateway, pieces);
            assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("up"), "{header:?}: {answer}");
            let head = upstream.heads().pop().unwrap().to_ascii_lowercase();
            assert!(head.starts_with("get /a http/1.1\r\n"), "{head}");
            assert!(head.contains(&format!("\r\nx-forwarded-for: {chain}\r\n")), "{header:?}: {head}");
            assert_eq!(head.contains("\r\nforwarded:"), chain.contains("6.6"), "{head}");
        }
    }
}

#[test]
fn without_a_header_the_connection_is_closed() {
    let gateway = Gateway::start_under(TRUSTED, &format!("{LISTENER}{}", respond("root", "/", "root")));
    let request = get("");
    for first in [
        &b""[..],
        b"PROXY TCP4 192.0.2.1 192.0.2.2 4711 443\n",
        b"PROXY TCP4 192.0.2.1\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0",
        b"\x16\x03\x01\x02\0",
    ] {
        assert_eq!(ask(&gateway, &[first, request.as_bytes()]), "", "{first:?}");
    }
    assert_eq!(gateway.closed("proxy_protocol"), 5);
    assert_eq!(ask(&gateway, &[&V1[..10]]), "", "half a header");
    assert_eq!(ask(&gateway, &[&V2_V4[..20]]), "", "half a header");
    assert_eq!(gateway.closed("proxy_protocol_timeout"), 2);
    assert!(ask(&gateway, &[V1, request.as_bytes()]).ends_with("root"));
}

#[test]
fn a_strangers_header_is_read_and_not_believed() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nup");
    let trusted = "trusted_proxies = [\"192.0.2.0/24\"]\n";
    let gateway =
        Gateway::start_under(trusted, &format!("{LISTENER}{}", forward("a", "/", upstream.port, "")));
    assert!(ask(&gateway, &[V1, get("").as_bytes()]).ends_with("up"));
    let head = upstream.heads().pop().unwrap().to_ascii_lowercase();
    assert!(head.contains("\r\nx-forwarded-for: 127.0.0.1\r\n"), "{head}");
    assert_eq!(gateway.malformed("proxy_protocol_untrusted"), 1);
}

#[test]
fn a_client_behind_a_proxy_is_limited_by_itself_and_not_shed() {
    let limits = "[limit.client]\nrequests = { rate = \"1/min\", burst = 2 }\nshed_after = { refused = 1, within = \"10s\" }\n";
    let bounds = "[bounds]\nconnections_per_client = 2\n";
    let gateway =
        Gateway::start_under(TRUSTED, &format!("{LISTENER}{limits}{bounds}{}", respond("root", "/", "root")));
    let from = |address: &str| {
        let header = format!("PROXY TCP4 {address} 192.0.2.2 1 2\r\n");
        ask(&gateway, &[header.as_bytes(), get("").as_bytes()])
    };
    for _ in 0..2 {
        assert!(from("192.0.2.1").starts_with("HTTP/1.1 200 "));
    }
    for _ in 0..3 {
        assert!(from("192.0.2.1").starts_with("HTTP/1.1 429 "));
    }
    assert!(from("192.0.2.3").starts_with("HTTP/1.1 200 "), "another client has its own");
    assert!(gateway.no_offender(), "who is known by a proxy only is never shed");
    let held: Vec<_> = (0..2)
        .map(|_| {
            let mut stream = gateway.connect().unwrap();
            stream.write_all(V1).unwrap();
            stream
        })
        .collect();
    gateway.until("a third connection is refused", || from("192.0.2.1").is_empty());
    assert!(from("192.0.2.4").starts_with("HTTP/1.1 200 "));
    drop(held);
    gateway.until("a place is free again", || from("192.0.2.1").starts_with("HTTP/1.1 429 "));
}

#[test]
fn a_trusted_proxys_word_goes_on_with_its_address_behind() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nup");
    let gateway = Gateway::start_under(TRUSTED, &forward("a", "/", upstream.port, ""));
    for (fields, told) in [
        ("", &["x-forwarded-for: 127.0.0.1"][..]),
        ("X-Forwarded-For: 6.6.6.6, 192.0.2.1\r\n", &["x-forwarded-for: 6.6.6.6, 192.0.2.1, 127.0.0.1"]),
        (
            "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 192.0.2.1\r\n",
            &["x-forwarded-for: 6.6.6.6, 192.0.2.1, 127.0.0.1"],
        ),
        (
            "Forwarded: for=192.0.2.1;host=b\r\n",
            &[
                "x-forwarded-for: 192.0.2.1, 127.0.0.1",
                "forwarded: for=192.0.2.1;host=b",
                "forwarded: for=127.0.0.1",
            ],
        ),
        (
            "Forwarded: for=192.0.2.1\r\nX-Forwarded-For: 192.0.2.2\r\n",
            &[
                "x-forwarded-for: 192.0.2.2, 127.0.0.1",
                "forwarded: for=192.0.2.1",
                "forwarded: for=127.0.0.1",
            ],
        ),
        (
            "X-Forwarded-Proto: https\r\nX-Forwarded-Host: b\r\nX-Real-IP: 192.0.2.1\r\nX-Forwarded-Port: 443\r\n",
            &[
                "x-forwarded-for: 127.0.0.1",
                "x-forwarded-proto: https",
                "x-forwarded-host: b",
                "x-real-ip: 192.0.2.1",
                "x-forwarded-port: 443",
            ],
        ),
    ] {
        assert!(ask(&gateway, &[get(fields).as_bytes()]).ends_with("up"), "{fields}");
        let head = upstream.heads().pop().unwrap().to_ascii_lowercase();
        for line in told {
            assert_eq!(
                head.matches(&format!("\r\n{line}\r\n")).count(),
                1,
                "{line:?} for {fields:?} in {head}"
            );
        }
        assert_eq!(head.matches("x-forwarded-for").count(), 1, "{head}");
    }
}
