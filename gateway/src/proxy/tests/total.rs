//! The time of a request in all, and what an API says of bodies for itself.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use super::forward;
use super::harness::{Gateway, Upstream};

const TOTAL: &str = "[timeouts]\nrequest_total = \"300ms\"\n";
const PATIENCE: Duration = Duration::from_secs(10);
const ASK: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const WEBSOCKET: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";

/// An upstream that writes `head` and then a chunk every now and then, without an end.
fn endless(head: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                stream.read(&mut [0; 4_096]).map(drop).unwrap_or(());
                stream.write_all(head.as_bytes()).unwrap_or(());
                while stream.write_all(b"1\r\nx\r\n").is_ok() {
                    std::thread::park_timeout(Duration::from_millis(20));
                }
            });
        }
    });
    port
}

/// Whether the connection ended before a second of bytes had come.
fn is_cut(mut stream: TcpStream, request: &str) -> bool {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let (mut pieces, mut buffer) = (0, [0; 4_096]);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return true,
            Ok(_) if pieces > 60 => return false,
            Ok(_) => pieces += 1,
        }
    }
}

#[test]
fn an_upstream_that_is_silent_for_longer_is_504_and_no_failure_of_it() {
    let silent = Upstream::silent();
    let gateway = Gateway::start(&format!("{TOTAL}{}", forward("a", "/", silent.port, "")));
    let answer = gateway.ask_once();
    assert!(answer.starts_with("HTTP/1.1 504 ") && answer.contains("in all"), "{answer}");
    assert_eq!(gateway.shared.metrics.api("a").late.get(), 1);
}

#[test]
fn an_answer_that_goes_on_is_cut_and_what_lasts_by_nature_is_spared() {
    const PLAIN: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n";
    const EVENTS: &str = "HTTP/1.1 200 OK\r\nContent-Type: Text/Event-Stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n";
    let own = "request_total = \"300ms\"";
    for (times, rest, head, request, cut) in [
        ("", "", PLAIN, ASK, false),
        (TOTAL, "", PLAIN, ASK, true),
        (TOTAL, "request_total = \"1h\"", PLAIN, ASK, false),
        ("", own, PLAIN, ASK, true),
        (TOTAL, "", EVENTS, ASK, false),
        (TOTAL, own, EVENTS, ASK, true),
        (TOTAL, "", SWITCH, WEBSOCKET, false),
        (TOTAL, own, SWITCH, WEBSOCKET, true),
    ] {
        let gateway = Gateway::start(&format!("{times}{}", forward("a", "/", endless(head), rest)));
        let stream = gateway.connect().unwrap();
        assert_eq!(is_cut(stream, request), cut, "{times:?} {rest:?} {head:?}");
        let metrics = &gateway.shared.metrics;
        let counted = metrics.api("a").late.get() + metrics.closed("request_total").get();
        assert_eq!(counted, u64::from(cut), "{times:?} {rest:?} {head:?}");
    }
}

#[test]
fn an_api_has_a_bound_of_its_own_for_bodies() {
    let upstream = Upstream::echoing_length();
    let body = "x".repeat(2_000);
    let chunked = format!("Transfer-Encoding: chunked\r\n\r\n7d0\r\n{body}\r\n0\r\n\r\n");
    let sized = format!("Content-Length: 2000\r\n\r\n{body}");
    for (of_all, own, status) in [
        ("", "", "200"),
        ("", "body_bytes = \"1KiB\"", "413"),
        ("body_bytes = \"1KiB\"", "", "413"),
        ("body_bytes = \"1KiB\"", "body_bytes = \"2KiB\"", "200"),
        ("body_bytes = \"1KiB\"", "body_bytes = \"unlimited\"", "200"),
        ("body_bytes = \"4KiB\"", "body_bytes = \"1KiB\"", "413"),
    ] {
        let gateway =
            Gateway::start(&format!("[bounds]\n{of_all}\n{}", forward("a", "/", upstream.port, own)));
        for rest in [&sized, &chunked] {
            let answer = gateway.ask(&format!("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{rest}"));
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{of_all} {own}: {answer}");
        }
    }
}
