//! The request line around the target: methods and versions (RFC 9112 sections 2.3 and 3).

use super::row::{check, forwarded, normal, refused};

fn line(line: impl AsRef<[u8]>) -> Vec<u8> {
    [line.as_ref(), b"\r\nHost: a\r\n\r\n"].concat()
}

#[test]
fn a_version_is_http_1_0_or_1_1() {
    let none = [
        "GET /",
        "GET / ",
        "GET / HTTP",
        "GET / HTTP/0.9",
        "GET / HTTP/",
        "GET / HTTP/1",
        "GET / HTTP/1.",
        "GET / HTTP/.1",
        "GET / HTTP/11",
        "GET / HTTP/1.11",
        "GET / HTTP/01.1",
        "GET / HTTP/1.01",
        "GET / HTTP/1,1",
        "GET / HTTP/1.1x",
        "GET / HTTP/1.x",
        "GET / HTTP/-1.1",
        "GET / http/1.1",
        "GET / Http/1.1",
        "GET / HTTPS/1.1",
        "GET / HTTP /1.1",
        "GET / HTTP/ 1.1",
        "GET / \0HTTP/1.1",
        "GET / HTTP/1.1\0",
        "GET / XHTTP/1.1",
        "GET / RTSP/1.0",
        "GET / HTTP/1.1 HTTP/1.1",
        "GET HTTP/1.1",
        "GET",
        "/ HTTP/1.1",
    ];
    check(&none.map(|text| refused(400, text, line(text))));
    let others = ["GET / HTTP/1.2", "GET / HTTP/1.9", "GET / HTTP/2.0", "GET / HTTP/3.0", "GET / HTTP/9.9"];
    check(&others.map(|text| refused(505, text, line(text))));
}

#[test]
fn http_0_9_is_refused() {
    check(&[
        refused(400, "a request of HTTP/0.9", "GET /\r\n\r\n"),
        refused(400, "0.9 inside a target", "GET /a\nb HTTP/1.1\r\nHost: a\r\n\r\n"),
        refused(400, "0.9 inside a target, by CR", "GET /a\rb HTTP/1.1\r\nHost: a\r\n\r\n"),
        refused(400, "a TLS hello", b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n"),
        refused(400, "an SSH banner", "SSH-2.0-OpenSSH_9.2\r\n\r\n"),
        refused(
            400,
            "a PROXY line that nobody awaits",
            "PROXY TCP4 6.6.6.6 10.0.0.1 1 2\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        ),
        refused(505, "HTTP/2's preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        refused(400, "an answer", "HTTP/1.1 200 OK\r\nHost: a\r\n\r\n"),
    ]);
}

#[test]
fn blanks_in_a_request_line_are_one_space() {
    let rows = [
        " GET / HTTP/1.1",
        "\tGET / HTTP/1.1",
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET /\tHTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET / HTTP/1.1\t",
        "GET /a b HTTP/1.1",
        "GET\u{b}/ HTTP/1.1",
        "GET\u{c}/ HTTP/1.1",
        "GET \u{a0}/ HTTP/1.1",
    ];
    check(&rows.map(|text| refused(400, text, line(text))));
}

#[test]
fn a_method_is_a_token() {
    let mut rows = Vec::new();
    for byte in (0..=u8::MAX).filter(|byte| !byte.is_ascii_alphanumeric()) {
        if b"!#$%&'*+-.^_`|~ \r\n".contains(&byte) {
            continue;
        }
        let text = [b"G", [byte].as_slice(), b"T / HTTP/1.1"].concat();
        rows.push(refused(400, &format!("byte {byte:#x} in a method"), line(text)));
    }
    rows.push(refused(400, "no method", line(" / HTTP/1.1")));
    rows.push(forwarded(
        normal("get / HTTP/1.1"),
        "small letters are another method",
        line("get / HTTP/1.1"),
    ));
    rows.push(forwarded(normal("QUERY / HTTP/1.1"), "an unknown method", line("QUERY / HTTP/1.1")));
    check(&rows);
}
