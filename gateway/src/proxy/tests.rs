//! The data side through its boundary: raw bytes in, raw bytes out, a recording upstream behind it.

mod access_log;
mod auth;
mod compress;
mod double;
mod gone;
mod harness;

mod shaping;
mod slow;
mod upstreams;

mod proxied;

mod smuggling;

mod upstreams_http2;

mod websocket;

mod websocket_http2;

mod trail;

mod total;

use std::time::Duration;

use self::harness::{Gateway, Upstream};

const GET: &str = "GET /a HTTP/1.1\r\nHost: a.example\r\n\r\n";

#[test]
fn requests_are_dispatched_and_answered() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nup");
    let gateway = Gateway::start(&format!(
        "{}{}{}",
        respond("root", "/", "root"),
        respond("deny", "/deny/", "denied"),
        forward("stripped", "/s/", upstream.port, "strip_listen_path = true")
    ));
    for (target, body) in [
        ("/", "root"),
        ("/x?y=/deny/", "root"),
        ("/deny", "denied"),
        ("/deny/", "denied"),
        ("/x/../deny/", "denied"),
        ("/%64eny/", "denied"),
        ("//deny/", "denied"),
        ("/s/path?q=1", "up"),
        ("/s", "up"),
    ] {
        let answer = gateway.ask(&format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with(body), "{target}: {answer}");
    }
    let heads = upstream.heads();
    assert!(heads[0].starts_with("GET /path?q=1 HTTP/1.1\r\n"), "{heads:?}");
    assert!(heads[1].starts_with("GET / HTTP/1.1\r\n"), "{heads:?}");
}

#[test]
fn what_belongs_to_one_hop_stays_there() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nConnection: X-Secret, keep-alive\r\nX-Secret: 1\r\nKeep-Alive: timeout=5\r\nUpgrade: h2c\r\nX-Kept: 1\r\nContent-Length: 0\r\n\r\n",
    );
    let gateway = Gateway::start(&forward("a", "/", upstream.port, ""));
    let answer = gateway.ask(
        "GET /a HTTP/1.1\r\nHost: a.example\r\nConnection: close, X-Hop\r\nConnection: X-Other\r\nX-Hop: 1\r\nX-Other: 1\r\nTE: gzip\r\nUpgrade: h2c\r\nProxy-Connection: x\r\nX-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX-End: 1\r\n\r\n",
    );
    let lower = answer.to_ascii_lowercase();
    for gone in ["x-secret", "keep-alive", "upgrade"] {
        assert!(!lower.contains(gone), "{gone} in {answer}");
    }
    assert!(lower.contains("x-kept: 1"), "{answer}");
    let head = upstream.heads().remove(0).to_ascii_lowercase();
    for gone in
        ["x-hop", "x-other", "te:", "upgrade", "proxy-connection", "connection:", "6.6.6.6", "\r\nforwarded"]
    {
        assert!(!head.contains(gone), "{gone} in {head}");
    }
    let host = format!("host: 127.0.0.1:{}\r\n", upstream.port);
    for kept in [
        "x-end: 1",
        "x-forwarded-for: 127.0.0.1\r\n",
        "x-forwarded-host: a.example",
        "x-forwarded-proto: http",
        &host,
    ] {
        assert!(head.contains(kept), "{kept} not in {head}");
    }
}

#[test]
fn malformed_requests_get_400_and_a_closed_connection() {
    let gateway = Gateway::start(&respond("root", "/", "root"));
    for request in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a,b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a?x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a#x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a/x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\\b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
        "SSH-2.0-nonsense\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}nonsense\r\n\r\n",
        "GET /\r\n\r\n",
    ] {
        let answer = gateway.ask(request);
        assert!(
            answer.starts_with("HTTP/1.1 400 ") || answer.starts_with("HTTP/1.0 400 "),
            "{request:?}: {answer:?}"
        );
    }
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(20_000));
    assert!(gateway.ask(&long).starts_with("HTTP/1.1 414 "));
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: 1\r\n".repeat(200));
    assert!(gateway.ask(&many).starts_with("HTTP/1.1 431 "));
    assert!(gateway.ask("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n").starts_with("HTTP/1.1 405 "));
    // RFC 9112 section 2.3: the answer's version is ours.
    assert!(gateway.ask("GET / HTTP/1.0\r\n\r\n").starts_with("HTTP/1.1 200 "));
}

#[test]
fn a_client_over_its_limit_gets_429_and_then_is_shed() {
    let limits = "[limit.client]\nrequests = { rate = \"1/min\", burst = 3 }\nshed_after = { refused = 2, within = \"10s\" }\nshed = [\"7s\"]\n";
    let gateway = Gateway::start(&format!("{limits}{}", respond("root", "/", "root")));
    for _ in 0..3 {
        assert!(gateway.ask_once().starts_with("HTTP/1.1 200 "));
    }
    let refused = gateway.ask_once().to_ascii_lowercase();
    for part in [
        "http/1.1 429 ",
        "\r\nretry-after: 60\r\n",
        "\r\nratelimit-policy: \"client\";q=3;w=180\r\n",
        "\r\nratelimit: \"client\";r=0;t=60\r\n",
        "\r\ncontent-type: application/problem+json\r\n",
        "\"status\":429",
    ] {
        assert!(refused.contains(part), "{part:?} not in {refused}");
    }
    let shed = gateway.ask_once().to_ascii_lowercase();
    assert!(shed.contains("\r\nretry-after: 7\r\n"), "{shed}");
    let offender = gateway.offender();
    assert_eq!((offender.level, offender.length), (0, Duration::from_secs(7)));
    gateway.ban(&offender);
    assert_eq!(gateway.ask_once(), "", "a banned client's connection is closed at accept");
}

#[test]
fn malformed_heads_are_charged_too() {
    let limits = "[limit.client]\nrequests = { rate = \"1/min\", burst = 2 }\n";
    let gateway = Gateway::start(&format!("{limits}{}", respond("root", "/", "root")));
    gateway.ask("nonsense\r\n\r\n");
    gateway.ask("GET / HTTP/1.1\r\nHost: a,b\r\n\r\n");
    gateway.until("the second charge", || gateway.ask_once().starts_with("HTTP/1.1 429 "));
}

#[test]
fn a_key_opens_its_api_and_is_limited_beside_the_client() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let api = forward(
        "keyed",
        "/",
        upstream.port,
        "auth = { key = { file = \"keys.toml\" } }\nlimits = [{ key = \"credential\", rate = \"1/min\", burst = 2 }, { key = \"api\", rate = \"2/min\", burst = 5 }]",
    );
    let gateway = Gateway::start(&api);
    let ask = |header: &str| {
        gateway.ask(&format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{header}\r\n"))
    };
    for header in ["", "X-Api-Key: wrong\r\n", "Authorization: Basic good\r\n"] {
        let answer = ask(header).to_ascii_lowercase();
        assert!(
            answer.starts_with("http/1.1 401 ") && answer.contains("www-authenticate: bearer"),
            "{header}: {answer}"
        );
    }
    for header in ["Authorization: Bearer one\r\n", "Authorization: one\r\n", "X-Api-Key: two\r\n"] {
        assert!(ask(header).starts_with("HTTP/1.1 200 "), "{header}");
    }
    assert!(upstream.heads().iter().all(|head| !head.contains("one") && !head.contains("two")));
    let refused = ask("X-Api-Key: one\r\n");
    assert!(refused.contains("\"keyed.credential\""), "{refused}");
    assert!(ask("X-Api-Key: two\r\n").starts_with("HTTP/1.1 200 "), "another credential has its own");
    // The API's own limit has one left; the credential's refuses for longer and answers.
    assert!(ask("X-Api-Key: two\r\n").contains("\"keyed.credential\""));
}

#[test]
fn an_upstream_that_fails_gives_502_or_504() {
    let times = "[timeouts]\nupstream_connect = \"300ms\"\nupstream_response_head = \"300ms\"\n";
    for (answer, expected) in [
        ("", "HTTP/1.1 502 "),
        ("SSH-2.0-nonsense\r\n", "HTTP/1.1 502 "),
        ("HTTP/1.1 200 OK\r\nX: \0\r\n\r\n", "HTTP/1.1 502 "),
        ("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "HTTP/1.1 502 "),
        ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "HTTP/1.1 502 "),
    ] {
        let upstream = Upstream::answering_and_closing(answer);
        let gateway = Gateway::start(&format!("{times}{}", forward("a", "/", upstream.port, "")));
        let got = gateway.ask_once();
        assert!(got.starts_with(expected), "{answer:?}: {got}");
    }
    let silent = Upstream::silent();
    let gateway = Gateway::start(&format!("{times}{}", forward("a", "/", silent.port, "")));
    assert!(gateway.ask_once().starts_with("HTTP/1.1 504 "));
    let gateway = Gateway::start(&format!("{times}{}", forward("a", "/", harness::free_port(), "")));
    assert!(gateway.ask_once().starts_with("HTTP/1.1 502 "), "nobody listens");
}

#[test]
fn half_an_answer_is_never_taken_for_a_whole_one() {
    for half in [
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n",
    ] {
        let upstream = Upstream::answering_and_closing(half);
        let gateway = Gateway::start(&forward("a", "/", upstream.port, ""));
        let answer = gateway.ask(GET);
        assert!(answer.contains("half") && !answer.ends_with("0\r\n\r\n"), "{half:?}: {answer:?}");
    }
}

#[test]
fn bodies_stream_and_are_bounded() {
    let upstream = Upstream::echoing_length();
    let gateway = Gateway::start(&format!(
        "[bounds]\nbody_bytes = \"64KiB\"\n{}",
        forward("a", "/", upstream.port, "")
    ));
    let body = "x".repeat(60_000);
    let post = |framing: &str, body: &str| {
        gateway.ask(&format!("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{framing}\r\n{body}"))
    };
    assert!(post("Content-Length: 60000\r\n", &body).ends_with("60000"));
    let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    assert!(post("Transfer-Encoding: chunked\r\n", &chunked).ends_with("60000"));
    assert!(post("Content-Length: 70000\r\n", &body).starts_with("HTTP/1.1 413 "));
    let long = "x".repeat(70_000);
    let chunked = format!("{:x}\r\n{long}\r\n0\r\n\r\n", long.len());
    let cut = post("Transfer-Encoding: chunked\r\n", &chunked);
    assert!(!cut.starts_with("HTTP/1.1 200 "), "{cut}");
}

#[test]
fn connections_to_upstreams_are_kept_and_a_stale_one_is_replaced() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let gateway = Gateway::start(&forward("a", "/", upstream.port, ""));
    let pipelined =
        gateway.ask(&format!("{GET}{GET}GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
    assert_eq!(pipelined.matches("HTTP/1.1 200 OK").count(), 3, "{pipelined}");
    assert_eq!(upstream.connections(), 1);
    let closing = Upstream::closing_after_each("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let gateway = Gateway::start(&forward("a", "/", closing.port, ""));
    for _ in 0..20 {
        assert!(gateway.ask_once().starts_with("HTTP/1.1 200 "));
    }
}

#[test]
fn slow_heads_and_idle_connections_are_closed() {
    let times = "[timeouts]\nrequest_head = \"200ms\"\nkeep_alive = \"300ms\"\n";
    let gateway = Gateway::start(&format!("{times}{}", respond("root", "/", "root")));
    assert_eq!(gateway.ask("GET / HT"), "", "a head that does not come");
    let idle = gateway.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(
        idle.starts_with("HTTP/1.1 200 ") && idle.ends_with("root"),
        "answered, then closed by us: {idle}"
    );
}

#[test]
fn a_drain_lets_the_running_exchange_finish_and_takes_no_other() {
    let upstream = Upstream::gated("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate");
    let mut gateway = Gateway::start(&forward("a", "/", upstream.port, ""));
    let running = gateway.begin(GET);
    upstream.wait_for_head();
    gateway.drain();
    gateway.until("the listener is closed", || gateway.connect().is_none());
    upstream.open_gate();
    let answer = running.finish();
    assert!(answer.ends_with("late"), "{answer}");
    gateway.ended();
}

#[test]
fn a_client_has_the_limit_of_the_longest_override() {
    let over = |name: &str, prefix: &str, burst: u32| {
        format!(
            "[[override]]\nname = \"{name}\"\nprefixes = [\"{prefix}\"]\nrequests = {{ rate = \"1/min\", burst = {burst} }}\n"
        )
    };
    let (wide, narrow) = (over("wide", "127.0.0.0/8", 3), over("narrow", "127.0.0.1", 5));
    let stranger = over("stranger", "10.0.0.0/8", 7);
    for (overrides, burst) in [
        (stranger.clone(), 1),
        (wide.clone(), 3),
        (format!("{wide}{narrow}"), 5),
        (format!("{narrow}{stranger}{wide}"), 5),
    ] {
        let gateway = Gateway::start(&format!(
            "[limit.client]\nrequests = {{ rate = \"1/min\", burst = 1 }}\nshed = []\n{overrides}{}",
            respond("root", "/", "root")
        ));
        let served = (0..9).take_while(|_| gateway.ask_once().starts_with("HTTP/1.1 200")).count();
        assert_eq!(served, burst, "{overrides}");
    }
}

fn respond(name: &str, listen_path: &str, body: &str) -> String {
    format!(
        "[[api]]\nname = \"{name}\"\nlisten_path = \"{listen_path}\"\nrespond = {{ status = 200, body = \"{body}\" }}\n"
    )
}

fn forward(name: &str, listen_path: &str, port: u16, rest: &str) -> String {
    format!(
        "[[api]]\nname = \"{name}\"\nlisten_path = \"{listen_path}\"\nupstreams = [\"http://127.0.0.1:{port}\"]\n{rest}\n"
    )
}
