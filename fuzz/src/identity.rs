//! What holds for whatever says who a client is. The parsers are not repeated here: each law compares
//! their answers to bytes that differ in one known way.

use weir::proxy::hops::{Hop, Hops, List};
use weir::proxy::proxy_protocol::{HEADER_BYTES_MAX, parse};

/// Checks them all.
///
/// # Panics
/// When a law does not hold.
pub fn check(bytes: &[u8]) {
    a_cut_header_says_the_same_or_nothing(bytes);
    what_a_proxy_appends_is_found(&String::from_utf8_lossy(bytes));
}

fn a_cut_header_says_the_same_or_nothing(bytes: &[u8]) {
    let whole = parse(bytes);
    if let Ok(Some(header)) = whole {
        assert!(header.bytes <= bytes.len().min(HEADER_BYTES_MAX), "{header:?} of {} bytes", bytes.len());
        assert_eq!(parse(bytes.get(..header.bytes).unwrap_or_default()), whole, "no byte behind it counts");
    }
    assert!(whole != Ok(None) || bytes.len() < HEADER_BYTES_MAX, "no bound");
    for length in 0..bytes.len() {
        let cut = parse(bytes.get(..length).unwrap_or_default());
        assert!(cut == Ok(None) || cut == whole, "cut at {length}: {cut:?}, whole: {whole:?}");
    }
}

fn what_a_proxy_appends_is_found(text: &str) {
    let expected = Hop::Address([192, 0, 2, 1].into());
    for (list, appended) in [
        (List::XForwardedFor, "192.0.2.1"),
        (List::Forwarded, "for=192.0.2.1"),
        (List::Forwarded, "host=\"a,b\\\"c\";for=\"192.0.2.1:80\""),
    ] {
        let line = format!("{text}, {appended}");
        let mut hops = Hops::of(list, &line);
        assert_eq!(hops.next(), Some(expected), "{line:?}");
        let rest: Vec<_> = hops.collect();
        assert_eq!(rest, Hops::of(list, text).collect::<Vec<_>>(), "left of it: {text:?}");
        assert!(rest.len() <= text.len() + 1);
    }
}
