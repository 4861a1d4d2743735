//! Expect (RFC 9110 section 10.1.1): 100-continue is between the client and us; anything else nobody
//! here can meet, and a spelling of it that another might take for 100-continue least of all.

use super::row::{check, forwarded, normal, refused};

fn post(fields: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n{fields}\r\nhello")
}

#[test]
fn an_expectation_that_nobody_knows_is_refused() {
    let rows = [
        "Expect: 200-ok\r\n",
        "Expect: y 100-continue\r\n",
        "Expect: 100-continue, x\r\n",
        "Expect: 100-continue;q=1\r\n",
        "Expect: \"100-continue\"\r\n",
        "Expect: 100-continue\r\nExpect: x\r\n",
        "Expect: 100 continue\r\n",
        "Expect: 100\r\n",
        "Expect:\r\n",
    ]
    .map(|fields| refused(417, fields, post(fields)));
    check(&rows);
    check(&[
        refused(400, "a fold", post("Expect:\r\n 100-continue\r\n")),
        refused(400, "a space before the colon", post("Expect : 100-continue\r\n")),
        refused(400, "a NUL", post("Expect: 100-continue\0\r\n")),
    ]);
}

#[test]
fn continue_is_not_the_upstreams() {
    let kept = || normal("POST / HTTP/1.1").length("hello");
    check(&[
        forwarded(kept(), "with the body at once", post("Expect: 100-continue\r\n")),
        forwarded(kept(), "in capitals", post("EXPECT: 100-Continue\r\n")),
        forwarded(
            normal("GET / HTTP/1.1"),
            "without a body",
            "GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
        ),
        forwarded(
            normal("POST / HTTP/1.1").length("hello").closes(),
            "ignored in HTTP/1.0",
            "POST / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
        ),
        forwarded(
            normal("POST / HTTP/1.1").chunked("hello"),
            "with chunks",
            "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        ),
    ]);
}
