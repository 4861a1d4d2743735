//! Bodies that nobody reads (CL.0, TE.0): whoever answers, what stands in one never becomes a request.

use super::row::{converse, statuses};
use crate::proxy::tests::harness::Gateway;
use crate::proxy::tests::respond;

const INNER: &str = "GET /inner HTTP/1.1\r\nHost: a\r\n\r\n";
const NEXT: &str = "GET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/// The request's framing and body, around a request of its own.
fn framed() -> [(String, String); 4] {
    let sized = |body: &str| format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let long = INNER.repeat(200);
    [
        (format!("Content-Length: {}\r\n", INNER.len()), INNER.to_owned()),
        ("Transfer-Encoding: chunked\r\n".to_owned(), sized(INNER)),
        (format!("Content-Length: {}\r\n", long.len()), long.clone()),
        ("Transfer-Encoding: chunked\r\n".to_owned(), sized(&long)),
    ]
}

#[test]
fn who_answers_without_the_body_reads_over_it() {
    let limit = "[limit.client]\nrequests = { rate = \"1/min\", burst = 1 }\nshed = []\n";
    let keyed = "auth = { key = { file = \"keys.toml\" } }\n";
    let root = respond("root", "/", "root");
    for (config, method, path, first, second) in [
        (root.clone(), "POST", "/", 200, 200),
        (root.clone(), "GET", "/", 200, 200),
        (root.clone(), "OPTIONS", "/", 200, 200),
        (respond("a", "/next", "next"), "POST", "/nobody", 404, 200),
        (format!("{limit}{root}"), "POST", "/", 200, 429),
        (format!("{root}{keyed}{}", respond("b", "/next", "next")), "POST", "/", 401, 200),
    ] {
        for (framing, body) in framed() {
            let gateway = Gateway::start(&config);
            let sent = format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{framing}\r\n{body}{NEXT}");
            let got = converse(gateway.connect().expect("the gateway listens"), &[sent.as_bytes()]).unwrap();
            assert_eq!(statuses(&got).unwrap(), [first, second], "{method} {path} {framing}");
        }
    }
}

#[test]
fn a_body_that_breaks_or_is_too_much_ends_the_connection() {
    let gateway = Gateway::start(&respond("root", "/", "root"));
    for (framing, body) in [
        ("Transfer-Encoding: chunked\r\n", format!("zz\r\n{INNER}")),
        ("Transfer-Encoding: chunked\r\n", format!("1\r\nx{INNER}")),
        ("Transfer-Encoding: chunked\r\n", format!("5\nhello\r\n0\r\n\r\n{INNER}")),
        ("Content-Length: 100000000\r\n", INNER.repeat(20_000)),
        // It was told to wait, and never told to go on.
        ("Expect: 100-continue\r\nContent-Length: 100\r\n", INNER.to_owned()),
    ] {
        let sent = format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\n{body}{NEXT}");
        let got = converse(gateway.connect().expect("the gateway listens"), &[sent.as_bytes()]).unwrap();
        assert_eq!(statuses(&got).unwrap(), [200], "{framing}");
    }
}
