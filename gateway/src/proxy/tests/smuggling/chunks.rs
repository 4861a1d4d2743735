//! Chunks (RFC 9112 section 7.1): the head is right, so the upstream may have begun to get it; it must
//! never get a whole request of what was broken.

use super::row::{Normal, check, forwarded, normal, torn};

fn post(chunks: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}")
}

fn chunked(body: &str) -> Normal {
    normal("POST / HTTP/1.1").chunked(body)
}

#[test]
fn a_broken_chunk_tears_the_request() {
    let rows = [
        ("a size of 17 digits", "10000000000000005\r\nhello\r\n0\r\n\r\n"),
        ("a size of 17 digits, most of them zeros", "00000000000000005\r\nhello\r\n0\r\n\r\n"),
        ("a size of 2 to the 64", "FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n"),
        ("a size that wraps 32 bits only in 64", "100000000000000000000000000000005\r\nhello\r\n0\r\n\r\n"),
        ("a minus", "-5\r\nhello\r\n0\r\n\r\n"),
        ("a plus", "+5\r\nhello\r\n0\r\n\r\n"),
        ("a prefix", "0x5\r\nhello\r\n0\r\n\r\n"),
        ("a space before", " 5\r\nhello\r\n0\r\n\r\n"),
        ("a tab before", "\t5\r\nhello\r\n0\r\n\r\n"),
        ("a space behind", "5 \r\nhello\r\n0\r\n\r\n"),
        ("a tab behind", "5\t\r\nhello\r\n0\r\n\r\n"),
        ("a space between", "5 5\r\nhello\r\n0\r\n\r\n"),
        ("no size", "\r\nhello\r\n0\r\n\r\n"),
        ("only an extension", ";a=b\r\nhello\r\n0\r\n\r\n"),
        ("no digit", "g\r\nhello\r\n0\r\n\r\n"),
        ("a digit, and none", "5g\r\nhello\r\n0\r\n\r\n"),
        ("quoted", "\"5\"\r\nhello\r\n0\r\n\r\n"),
        ("an underscore", "0_5\r\nhello\r\n0\r\n\r\n"),
        ("a NUL", "5\0\r\nhello\r\n0\r\n\r\n"),
        ("a bare LF behind the size", "5\nhello\r\n0\r\n\r\n"),
        ("a bare CR behind the size", "5\rhello\r\n0\r\n\r\n"),
        ("two CR behind the size", "5\r\r\nhello\r\n0\r\n\r\n"),
        ("a bare LF behind the data", "5\r\nhello\n0\r\n\r\n"),
        ("nothing behind the data", "5\r\nhello0\r\n\r\n"),
        ("other bytes behind the data", "5\r\nhelloXX0\r\n\r\n"),
        ("more data than the size", "5\r\nhello!\r\n0\r\n\r\n"),
        ("a bare LF behind the last size", "5\r\nhello\r\n0\n\r\n"),
        ("a bare LF at the end", "5\r\nhello\r\n0\r\n\n"),
        ("a bare CR at the end", "5\r\nhello\r\n0\r\n\rX"),
        ("a last chunk in words", "5\r\nhello\r\nzero\r\n\r\n"),
        ("a bare LF in an extension", "5;a\nb\r\nhello\r\n0\r\n\r\n"),
        ("a bare CR in an extension", "5;a\rb\r\nhello\r\n0\r\n\r\n"),
        ("a NUL in an extension", "5;a=\0\r\nhello\r\n0\r\n\r\n"),
    ]
    .map(|(what, chunks)| torn(400, what, post(chunks)));
    check(&rows);
}

#[test]
fn extensions_and_zeros_are_bounded() {
    let zeros = format!("{}5\r\nhello\r\n0\r\n\r\n", "0".repeat(100_000));
    let long = format!("5;a={}\r\nhello\r\n0\r\n\r\n", "x".repeat(100_000));
    let many = |bytes, n| format!("{}0\r\n\r\n", format!("1;a={}\r\nx\r\n", "x".repeat(bytes)).repeat(n));
    check(&[
        torn(400, "a size with 100,000 zeros", post(&zeros)),
        torn(400, "an extension of 100 kB", post(&long)),
        torn(400, "2 MB of extensions for 500 B of body", post(&many(4_000, 500))),
        torn(400, "20 kB of extensions, 10 B each", post(&many(7, 2_000))),
    ]);
}

#[test]
fn trailers_are_bounded_and_read_as_fields() {
    let trailers = |fields: &str| post(&format!("5\r\nhello\r\n0\r\n{fields}\r\n"));
    check(&[
        torn(400, "a space before the colon", trailers("X : 1\r\n")),
        torn(400, "a name with a space", trailers("GET /x HTTP/1.1\r\nHost: a\r\n")),
        torn(400, "no colon", trailers("X\r\n")),
        torn(400, "no name", trailers(": x\r\n")),
        torn(400, "folded", trailers("X: 1\r\n 2\r\n")),
        torn(400, "a bare LF", trailers("X: 1\nY: 1\r\n")),
        torn(400, "a bare CR", trailers("X: 1\rY: 1\r\n")),
        torn(400, "a NUL", trailers("X: \0\r\n")),
        torn(400, "20,000 fields", trailers(&"X: 1\r\n".repeat(20_000))),
        torn(400, "1 MB in one", trailers(&format!("X: {}\r\n", "x".repeat(1 << 20)))),
        torn(400, "101 fields", trailers(&"X: 1\r\n".repeat(101))),
    ]);
}

#[test]
fn a_trailer_never_becomes_a_header() {
    let trailers = |fields: &str| post(&format!("5\r\nhello\r\n0\r\n{fields}\r\n"));
    // RFC 9110 section 6.5.1: framing, routing, credentials and the like may not stand there.
    let forbidden = [
        "Content-Length: 50",
        "Transfer-Encoding: chunked",
        "Host: b",
        "Connection: close",
        "Authorization: Bearer x",
        "Cookie: a=b",
        "Content-Type: text/plain",
        "Trailer: X",
        "TE: trailers",
        "Upgrade: websocket",
        "Expect: 100-continue",
        "X-Forwarded-For: 6.6.6.6",
        "Forwarded: for=6.6.6.6",
        "X_Forwarded_For: 6.6.6.6",
        "X-Real-IP: 6.6.6.6",
        "Keep-Alive: timeout=5",
        "Proxy-Authorization: Basic x",
    ];
    let rows = forbidden.map(|field| {
        forwarded(chunked("hello"), &format!("trailer {field}"), trailers(&format!("{field}\r\n")))
    });
    check(&rows);
    let kept = chunked("hello").trailer("x-checksum: 7");
    let listed = post("5\r\nhello\r\n0\r\nX-Hop: 1\r\nX-Checksum: 7\r\n\r\n").replacen(
        ": a\r\n",
        ": a\r\nConnection: X-Hop\r\n",
        1,
    );
    check(&[forwarded(kept.clone(), "a trailer that Connection lists (9110 7.6.1)", listed)]);
    check(&[forwarded(kept, "a trailer", trailers("Host: b\r\nX-Checksum: 7\r\nContent-Length: 1\r\n"))]);
}

#[test]
fn chunks_are_forwarded_without_what_is_odd_about_them() {
    check(&[
        forwarded(chunked("hello"), "zeros before", post("00000005\r\nhello\r\n0\r\n\r\n")),
        forwarded(chunked("hello"), "zeros at the end", post("5\r\nhello\r\n0000\r\n\r\n")),
        forwarded(chunked("hello"), "two chunks", post("2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n")),
        forwarded(chunked("hello"), "an extension", post("5;a=b\r\nhello\r\n0\r\n\r\n")),
        forwarded(
            chunked("hello"),
            "an extension of blanks",
            post("5 ; a = \"b;c\"\r\nhello\r\n0;x\r\n\r\n"),
        ),
        forwarded(chunked("0123456789abcdefg"), "capitals", post("11\r\n0123456789abcdefg\r\n0\r\n\r\n")),
        forwarded(chunked("0123456789"), "hexadecimal", post("A\r\n0123456789\r\n0\r\n\r\n")),
        forwarded(chunked(""), "nothing", post("0\r\n\r\n")),
        forwarded(
            chunked("5\r\nhello\r\n0\r\n\r\n"),
            "chunks in one",
            post("f\r\n5\r\nhello\r\n0\r\n\r\n\r\n0\r\n\r\n"),
        ),
    ]);
}
