//! Transfer-Encoding, and both lengths at once (RFC 9112 sections 6.1 and 6.3).

use super::row::{check, forwarded, normal, refused};

const CHUNKED: &str = "5\r\nhello\r\n0\r\n\r\n";

fn post(fields: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n{CHUNKED}")
}

#[test]
fn a_name_that_only_looks_like_it_is_no_coding() {
    let length = "Content-Length: 15\r\n";
    for (what, name) in [
        ("a space before the colon (9112 5.1)", "Transfer-Encoding "),
        ("a tab before the colon", "Transfer-Encoding\t"),
        ("a space before the name", " Transfer-Encoding"),
        ("a NUL in the name", "Transfer\0-Encoding"),
        ("a CR before the name", "\rTransfer-Encoding"),
        ("a space in the name", "Transfer Encoding"),
        ("a byte beyond ASCII", "Transfer-Encoding\u{ff}"),
        ("quoted", "\"Transfer-Encoding\""),
        ("no colon", "Transfer-Encoding\r\nX"),
    ] {
        let fields = format!("X: 1\r\n{name}: chunked\r\n{length}");
        check(&[refused(400, what, post(&fields))]);
        let fields = format!("{length}{name}: chunked\r\n");
        check(&[refused(400, &format!("{what}, last"), post(&fields))]);
    }
    let underscore = forwarded(
        normal("POST / HTTP/1.1").field("transfer_encoding: chunked").length(CHUNKED),
        "an underscore: another field",
        post("Transfer_Encoding: chunked\r\nContent-Length: 15\r\n"),
    );
    check(&[underscore]);
}

#[test]
fn an_old_version_has_no_codings() {
    let old = |fields: &str| format!("POST / HTTP/1.0\r\nHost: a\r\n{fields}\r\n{CHUNKED}");
    check(&[
        refused(400, "chunked in HTTP/1.0 (9112 6.1)", old("Transfer-Encoding: chunked\r\n")),
        refused(400, "identity in HTTP/1.0", old("Transfer-Encoding: identity\r\n")),
        refused(400, "both in HTTP/1.0", old("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n")),
        refused(
            400,
            "chunked and kept alive in HTTP/1.0",
            old("Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n"),
        ),
    ]);
}
