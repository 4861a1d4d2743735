//! `compress`: who gets gzip, and what becomes of the bytes.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::Duration;

use flate2::read::{GzDecoder, MultiGzDecoder};

use super::double::{Double, Manner};
use super::harness::Gateway;

const GZIP: &str = "Accept-Encoding: gzip\r\n";

fn answer(fields: &str, length: usize) -> Manner {
    let body: String = "words and words, ".chars().cycle().take(length).collect();
    let text = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {length}\r\n\r\n{body}");
    Manner::Answer(Box::leak(text.into_boxed_str()))
}

fn gateway(upstream: &Double, rest: &str) -> Gateway {
    let api = "[[api]]\nname = \"a\"\nlisten_path = \"/\"";
    Gateway::start(&format!("{api}\nupstreams = [{:?}]\n{rest}\n", upstream.url()))
}

/// Head in small letters, and body.
fn ask(gateway: &Gateway, method: &str, fields: &str) -> (String, Vec<u8>) {
    let mut client = gateway.connect().unwrap();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(client, "{method} / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\r\n").unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    let body = answer.split_off(end);
    let head = String::from_utf8(answer).unwrap().to_ascii_lowercase();
    let body = if head.contains("transfer-encoding: chunked") { unchunk(&body) } else { body };
    (head, body)
}

fn unchunk(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = bytes.windows(2).position(|two| two == b"\r\n").unwrap();
        let length = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).unwrap(), 16).unwrap();
        if length == 0 {
            return body;
        }
        body.extend_from_slice(&bytes[end + 2..end + 2 + length]);
        bytes = &bytes[end + 2 + length + 2..];
    }
}

#[test]
fn what_is_worth_it_goes_as_gzip_and_is_the_same_inside() {
    let fields = "Content-Type: text/html; charset=utf-8\r\nETag: \"v1\"\r\nAccept-Ranges: bytes\r\nContent-Digest: x=:y:\r\n";
    let upstream = Double::new(answer(fields, 3 << 20));
    let gateway = gateway(&upstream, "compress = {}");
    let (head, body) = ask(&gateway, "GET", GZIP);
    for part in
        ["content-encoding: gzip", "vary: accept-encoding", "etag: w/\"v1\"", "transfer-encoding: chunked"]
    {
        assert_eq!(head.matches(&format!("\r\n{part}\r\n")).count(), 1, "{part}: {head}");
    }
    for gone in ["content-length", "accept-ranges", "content-digest"] {
        assert!(!head.contains(gone), "{gone}: {head}");
    }
    assert!(body.len() < 100_000, "{}", body.len());
    let mut plain = Vec::new();
    GzDecoder::new(&body[..]).read_to_end(&mut plain).unwrap();
    let (head, uncompressed) = ask(&gateway, "GET", "");
    assert!(head.contains("vary: accept-encoding") && head.contains("etag: \"v1\""), "{head}");
    assert!(!head.contains("content-encoding"), "{head}");
    assert!(plain == uncompressed && plain.len() == 3 << 20);
    gateway.until("no place is taken", || gateway.shared.metrics.compressing.get() == 0);
    let (head, body) = ask(&gateway, "HEAD", GZIP);
    assert!(head.contains("content-encoding: gzip") && !head.contains("content-length"), "{head}");
    assert!(body.is_empty());
}

#[test]
fn who_takes_gzip_and_what_is_left_as_it_is() {
    const TEXT: &str = "Content-Type: text/plain\r\n";
    let both = |fields: &str| format!("{TEXT}{fields}");
    for (rest, answered, length, asked, is_packed) in [
        ("compress = {}", TEXT, 2_000, GZIP, true),
        ("", TEXT, 2_000, GZIP, false),
        ("compress = {}", TEXT, 1_000, GZIP, false),
        ("compress = { min = \"500B\" }", TEXT, 1_000, GZIP, true),
        ("compress = {}", "Content-Type: image/png\r\n", 2_000, GZIP, false),
        ("compress = { types = [\"image/*\"] }", "Content-Type: IMAGE/png\r\n", 2_000, GZIP, true),
        ("compress = { types = [\"image/*\"] }", TEXT, 2_000, GZIP, false),
        ("compress = {}", "", 2_000, GZIP, false),
        ("compress = {}", &both("Content-Encoding: br\r\n"), 2_000, GZIP, false),
        ("compress = {}", &both("Content-Range: bytes 0-1999/9000\r\n"), 2_000, GZIP, false),
        ("compress = {}", &both("Cache-Control: public, No-Transform\r\n"), 2_000, GZIP, false),
        ("compress = {}", &both("Set-Cookie: a=b\r\n"), 2_000, GZIP, false),
        ("compress = { with_credentials = true }", &both("Set-Cookie: a=b\r\n"), 2_000, GZIP, true),
        ("compress = {}", TEXT, 2_000, "Accept-Encoding: gzip\r\nCookie: a=b\r\n", false),
        ("compress = {}", TEXT, 2_000, "Accept-Encoding: gzip\r\nAuthorization: Basic eDp5\r\n", false),
        (
            "compress = { with_credentials = true }",
            TEXT,
            2_000,
            "Accept-Encoding: gzip\r\nCookie: a=b\r\n",
            true,
        ),
        ("compress = {}", TEXT, 2_000, "Accept-Encoding: br, GZip;q=0.5\r\n", true),
        ("compress = {}", TEXT, 2_000, "Accept-Encoding: br\r\nAccept-Encoding: x-gzip\r\n", true),
        ("compress = {}", TEXT, 2_000, "Accept-Encoding: *\r\n", true),
        ("compress = {}", TEXT, 2_000, "Accept-Encoding: *;q=0\r\n", false),
        ("compress = {}", TEXT, 2_000, "Accept-Encoding: *, gzip; q=0.000\r\n", false),
        ("compress = {}", TEXT, 2_000, "Accept-Encoding: identity, br\r\n", false),
        ("compress = {}", TEXT, 2_000, "Accept-Encoding: gzipped\r\n", false),
    ] {
        let upstream = Double::new(answer(answered, length));
        let gateway = gateway(&upstream, rest);
        let (head, body) = ask(&gateway, "GET", asked);
        let case = format!("{rest} {answered:?} {length} {asked:?}: {head}");
        assert_eq!(head.contains("content-encoding: gzip"), is_packed, "{case}");
        assert_eq!(body.len() == length, !is_packed, "{case}");
    }
    let upstream = Double::new(answer(TEXT, 2_000));
    let gateway = gateway(&upstream, "compress = {}\nauth = { key = { file = \"keys.toml\" } }");
    let (head, _) = ask(&gateway, "GET", "Accept-Encoding: gzip\r\nX-Api-Key: one\r\n");
    assert!(head.starts_with("http/1.1 200") && !head.contains("content-encoding"), "{head}");
}

#[test]
fn an_event_comes_out_before_the_next_goes_in() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (next, told) = std::sync::mpsc::channel::<()>();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        assert!(stream.read(&mut [0; 4_096]).unwrap() > 0);
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        for _ in 0..3 {
            stream.write_all(b"9\r\ndata: 1\n\n\r\n").unwrap();
            told.recv().unwrap();
        }
        stream.write_all(b"0\r\nX-Sum: 7\r\n\r\n").unwrap();
    });
    let api = format!(
        "[[api]]\nname = \"a\"\nlisten_path = \"/\"\nupstreams = [\"http://127.0.0.1:{port}\"]\ncompress = {{ types = [\"text/event-stream\"] }}\n"
    );
    let gateway = Gateway::start(&api);
    let mut client = gateway.connect().unwrap();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(client, "GET / HTTP/1.1\r\nHost: a\r\n{GZIP}\r\n").unwrap();
    let mut answer = Vec::new();
    let mut buffer = [0; 4_096];
    for event in 1..=3 {
        // Nothing more comes before this one is out and readable.
        while unpacked(&answer).matches("data: 1").count() < event {
            let read = client.read(&mut buffer).expect("the event in time");
            assert!(read > 0);
            answer.extend_from_slice(&buffer[..read]);
        }
        next.send(()).unwrap();
    }
    while !answer.ends_with(b"\r\nx-sum: 7\r\n\r\n") {
        let read = client.read(&mut buffer).expect("the end in time");
        assert!(read > 0, "{answer:?}");
        answer.extend_from_slice(&buffer[..read]);
    }
}

/// As far as it goes.
fn unpacked(answer: &[u8]) -> String {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { return String::new() };
    let (mut packed, mut rest) = (Vec::new(), &answer[end + 4..]);
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        let length = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        let Some(chunk) = rest.get(end + 2..end + 2 + length) else { break };
        packed.extend_from_slice(chunk);
        rest = rest.get(end + 4 + length..).unwrap_or_default();
    }
    let mut plain = Vec::new();
    // It is not whole yet.
    MultiGzDecoder::new(&packed[..]).read_to_end(&mut plain).map(drop).unwrap_or(());
    String::from_utf8(plain).unwrap()
}

#[test]
fn half_an_answer_stays_half() {
    let half = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5000\r\n\r\nhalf";
    let upstream = Double::new(Manner::AnswerAndClose(half));
    let gateway = gateway(&upstream, "compress = {}");
    let answer = gateway.ask(&format!("GET / HTTP/1.1\r\nHost: a\r\n{GZIP}\r\n"));
    assert!(answer.contains("content-encoding: gzip") && !answer.ends_with("0\r\n\r\n"), "{answer:?}");
}
