//! Transfer-Encoding, and both lengths at once (RFC 9112 sections 6.1 and 6.3).

use super::row::{check, forwarded, normal, refused};

const CHUNKED: &str = "5\r\nhello\r\n0\r\n\r\n";

fn post(fields: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n{CHUNKED}")
}

#[test]
fn both_lengths_are_refused_in_every_order_and_spelling() {
    let lengths = ["Content-Length: 5", "Content-Length: 0", "content-length:44", "Content-Length: 5, 5"];
    let codings = [
        "Transfer-Encoding: chunked",
        "transfer-encoding:chunked",
        "Transfer-Encoding: CHUNKED",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding:\tchunked",
        "Transfer-Encoding:",
    ];
    let mut rows = Vec::new();
    for length in lengths {
        for coding in codings {
            let (first, second) = (format!("{length}\r\n{coding}\r\n"), format!("{coding}\r\n{length}\r\n"));
            rows.push(refused(400, &format!("{length} before {coding}"), post(&first)));
            rows.push(refused(400, &format!("{coding} before {length}"), post(&second)));
        }
    }
    check(&rows);
}

#[test]
fn a_coding_that_does_not_end_in_one_chunked_is_refused() {
    let values = [
        "identity",
        "gzip",
        "xchunked",
        "chunkedx",
        "chunked, identity",
        "chunked, gzip",
        "chunked, chunked",
        "chunked,",
        "chunked;q=1",
        "chunked; q=1",
        "\"chunked\"",
        "'chunked'",
        "cow",
        "",
        "chunked chunked",
        "chun\tked",
        "\u{b}chunked",
        "\u{c}chunked",
        "chunked\u{b}",
        "\0chunked",
        "chunked\0",
        "\u{a0}chunked",
        "chu\u{212a}ked",
        "chunked\rX: 1",
    ];
    let rows = values.map(|value| {
        refused(400, &format!("coding {value:?}"), post(&format!("Transfer-Encoding: {value}\r\n")))
    });
    check(&rows);
}

#[test]
fn codings_on_two_lines_are_one_list() {
    let rows = [
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\n",
        "Transfer-Encoding: chunked\r\nX: 1\r\ntransfer-encoding: x\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding:\r\n",
    ]
    .map(|fields| refused(400, fields, post(fields)));
    check(&rows);
}

#[test]
fn a_coding_of_which_we_know_nothing_is_not_implemented() {
    let rows = ["gzip, chunked", "identity, chunked", "x, chunked"].map(|value| {
        refused(
            501,
            &format!("coding {value:?} (9112 6.1)"),
            post(&format!("Transfer-Encoding: {value}\r\n")),
        )
    });
    check(&rows);
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

#[test]
fn chunked_is_forwarded() {
    let chunked = || normal("POST / HTTP/1.1").chunked("hello");
    check(&[
        forwarded(chunked(), "plain", post("Transfer-Encoding: chunked\r\n")),
        forwarded(chunked(), "in capitals (9112 7)", post("TRANSFER-ENCODING: Chunked\r\n")),
        forwarded(chunked(), "blanks around", post("Transfer-Encoding:\t chunked \t\r\n")),
        forwarded(
            normal("GET / HTTP/1.1").chunked("hello"),
            "of a GET",
            format!("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{CHUNKED}"),
        ),
    ]);
}
