//! Content-Length (RFC 9110 section 8.6, RFC 9112 section 6.2), alone.

use super::row::{check, forwarded, normal, refused};

fn post(fields: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}")
}

#[test]
fn a_length_that_is_none_is_refused() {
    let values = [
        ("", "empty"),
        ("+5", "plus"),
        ("-5", "minus"),
        ("0x5", "hexadecimal"),
        ("5,", "an open list"),
        (",5", "an open list"),
        ("5, 5", "a list of equals (9110 8.6)"),
        ("5,5", "a list of equals"),
        ("5, 6", "a list"),
        ("5 5", "two numbers"),
        ("5;", "a parameter"),
        ("5.0", "a fraction"),
        ("5e0", "an exponent"),
        ("\"5\"", "quoted"),
        ("5_0", "an underscore"),
        ("five", "a word"),
        ("5\u{b}", "a vertical tab"),
        ("18446744073709551616", "2 to the 64"),
        ("18446744073709551621", "2 to the 64, and 5"),
        ("99999999999999999999999999999999999999999", "41 digits"),
    ];
    let rows = values.map(|(value, what)| {
        refused(400, &format!("length {what}"), post(&format!("Content-Length: {value}\r\n"), "hello"))
    });
    check(&rows);
    let other_digits = post("Content-Length: \u{664}\r\n", "hello");
    check(&[refused(400, "an Arabic digit", other_digits)]);
}

#[test]
fn two_lengths_are_refused() {
    let rows = [
        ("equal (9110 8.6)", "Content-Length: 5\r\nContent-Length: 5\r\n"),
        ("equal, apart", "Content-Length: 5\r\nX: 1\r\nContent-Length: 5\r\n"),
        ("equal, spelt otherwise", "Content-Length: 5\r\ncontent-length: 05\r\n"),
        ("unequal (9112 6.3)", "Content-Length: 5\r\nContent-Length: 6\r\n"),
        ("unequal, the smaller last", "Content-Length: 5\r\nContent-Length: 0\r\n"),
        ("one empty", "Content-Length: 5\r\nContent-Length:\r\n"),
        ("three", "Content-Length: 5\r\nContent-Length: 5\r\nContent-Length: 5\r\n"),
    ]
    .map(|(what, fields)| refused(400, what, post(fields, "hello")));
    check(&rows);
}

#[test]
fn a_name_that_only_looks_like_it_is_no_length() {
    check(&[
        refused(400, "a space before the colon (9112 5.1)", post("Content-Length : 5\r\n", "hello")),
        refused(400, "a tab before the colon", post("Content-Length\t: 5\r\n", "hello")),
        refused(400, "a space before the name", post("X: 1\r\n Content-Length: 5\r\n", "hello")),
        refused(400, "a NUL in the name", post("Content-Length\0: 5\r\n", "hello")),
        refused(400, "a CR before the name", post("X: 1\r\n\rContent-Length: 5\r\n", "hello")),
        refused(400, "a letter beyond ASCII", post("Content-Length\u{e9}: 5\r\n", "hello")),
        forwarded(
            normal("POST / HTTP/1.1").field("content_length: 5").field("content-length: 0"),
            "an underscore: another field",
            post("Content_Length: 5\r\nContent-Length: 0\r\n", ""),
        ),
    ]);
}

#[test]
fn a_length_is_forwarded() {
    check(&[
        forwarded(normal("POST / HTTP/1.1").length("hello"), "plain", post("Content-Length: 5\r\n", "hello")),
        forwarded(
            normal("POST / HTTP/1.1").length("hello"),
            "no space, and the name in capitals (9110 5.1)",
            post("CONTENT-LENGTH:5\r\n", "hello"),
        ),
        forwarded(
            normal("POST / HTTP/1.1").length("hello"),
            "blanks around (9112 5.1)",
            post("Content-Length:\t  5 \t\r\n", "hello"),
        ),
        forwarded(
            normal("POST / HTTP/1.1").length("hello"),
            "zeros before",
            post("Content-Length: 00005\r\n", "hello"),
        ),
        forwarded(normal("POST / HTTP/1.1").length(""), "zero", post("Content-Length: 0\r\n", "")),
        forwarded(
            normal("GET / HTTP/1.1").length("hello"),
            "of a GET (9110 9.3.1)",
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        ),
        forwarded(
            normal("GET / HTTP/1.1").length("GET /x HTTP/1.1\r\n\r\n"),
            "a body that looks like a request",
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 19\r\n\r\nGET /x HTTP/1.1\r\n\r\n",
        ),
    ]);
}
