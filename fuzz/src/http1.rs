//! What holds for whatever comes over a connection of HTTP/1, from a client or from an upstream. The
//! parsers are not repeated here: what was read is compared with what is read otherwise cut, and with
//! what is read of the bytes that would be sent on.

use weir::proxy::reading::{HeadBounds, Read, Whose, read};

const WIDE: HeadBounds = HeadBounds { bytes: 1 << 20, fields: 10_000, target: 1 << 20 };
const TIGHT: HeadBounds = HeadBounds { bytes: 256, fields: 4, target: 32 };

/// Checks them all.
///
/// # Panics
/// When a law does not hold.
pub fn check(bytes: &[u8]) {
    for whose in [Whose::Client, Whose::Upstream] {
        for bounds in [WIDE, TIGHT] {
            let whole = read(whose, bounds, [bytes]);
            where_a_read_ends_changes_nothing(whose, bounds, bytes, &whole);
            what_is_sent_on_is_read_the_same(whose, &whole);
            lines_end_with_cr_lf(&whole.written);
        }
    }
}

fn where_a_read_ends_changes_nothing(whose: Whose, bounds: HeadBounds, bytes: &[u8], whole: &Read) {
    assert_eq!(&read(whose, bounds, bytes.chunks(1)), whole, "byte by byte");
    let cut = bytes.iter().map(|byte| usize::from(*byte)).sum::<usize>() % (bytes.len() + 1);
    let (before, behind) = bytes.split_at(cut);
    assert_eq!(&read(whose, bounds, [before, behind]), whole, "cut at {cut}");
}

/// The next one on the way finds the same messages, and nothing besides.
fn what_is_sent_on_is_read_the_same(whose: Whose, whole: &Read) {
    let again = read(whose, WIDE, [whole.written.as_slice()]);
    assert_eq!(again, Read { written: whole.written.clone(), refused: None, is_within: false });
}

/// In the first head at least, which ends with the first empty line; a body may hold anything.
fn lines_end_with_cr_lf(written: &[u8]) {
    let head = written.windows(4).position(|four| four == b"\r\n\r\n").map_or(0, |end| end + 4);
    for (at, byte) in written.iter().take(head).enumerate() {
        let next = written.get(at + 1);
        let before = at.checked_sub(1).and_then(|before| written.get(before));
        match byte {
            b'\r' => assert_eq!(next, Some(&b'\n'), "a bare CR"),
            b'\n' => assert_eq!(before, Some(&b'\r'), "a bare LF"),
            b'\t' => {}
            _ => assert!(*byte >= b' ' && *byte != 0x7f, "a control"),
        }
    }
}
