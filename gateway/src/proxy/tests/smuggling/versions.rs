//! The request line around the target: methods and versions (RFC 9112 sections 2.3 and 3).

use super::row::{check, forwarded, normal, refused};

fn line(line: impl AsRef<[u8]>) -> Vec<u8> {
    [line.as_ref(), b"\r\nHost: a\r\n\r\n"].concat()
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
