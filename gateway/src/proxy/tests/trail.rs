//! Max-Forwards and Via.

use super::double::{Double, OK};
use super::forward;
use super::harness::Gateway;

/// The status of a request's answer, and what the upstream saw of it, in small letters.
fn ask(gateway: &Gateway, upstream: &Double, head: &str) -> (String, Option<String>) {
    let before = upstream.asked();
    let answer = gateway.ask(&format!("{head}Connection: close\r\n\r\n"));
    let seen = (upstream.asked() > before).then(|| upstream.heads().pop().unwrap().to_ascii_lowercase());
    (answer.get(9..12).unwrap_or_default().to_owned(), seen)
}

#[test]
fn max_forwards_counts_hops_of_options_and_trace_alone() {
    let upstream = Double::new(OK);
    let gateway = Gateway::start(&forward("a", "/", upstream.address.port(), ""));
    for (method, came, status, goes) in [
        ("OPTIONS", "5", "200", Some("4")),
        ("TRACE", "1", "200", Some("0")),
        ("OPTIONS", "00018446744073709551616", "200", Some("18446744073709551614")),
        ("OPTIONS", "0", "204", None),
        ("TRACE", "000", "405", None),
        ("TRACE", "-1", "400", None),
        ("OPTIONS", "", "400", None),
        ("OPTIONS", "1, 2", "400", None),
        ("OPTIONS", "1\r\nMax-Forwards: 1", "400", None),
        ("GET", "0", "200", Some("0")),
        ("GET", "x", "200", Some("x")),
    ] {
        let head = format!("{method} / HTTP/1.1\r\nHost: a\r\nMax-Forwards: {came}\r\n");
        let (answered, seen) = ask(&gateway, &upstream, &head);
        assert_eq!(answered, status, "{method} {came}");
        let line = goes.map(|goes| format!("\r\nmax-forwards: {goes}\r\n"));
        let agrees = match (&seen, &line) {
            (Some(seen), Some(line)) => seen.contains(line.as_str()),
            (None, None) => true,
            _ => false,
        };
        assert!(agrees, "{method} {came}: {seen:?}");
    }
    let (_, seen) = ask(&gateway, &upstream, "OPTIONS / HTTP/1.1\r\nHost: a\r\n");
    assert!(seen.is_some_and(|seen| !seen.contains("max-forwards")));
}

#[test]
fn via_names_us_and_a_circle_is_broken() {
    let upstream = Double::new(OK);
    let api = forward("a", "/", upstream.address.port(), "");
    let gateway = Gateway::start_under("via = \"weir-1\"\n", &api);
    for (version, came, status, goes) in [
        ("1.1", "", "200", &["via: 1.1 weir-1"][..]),
        ("1.0", "", "200", &["via: 1.0 weir-1"]),
        (
            "1.1",
            "Via: 1.1 cdn (weir-1), 2 weir-10\r\n",
            "200",
            &["via: 1.1 cdn (weir-1), 2 weir-10", "via: 1.1 weir-1"],
        ),
        ("1.1", "Via: 1.1 weir-1\r\n", "508", &[]),
        ("1.1", "Via: 1.0 x\r\nVia: 1.1 cdn,2.0  Weir-1 (a)\r\n", "508", &[]),
    ] {
        let head = format!("GET / HTTP/{version}\r\nHost: a\r\n{came}");
        let (answered, seen) = ask(&gateway, &upstream, &head);
        assert_eq!(answered, status, "{came}");
        for line in goes {
            let seen = seen.as_deref().unwrap();
            assert_eq!(seen.matches(&format!("\r\n{line}\r\n")).count(), 1, "{line}: {seen}");
        }
        assert_eq!(seen.is_none(), goes.is_empty());
    }
    let silent = Gateway::start(&api);
    let (_, seen) = ask(&silent, &upstream, "GET / HTTP/1.1\r\nHost: a\r\n");
    assert!(!seen.unwrap().contains("\r\nvia:"), "off by default");
}

#[test]
fn a_gateway_that_forwards_to_itself_ends_the_circle() {
    let gateway = Gateway::start_under("via = \"weir-1\"\n", &forward("a", "/", 9, ""));
    let port = gateway.connect().unwrap().peer_addr().unwrap().port();
    let apis = forward("a", "/", port, "");
    gateway.reload_under("via = \"weir-1\"\n", &apis);
    let answer = gateway.ask_once();
    assert!(answer.starts_with("HTTP/1.1 508 "), "{answer}");
}
