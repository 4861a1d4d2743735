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

proptest! {
    /// An answer whose fields are sent on is the one whose fields were read, framing and all.
    #[test]
    fn fields_that_nobody_reads_are_sent_on_as_if_somebody_did(
        fields in "((Host|X-A|DATE|Content-Length|Transfer-Encoding|Connection|Upgrade|x): ?(5|0|chunked|a|\t b|1, 2|close|keep-alive)\r\n){0,6}",
        status in prop::sample::select(vec![101, 103, 200, 204, 304, 404]),
    ) {
        let bytes = format!("HTTP/1.1 {status} OK\r\n{fields}\r\n");
        let answer = |fields| {
            let mut input = BytesMut::from(bytes.as_bytes());
            head::answer(&mut input, &mut Scan::default(), &WIDE, fields).map(Option::unwrap)
        };
        let (read, sent_on) = (answer(Fields::Read).unwrap(), answer(Fields::SentOn).unwrap());
        prop_assert_eq!(sent_on.marks, read.marks);
        let written = |answer: head::Answer| {
            let mut out = BytesMut::new();
            let head::Answer { head, lines, .. } = answer;
            let (head, ()) = head.into_parts();
            encode::answer_head(&mut out, &head, lines.as_ref(), Framing::None, Persistence::Keep, &Date::new());
            let text = String::from_utf8_lossy(&out).into_owned();
            let has_own_date = fields.contains("DATE");
            // The map has fields of one name together.
            let mut lines: Vec<_> = text.split("\r\n").filter(|line| has_own_date || !line.starts_with("date")).map(str::to_owned).collect();
            lines.sort();
            lines
        };
        let is_odd = read.marks.has_of_one_hop() || read.marks.has_odd_framing() || matches!(status, 101 | 103);
        prop_assert_eq!(sent_on.lines.is_none(), is_odd);
        prop_assert_eq!(written(sent_on), written(read));
    }
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
