//! Heads beyond every bound: refused with the code that says which, and never sent on.

use super::row::{check, refused};

#[test]
fn heads_are_bounded() {
    let head = |line: &str, fields: &str| format!("{line}\r\nHost: a\r\n{fields}\r\n");
    let big = "x".repeat(1 << 20);
    check(&[
        refused(431, "a field of 1 MB", head("GET / HTTP/1.1", &format!("X: {big}\r\n"))),
        refused(431, "a field of 100 kB", head("GET / HTTP/1.1", &format!("X: {}\r\n", &big[..100_000]))),
        refused(431, "a name of 1 MB", head("GET / HTTP/1.1", &format!("{big}: 1\r\n"))),
        refused(431, "100,000 fields", head("GET / HTTP/1.1", &"X: 1\r\n".repeat(100_000))),
        refused(431, "101 fields", head("GET / HTTP/1.1", &"X: 1\r\n".repeat(100))),
        refused(414, "a URI of 1 MB", head(&format!("GET /{big} HTTP/1.1"), "")),
        refused(414, "a URI of 20 kB", head(&format!("GET /{} HTTP/1.1", &big[..20_000]), "")),
        refused(414, "a query of 70 kB", head(&format!("GET /?{} HTTP/1.1", &big[..70_000]), "")),
        refused(414, "an absolute URI of 1 MB", head(&format!("GET http://a/{big} HTTP/1.1"), "")),
        refused(400, "a method of 64 kB", head(&format!("{} / HTTP/1.1", &big[..65_536]), "")),
        refused(400, "a method of 1 MB", head(&format!("{big} / HTTP/1.1"), "")),
        refused(400, "a Host of 10 kB", format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", &big[..10_000])),
        refused(400, "1 MB without a line's end", &big),
        refused(400, "1 MB of empty lines", "\r\n".repeat(1 << 19)),
    ]);
}
