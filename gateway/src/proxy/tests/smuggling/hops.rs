//! What belongs to one hop (RFC 9110 sections 7.6 and 7.8) and what a stranger says about others.

use super::row::{Normal, check, forwarded, normal, refused};

fn get(fields: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
}

fn bare() -> Normal {
    normal("GET / HTTP/1.1")
}

#[test]
fn what_connection_lists_goes_no_further() {
    let rows = [
        "Connection: X-Hop\r\nX-Hop: 1\r\n",
        "X-Hop: 1\r\nConnection: X-Hop\r\n",
        "connection:x-HOP\r\nX-hop: 1\r\n",
        "Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\n",
        "Connection: ,, X-Hop ,\r\nX-Hop: 1\r\n",
        "Connection: keep-alive\r\nConnection: X-Hop\r\nX-Hop: 1\r\n",
        "Connection: X-Hop\r\nX-Hop: 1\r\nX-Hop: 2\r\n",
        "Connection: \u{e9}, X-Hop\r\nX-Hop: 1\r\n",
        "Connection: X-Hop, X-Other\r\nX-Hop: 1\r\nX-Other: 2\r\n",
        "Connection: X-Hop\r\nConnection: X-Other\r\nX-Hop: 1\r\nX-Other: 2\r\n",
        "Connection: Cookie\r\nCookie: a=b\r\n",
        "Connection: Authorization\r\nAuthorization: x\r\n",
        "Connection: Connection\r\n",
        "Connection: X-Forwarded-For\r\nX-Forwarded-For: 6.6.6.6\r\n",
        "Connection: X-Forwarded-Host, X-Forwarded-Proto\r\n",
        "Connection: Host\r\n",
        "Connection:\r\n",
        "Connection: TE\r\nTE: trailers\r\n",
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
    ]
    .map(|fields| forwarded(bare(), fields, get(fields)));
    check(&rows);
}

#[test]
fn a_body_keeps_its_length_whatever_connection_lists() {
    let post = |fields: &str, body: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}");
    check(&[
        forwarded(
            normal("POST / HTTP/1.1").length("hello"),
            "Connection: Content-Length",
            post("Connection: Content-Length\r\nContent-Length: 5\r\n", "hello"),
        ),
        forwarded(
            normal("POST / HTTP/1.1").length("hello"),
            "Connection: Transfer-Encoding, Content-Length",
            post("Content-Length: 5\r\nConnection: Transfer-Encoding, Content-Length\r\n", "hello"),
        ),
        forwarded(
            normal("POST / HTTP/1.1").chunked("hello"),
            "Connection: Transfer-Encoding",
            post(
                "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n",
                "5\r\nhello\r\n0\r\n\r\n",
            ),
        ),
    ]);
}

#[test]
fn hop_by_hop_fields_go_no_further_unlisted() {
    let rows = [
        "Keep-Alive: timeout=5\r\n",
        "Proxy-Connection: keep-alive\r\n",
        "TE: trailers\r\n",
        "TE: gzip, trailers\r\nTE: x\r\n",
        "Trailer: X\r\n",
        "Upgrade: h2c\r\n",
        "Proxy-Authorization: Basic x\r\n",
        "Proxy-Authenticate: Basic\r\n",
        "HTTP2-Settings: AAMAAABkAAQAAP__\r\n",
    ]
    .map(|fields| forwarded(bare(), fields, get(fields)));
    check(&rows);
}

#[test]
fn only_a_websocket_is_an_upgrade() {
    let socket = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";
    let kept =
        || bare().field("sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==").field("sec-websocket-version: 13");
    check(&[
        forwarded(bare(), "h2c", get("Connection: Upgrade\r\nUpgrade: h2c\r\n")),
        forwarded(bare(), "h2c of a list", get("Connection: Upgrade\r\nUpgrade: h2c, TLS/1.0\r\n")),
        forwarded(bare(), "TLS", get("Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n")),
        forwarded(bare(), "HTTP/2.0", get("Connection: Upgrade\r\nUpgrade: HTTP/2.0\r\n")),
        forwarded(bare(), "unknown", get("Connection: Upgrade\r\nUpgrade: foo\r\n")),
        forwarded(bare(), "nothing", get("Connection: Upgrade\r\n")),
        forwarded(
            kept(),
            "a websocket not in Connection (9110 7.8)",
            get(&format!("Upgrade: websocket\r\n{socket}")),
        ),
        forwarded(
            kept(),
            "a websocket, and Connection says another",
            get(&format!("Connection: keep-alive\r\nUpgrade: websocket\r\n{socket}")),
        ),
    ]);
}

#[test]
fn a_strangers_word_about_the_client_is_replaced() {
    let rows = [
        "X-Forwarded-For: 6.6.6.6\r\n",
        "X-Forwarded-For: 6.6.6.6, 7.7.7.7\r\nX-Forwarded-For: 8.8.8.8\r\n",
        "X-Forwarded-For: \u{e9}\r\n",
        "Forwarded: for=6.6.6.6;host=b;proto=https\r\n",
        "X-Forwarded-Host: b\r\n",
        "X-Forwarded-Host: b\r\nX-Forwarded-Host: c\r\n",
        "X-Forwarded-Proto: https\r\n",
        "X-Forwarded-Port: 443\r\n",
        "X-Forwarded-Prefix: /x\r\n",
        "X-Forwarded-Server: b\r\n",
        "X-Forwarded-Scheme: https\r\n",
        "X-Forwarded-Ssl: on\r\n",
        "X-Real-IP: 6.6.6.6\r\n",
        "X_Forwarded_For: 6.6.6.6\r\nX-Forwarded_Host: b\r\nx_real_ip: 6.6.6.6\r\n",
        "X-Original-URL: /deny\r\nX-Rewrite-URL: /deny\r\n",
    ]
    .map(|fields| forwarded(bare(), fields, get(fields)));
    check(&rows);
}

#[test]
fn the_old_version_is_forwarded_as_the_new() {
    check(&[
        forwarded(bare().closes(), "HTTP/1.0", "GET / HTTP/1.0\r\nHost: a\r\n\r\n"),
        forwarded(bare().closes(), "close", get("Connection: close\r\n")),
        forwarded(bare().closes(), "close among others", get("Connection: keep-alive, close\r\n")),
        forwarded(bare().closes(), "close on a second line", get("Connection: x\r\nConnection: Close\r\n")),
        forwarded(
            normal("POST / HTTP/1.1").length("hello").closes(),
            "a body in HTTP/1.0",
            "POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        ),
        refused(400, "a length that is none in HTTP/1.0", "POST / HTTP/1.0\r\nContent-Length: x\r\n\r\n"),
    ]);
}
