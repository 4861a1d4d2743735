use proptest::prelude::*;

use super::*;

const WIDE: HeadBounds = HeadBounds { bytes: 1 << 20, fields: 1_000, target: 1 << 20 };
const TIGHT: HeadBounds = HeadBounds { bytes: 256, fields: 4, target: 32 };

#[track_caller]
fn check(whose: Whose, bytes: &str, written: &str, refused: Option<&'static str>) {
    let read = read(whose, WIDE, [bytes.as_bytes()]);
    assert_eq!((String::from_utf8_lossy(&read.written).as_ref(), read.refused), (written, refused));
}

#[test]
fn messages_are_written_in_one_form() {
    check(
        Whose::Client,
        "\r\nPOST http://b/x?y HTTP/1.1\r\nX-A:1 \r\nCONTENT-LENGTH: 005\r\n\r\nhelloGET / HTTP/1.0\r\n\r\n",
        "POST /x?y HTTP/1.1\r\nx-a: 1\r\ncontent-length: 5\r\n\r\nhelloGET / HTTP/1.1\r\n\r\n",
        None,
    );
    check(
        Whose::Client,
        "GET / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n02;x\r\nhe\r\n3\r\nllo\r\n00\r\nX: 1\r\nHost: b\r\n\r\nx\n",
        "GET / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx: 1\r\n\r\n",
        Some("line_end"),
    );
    check(
        Whose::Upstream,
        "HTTP/1.0 200 Fine\r\nDate: x\r\n\r\nto the end",
        "HTTP/1.1 200 OK\r\ndate: x\r\ntransfer-encoding: chunked\r\n\r\na\r\nto the end\r\n0\r\n\r\n",
        None,
    );
    check(Whose::Client, "GET / HTTP/1.1\r\nX: 1\r\n", "", None);
}

/// The laws that the fuzz target checks too.
fn laws(whose: Whose, bounds: HeadBounds, bytes: &[u8], cut: usize) {
    let whole = read(whose, bounds, [bytes]);
    let (before, behind) = bytes.split_at(cut.min(bytes.len()));
    assert_eq!(read(whose, bounds, [before, behind]), whole, "cut at {cut}");
    assert_eq!(read(whose, bounds, bytes.chunks(1)), whole, "byte by byte");
    let again = read(whose, WIDE, [whole.written.as_slice()]);
    assert_eq!(again, Read { written: whole.written, refused: None, is_within: false });
}

proptest! {
    #[test]
    fn where_a_read_ends_changes_nothing_and_what_is_written_is_read_the_same(
        text in "((GET|POST|HTTP/1.1) (/|\\*|http://a|200|204|304)( HTTP/1.[01]| OK)\r\n((Host|X|Content-Length|Transfer-Encoding|Connection|Expect): ?(5|0|chunked|a|1, 2|close)\r\n){0,4}(\r\n(hello|5\r\nhello\r\n(0\r\n(X: 1\r\n)?\r\n)?)?)?){0,3}[ -~\r\n\0]{0,4}",
        cut in 0..300_usize,
    ) {
        for whose in [Whose::Client, Whose::Upstream] {
            for bounds in [WIDE, TIGHT] {
                laws(whose, bounds, text.as_bytes(), cut);
            }
        }
    }
}
