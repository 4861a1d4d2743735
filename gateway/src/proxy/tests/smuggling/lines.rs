//! Lines, names and values: what ends a line, and what may stand in it (RFC 9112 sections 2.2 and 5,
//! RFC 9110 section 5).

use super::row::{check, forwarded, normal, refused};

fn get(fields: impl AsRef<[u8]>) -> Vec<u8> {
    [b"GET / HTTP/1.1\r\nHost: a\r\n", fields.as_ref(), b"\r\n"].concat()
}

#[test]
fn bare_ends_of_lines_are_refused() {
    check(&[
        refused(400, "bare LF everywhere", "GET / HTTP/1.1\nHost: a\n\n"),
        refused(400, "bare LF behind the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n"),
        refused(400, "bare LF behind a field", "GET / HTTP/1.1\r\nHost: a\nX: 1\r\n\r\n"),
        refused(400, "bare LF at the end", "GET / HTTP/1.1\r\nHost: a\r\n\n"),
        refused(400, "bare LF before the end", "GET / HTTP/1.1\r\nHost: a\n\r\n"),
        refused(400, "bare CR behind the request line", "GET / HTTP/1.1\rHost: a\r\n\r\n"),
        refused(400, "bare CR behind a field", "GET / HTTP/1.1\r\nHost: a\rX: 1\r\n\r\n"),
        refused(400, "bare CR at the end", "GET / HTTP/1.1\r\nHost: a\r\n\rX: 1\r\n\r\n"),
        refused(400, "CR CR LF", "GET / HTTP/1.1\r\r\nHost: a\r\n\r\n"),
        refused(400, "CR CR LF behind a field", "GET / HTTP/1.1\r\nHost: a\r\r\n\r\n"),
        refused(400, "a length behind a bare LF", get("X: 1\nContent-Length: 5\r\n")),
        refused(400, "a length behind a bare CR", get("X: 1\rContent-Length: 5\r\n")),
    ]);
}

#[test]
fn folds_and_blanks_are_refused() {
    check(&[
        refused(400, "a fold (9112 5.2)", get("X: 1\r\n 2\r\n")),
        refused(400, "a fold by a tab", get("X: 1\r\n\t2\r\n")),
        refused(400, "a fold of Host", "GET / HTTP/1.1\r\nHost:\r\n a\r\n\r\n"),
        refused(400, "a fold of Transfer-Encoding", get("Transfer-Encoding:\r\n chunked\r\n")),
        refused(400, "a fold of Content-Length", get("Content-Length:\r\n\t5\r\n")),
        refused(400, "a fold of nothing", get("X: 1\r\n \r\n")),
        refused(400, "a blank before the first field (9112 2.2)", "GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
        refused(400, "a tab before the first field", "GET / HTTP/1.1\r\n\tX: 1\r\nHost: a\r\n\r\n"),
        refused(400, "a blank line before the first field", "GET / HTTP/1.1\r\n \r\nHost: a\r\n\r\n"),
        refused(400, "a space before the colon (9112 5.1)", get("X : 1\r\n")),
        refused(400, "a tab before the colon", get("X\t: 1\r\n")),
        refused(400, "no colon", get("X\r\n")),
        refused(400, "no name", get(": 1\r\n")),
        refused(400, "only a colon", get(":\r\n")),
    ]);
}

#[test]
fn a_name_is_a_token() {
    let mut rows = Vec::new();
    for byte in (0..=u8::MAX).filter(|byte| !byte.is_ascii_alphanumeric()) {
        if b"!#$%&'*+-.^_`|~:\r\n".contains(&byte) {
            continue;
        }
        let field = [b"X", [byte].as_slice(), b"Y: 1\r\n"].concat();
        rows.push(refused(400, &format!("byte {byte:#x} in a name"), get(field)));
    }
    rows.push(forwarded(
        normal("GET / HTTP/1.1").field("x!#$%&'*+-.^_`|~9: 1"),
        "what a token may have (9110 5.6.2)",
        get("X!#$%&'*+-.^_`|~9: 1\r\n"),
    ));
    check(&rows);
}

#[test]
fn a_value_has_no_controls() {
    let mut rows = Vec::new();
    for byte in (0..=31).chain([127]).filter(|byte| !b"\t\r\n".contains(byte)) {
        let field = [b"X: a", [byte].as_slice(), b"b\r\n"].concat();
        rows.push(refused(400, &format!("byte {byte:#x} in a value (9110 5.5)"), get(field)));
    }
    rows.push(refused(400, "NUL at a value's end", get("X: a\0\r\n")));
    rows.push(refused(400, "NUL as a value", get("X: \0\r\n")));
    rows.push(forwarded(normal("GET / HTTP/1.1").field("x: a\tb"), "a tab inside", get("X: a\tb\r\n")));
    rows.push(forwarded(
        normal("GET / HTTP/1.1").field("x: \u{80}\u{e9}\u{ff}"),
        "bytes beyond ASCII are opaque (9110 5.5)",
        get(b"X: \x80\xe9\xff\r\n"),
    ));
    rows.push(forwarded(normal("GET / HTTP/1.1").field("x: "), "no value", get("X:\r\n")));
    rows.push(forwarded(normal("GET / HTTP/1.1").field("x: 1"), "blanks around", get("X: \t 1\t \r\n")));
    check(&rows);
}

#[test]
fn empty_lines_before_a_request_are_skipped() {
    check(&[
        forwarded(normal("GET / HTTP/1.1"), "one (9112 2.2)", [b"\r\n".to_vec(), get("")].concat()),
        forwarded(normal("GET / HTTP/1.1"), "four", [b"\r\n".repeat(4), get("")].concat()),
        refused(400, "five", [b"\r\n".repeat(5), get("")].concat()),
        refused(400, "a bare CR", [b"\r".to_vec(), get("")].concat()),
        refused(400, "a bare LF", [b"\n".to_vec(), get("")].concat()),
        refused(400, "an empty line and a blank", [b"\r\n ".to_vec(), get("")].concat()),
        forwarded(
            normal("POST / HTTP/1.1").length("hello"),
            "one behind a body",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello\r\n",
        ),
    ]);
}
