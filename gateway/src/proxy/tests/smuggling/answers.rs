//! The upstream's own nonsense: 502 where nothing was sent yet, else the client's connection is cut
//! before the answer could be taken for whole (RFC 9112 sections 4, 6.3 and 8).

use super::answer::{bad, check, cut, message, passed, passed_last};

const OK: &str = "HTTP/1.1 200 OK\r\n";

fn ok(fields: &str, body: &str) -> String {
    format!("{OK}{fields}\r\n{body}")
}

#[test]
fn a_status_line_that_is_none_is_a_bad_gateway() {
    let lines = [
        "SSH-2.0-OpenSSH_9.2",
        "220 mail.example ESMTP",
        "<html>hello</html>",
        "{\"ok\":true}",
        "ICY 200 OK",
        "http/1.1 200 OK",
        "HTTP/1.1",
        "HTTP/1.1 ",
        "HTTP/1.1 OK",
        "HTTP/1.1 20 OK",
        "HTTP/1.1 2000 OK",
        "HTTP/1.1 +20 OK",
        "HTTP/1.1 0x9 OK",
        "HTTP/1.1 099 OK",
        "HTTP/1.1 000 OK",
        "HTTP/1.1  200 OK",
        "HTTP/1.1\t200 OK",
        " HTTP/1.1 200 OK",
        "HTTP/1.1 200OK",
        "HTTP/0.9 200 OK",
        "HTTP/2.0 200 OK",
        "HTTP/1.11 200 OK",
        "HTTP/1 200 OK",
        "XHTTP/1.1 200 OK",
        "HTTP/1.1 200 O\0K",
        "HTTP/1.1 200 O\u{7f}K",
        "HTTP/1.1 200 O\rK",
        "GET / HTTP/1.1",
    ];
    let rows = lines.map(|line| bad(line, format!("{line}\r\nContent-Length: 2\r\n\r\nup")).closes());
    check(&rows);
    check(&[
        bad("nothing at all", "").closes(),
        bad("half a status line", "HTTP/1.1 20").closes(),
        bad("half a head", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n").closes(),
        bad("only an empty line", "\r\n\r\n").closes(),
    ]);
}

#[test]
fn fields_that_are_none_are_a_bad_gateway() {
    let fields = [
        ("a NUL in a value", "X: a\0b\r\n"),
        ("a control in a value", "X: a\u{1}b\r\n"),
        ("DEL in a value", "X: a\u{7f}b\r\n"),
        ("a bare CR in a value", "X: a\rSet-Cookie: b\r\n"),
        ("a bare CR at a value's end", "X: a\r\r\n"),
        ("a NUL in a name", "X\0: a\r\n"),
        ("a space in a name", "X Y: a\r\n"),
        ("a byte beyond ASCII in a name", "X\u{e9}: a\r\n"),
        ("no colon", "X\r\n"),
        ("no name", ": a\r\n"),
        ("folded (9112 5.2)", "X: a\r\n b\r\n"),
        ("folded by a tab", "X: a\r\n\tb\r\n"),
        ("a blank before the first (9112 2.2)", " X: a\r\n"),
        ("a space before the colon", "X : a\r\n"),
    ];
    let rows = fields.map(|(what, fields)| bad(what, ok(&format!("{fields}Content-Length: 2\r\n"), "up")));
    check(&rows);
    check(&[
        bad("1 MB in one", ok(&format!("X: {}\r\nContent-Length: 2\r\n", "x".repeat(1 << 20)), "up")),
        bad("100,000 fields", ok(&format!("{}Content-Length: 2\r\n", "X: 1\r\n".repeat(100_000)), "up")),
        bad("1 MB of status line", format!("HTTP/1.1 200 {}\r\n\r\n", "x".repeat(1 << 20))),
        bad("1 MB without a line's end", "x".repeat(1 << 20)),
    ]);
}

#[test]
fn lengths_that_disagree_are_a_bad_gateway() {
    let fields = [
        "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n",
        "Content-Length: 2\r\nContent-Length: 3\r\n",
        "Content-Length: 2, 3\r\n",
        "Content-Length: 2, 2\r\n",
        "Content-Length: 2\r\nContent-Length: 2\r\n",
        "Content-Length: x\r\n",
        "Content-Length:\r\n",
        "Content-Length: -2\r\n",
        "Content-Length: +2\r\n",
        "Content-Length: 0x2\r\n",
        "Content-Length: 2 2\r\n",
        "Content-Length: 18446744073709551618\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked, gzip\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding:\r\n",
    ];
    let rows = fields.map(|fields| bad(fields, ok(fields, "2\r\nup\r\n0\r\n\r\n")).closes());
    check(&rows);
    check(&[bad(
        "chunked in HTTP/1.0 (9112 6.1)",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nup\r\n0\r\n\r\n",
    )
    .closes()]);
}

#[test]
fn a_body_that_breaks_cuts_the_connection() {
    let chunked = |chunks: &str| ok("Transfer-Encoding: chunked\r\n", chunks);
    check(&[
        cut("half a length", ok("Content-Length: 10\r\n", "half")).closes(),
        cut("nothing of a length", ok("Content-Length: 10\r\n", "")).closes(),
        cut("chunks without a last", chunked("4\r\nhalf\r\n")).closes(),
        cut("half a chunk", chunked("8\r\nhalf")).closes(),
        cut("half a size", chunked("4\r\nhalf\r\n4")).closes(),
        cut("a last chunk without its end", chunked("4\r\nhalf\r\n0\r\n")).closes(),
        cut("a trailer without its end", chunked("4\r\nhalf\r\n0\r\nX: 1\r\n")).closes(),
        cut("a size that is none", chunked("4\r\nhalf\r\nzz\r\nup\r\n0\r\n\r\n")),
        cut("a negative size", chunked("4\r\nhalf\r\n-2\r\nup\r\n0\r\n\r\n")),
        cut("a size of 17 digits", chunked("4\r\nhalf\r\n10000000000000002\r\nup\r\n0\r\n\r\n")),
        cut("a prefix", chunked("4\r\nhalf\r\n0x2\r\nup\r\n0\r\n\r\n")),
        cut("nothing behind the data", chunked("4\r\nhalf0\r\n\r\n")),
        cut("more data than the size", chunked("4\r\nhalf!\r\n0\r\n\r\n")),
        cut("a bare LF behind a size", chunked("4\r\nhalf\r\n2\nup\r\n0\r\n\r\n")),
        cut("a bare LF behind the data", chunked("4\r\nhalf\n0\r\n\r\n")),
        cut("no size", chunked("4\r\nhalf\r\n\r\nup\r\n0\r\n\r\n")),
        cut(
            "2 MB of extensions",
            chunked(&format!("{}0\r\n\r\n", format!("1;{}\r\nx\r\n", "x".repeat(4_000)).repeat(500))),
        ),
        cut(
            "20 kB of extensions, 10 B each",
            chunked(&format!("{}0\r\n\r\n", "1;a=xxxxxxx\r\nx\r\n".repeat(2_000))),
        ),
        cut("20,000 trailers", chunked(&format!("4\r\nhalf\r\n0\r\n{}\r\n", "X: 1\r\n".repeat(20_000)))),
        cut("1 MB of trailer", chunked(&format!("4\r\nhalf\r\n0\r\nX: {}\r\n\r\n", "x".repeat(1 << 20)))),
        cut("a trailer that is none", chunked("4\r\nhalf\r\n0\r\nX Y\r\n\r\n")),
    ]);
}

#[test]
fn interim_answers_are_bounded_and_no_switch_comes_unasked() {
    let early = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let go_on = "HTTP/1.1 100 Continue\r\n\r\n";
    let end = ok("Content-Length: 2\r\n", "up");
    let up = || message("HTTP/1.1 200 OK", &["content-length: 2"], "up");
    check(&[
        passed(up(), "a few", format!("{}{end}", early.repeat(5))),
        passed(up(), "100 Continue that nobody asked for", format!("{go_on}{end}")),
        bad("1,000 Early Hints", format!("{}{end}", early.repeat(1_000))),
        bad("100,000 Continues", format!("{}{end}", go_on.repeat(100_000))),
        bad(
            "a switch unasked (9110 15.2.2)",
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nbytes",
        ),
        bad("a switch without Upgrade", "HTTP/1.1 101 Switching Protocols\r\n\r\n"),
        bad("an interim answer, then nothing", early).closes(),
        bad("an interim answer, then nonsense", format!("{early}SSH-2.0\r\n\r\n")).closes(),
    ]);
}

#[test]
fn bytes_behind_an_answer_are_nobodys() {
    let up = || message("HTTP/1.1 200 OK", &["content-length: 2"], "up");
    let poison = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
    let head = || message("HTTP/1.1 200 OK", &["content-length: 2"], "");
    check(&[
        passed_last(up(), "another answer", format!("{}{poison}", ok("Content-Length: 2\r\n", "up"))),
        passed_last(up(), "more body than its length", ok("Content-Length: 2\r\n", "upper")),
        passed_last(up(), "an empty line", ok("Content-Length: 2\r\n", "up\r\n")),
        passed_last(up(), "another answer, later", ok("Content-Length: 2\r\n", "up"))
            .late(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"),
        passed_last(head(), "a body for HEAD (9112 6.3)", ok("Content-Length: 2\r\n", "up"))
            .asked("HEAD /first HTTP/1.1"),
        passed_last(
            head(),
            "another answer for HEAD",
            format!("{}{poison}", ok("Content-Length: 2\r\n", "")),
        )
        .asked("HEAD /first HTTP/1.1"),
        passed_last(
            message("HTTP/1.1 204 No Content", &[], ""),
            "a body for 204",
            "HTTP/1.1 204 No Content\r\n\r\nbody",
        ),
        passed_last(
            message("HTTP/1.1 304 Not Modified", &["content-length: 4"], ""),
            "a body for 304",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\nbody",
        ),
        passed_last(
            message("HTTP/1.1 200 OK", &["transfer-encoding: chunked"], "up"),
            "another answer behind chunks",
            format!("{}{poison}", ok("Transfer-Encoding: chunked\r\n", "2\r\nup\r\n0\r\n\r\n")),
        ),
    ]);
}

#[test]
fn answers_are_passed_on_in_one_form() {
    let up = || message("HTTP/1.1 200 OK", &["content-length: 2"], "up");
    let chunked = || message("HTTP/1.1 200 OK", &["transfer-encoding: chunked"], "up");
    check(&[
        passed(up(), "a length", ok("Content-Length: 2\r\n", "up")),
        passed(up(), "blanks around", ok("content-length:\t 2 \t\r\n", "up")),
        passed(chunked(), "chunks", ok("Transfer-Encoding: chunked\r\n", "2\r\nup\r\n0\r\n\r\n")),
        passed(
            chunked(),
            "chunks with extensions",
            ok("Transfer-Encoding: Chunked\r\n", "002;a=b\r\nup\r\n0;c\r\n\r\n"),
        ),
        passed_last(chunked(), "to the end (9112 6.3)", ok("", "up")).closes(),
        passed_last(up(), "close", ok("Connection: close\r\nContent-Length: 2\r\n", "up")),
        passed_last(up(), "HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nup").closes(),
        passed(message("HTTP/1.1 204 No Content", &[], ""), "204", "HTTP/1.1 204 No Content\r\n\r\n"),
        passed(
            message("HTTP/1.1 304 Not Modified", &["content-length: 4", "etag: \"x\""], ""),
            "304 with a length (9110 8.6)",
            "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 4\r\n\r\n",
        ),
        passed(
            message("HTTP/1.1 200 OK", &["content-length: 2"], ""),
            "HEAD with a length",
            ok("Content-Length: 2\r\n", ""),
        )
        .asked("HEAD /first HTTP/1.1"),
        passed(
            message("HTTP/1.1 200 OK", &[], "up"),
            "chunks for HTTP/1.0 (9112 6.1)",
            ok("Transfer-Encoding: chunked\r\n", "2\r\nup\r\n0\r\n\r\n"),
        )
        .asked("GET /first HTTP/1.0"),
    ]);
}

#[test]
fn what_belongs_to_the_upstreams_hop_goes_no_further() {
    let up = |kept: &[&str]| {
        let mut fields = vec!["content-length: 2"];
        fields.extend(kept);
        message("HTTP/1.1 200 OK", &fields, "up")
    };
    let fields = [
        "Connection: X-Hop\r\nX-Hop: 1\r\n",
        "X-Hop: 1\r\nX-Hop: 2\r\nConnection: keep-alive, x-HOP\r\n",
        "Connection: keep-alive\r\nConnection: X-Hop\r\nX-Hop: 1\r\n",
        "Connection: Content-Length\r\n",
        "Keep-Alive: timeout=5\r\n",
        "Proxy-Connection: close\r\n",
        "Upgrade: h2c\r\n",
        "Connection: upgrade\r\nUpgrade: websocket, h2c\r\n",
        "TE: trailers\r\n",
        "Trailer: X\r\n",
        "Proxy-Authenticate: Basic\r\n",
    ];
    let rows =
        fields.map(|fields| passed(up(&[]), fields, ok(&format!("{fields}Content-Length: 2\r\n"), "up")));
    check(&rows);
    check(&[
        passed(
            up(&["x-kept: 1"]),
            "a name that is listed nowhere",
            ok("Connection: X-Hop\r\nX-Kept: 1\r\nContent-Length: 2\r\n", "up"),
        ),
        passed(
            message("HTTP/1.1 200 OK", &["transfer-encoding: chunked"], "up"),
            "Connection: Transfer-Encoding",
            ok("Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n", "2\r\nup\r\n0\r\n\r\n"),
        ),
    ]);
}
