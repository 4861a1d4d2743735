//! Request targets (RFC 9112 section 3.2, RFC 3986).

use super::row::{check, forwarded, normal, refused};

fn request(line: &str) -> String {
    format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n")
}

#[test]
fn absolute_form_goes_before_host() {
    check(&[
        forwarded(normal("GET /x?y=1 HTTP/1.1"), "the same host", request("GET http://a/x?y=1")),
        forwarded(
            normal("GET /x HTTP/1.1").host("b"),
            "another host (9112 3.2.2)",
            request("GET http://b/x"),
        ),
        forwarded(normal("GET /x HTTP/1.1").host("b:81"), "another port", request("GET http://b:81/x")),
        forwarded(normal("GET / HTTP/1.1").host("b"), "no path", request("GET http://b")),
        forwarded(normal("GET /?y HTTP/1.1").host("b"), "a query and no path", request("GET http://b?y")),
        forwarded(normal("GET /x HTTP/1.1").host("b"), "the scheme in capitals", request("GET HTTP://b/x")),
        refused(400, "a host, and Host twice", "GET http://a/ HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
        refused(400, "a host, and no Host", "GET http://a/ HTTP/1.1\r\n\r\n"),
        refused(400, "a host, and a Host that is none", "GET http://a/ HTTP/1.1\r\nHost: u@a\r\n\r\n"),
    ]);
    let wrong = [
        "GET http://u@a/",
        "GET http://u:p@a/",
        "GET http:///x",
        "GET http://",
        "GET http:/x",
        "GET http:x",
        "GET http://a,b/",
        "GET http://a\\b/",
        "GET http://a:x/",
        "GET http://[::1/",
        "GET ://a/",
        "GET //",
        "GET ftp://a/",
        "GET file:///etc/passwd",
        "GET javascript://a/",
    ];
    // `//` is a path like any other.
    check(
        &wrong
            .iter()
            .filter(|line| **line != "GET //")
            .map(|line| refused(400, line, request(line)))
            .collect::<Vec<_>>(),
    );
    check(&[forwarded(normal("GET // HTTP/1.1"), "two slashes", request("GET //"))]);
}

#[test]
fn other_forms_are_refused() {
    check(&[
        refused(405, "CONNECT (9110 9.3.6)", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"),
        refused(405, "CONNECT without a port", "CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n"),
        refused(400, "a host and port for GET", request("GET a:80")),
        refused(400, "a host for GET", request("GET a.example")),
        refused(400, "a path without slash", request("GET x/y")),
        refused(400, "only a query", request("GET ?x")),
        refused(400, "an asterisk for GET (9112 3.2.4)", request("GET *")),
        refused(400, "an asterisk and more", request("OPTIONS *x")),
        refused(400, "an asterisk: there is no upstream of the whole server", request("OPTIONS *")),
        refused(400, "a path of CONNECT's kind", request("GET @b:80")),
    ]);
}

#[test]
fn a_target_has_the_bytes_of_a_uri() {
    let mut rows = Vec::new();
    for byte in (0..=32).chain(127..=u8::MAX).filter(|byte| !b"\n".contains(byte)) {
        for before in ["GET /", "GET /?"] {
            let sent = [before.as_bytes(), &[byte], b"x HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
            rows.push(refused(400, &format!("byte {byte:#x} behind {before}"), sent));
        }
    }
    for fragment in ["GET /#", "GET /a#b", "GET /?a#b", "GET /#?a"] {
        rows.push(refused(400, &format!("a fragment: {fragment}"), request(fragment)));
    }
    check(&rows);
}

#[test]
fn a_path_is_forwarded_as_it_came() {
    let lines = [
        "GET /%00 HTTP/1.1",
        "GET /%0d%0aX:%201 HTTP/1.1",
        "GET /%2e%2e/%2f HTTP/1.1",
        "GET /a/../b HTTP/1.1",
        "GET /a//b/ HTTP/1.1",
        "GET /a;b=c?d=e&f HTTP/1.1",
        "GET /?? HTTP/1.1",
        "GET /a?b=http://c/ HTTP/1.1",
        "GET /http://c/ HTTP/1.1",
    ];
    check(&lines.map(|text| forwarded(normal(text), text, format!("{text}\r\nHost: a\r\n\r\n"))));
}
