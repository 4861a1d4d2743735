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
