//! What is changed of requests and answers on their way.

use super::double::{Double, Manner};
use super::harness::Gateway;

const ANSWER: Manner = Manner::Answer(
    "HTTP/1.1 200 OK\r\nServer: secret/1.2\r\nX-Both: theirs\r\nVary: Accept\r\nAccess-Control-Allow-Origin: *\r\nContent-Length: 0\r\n\r\n",
);

/// An API in front of a double, its last request's head and the answer to it, in lower case.
struct Shaped {
    upstream: Double,
    gateway: Gateway,
}

impl Shaped {
    fn by(rest: &str) -> Self {
        Self::under("", rest)
    }

    /// With what stands above the first table.
    fn under(top: &str, rest: &str) -> Self {
        let upstream = Double::new(ANSWER);
        let api = "[[api]]\nname = \"a\"\nlisten_path = \"/\"";
        let gateway =
            Gateway::start_under(top, &format!("{api}\nupstreams = [{:?}]\n{rest}\n", upstream.url()));
        Self { upstream, gateway }
    }

    fn ask(&self, method: &str, headers: &str) -> String {
        let head =
            format!("{method} /p?q=1 HTTP/1.1\r\nHost: a.example:8080\r\nConnection: close\r\n{headers}\r\n");
        self.gateway.ask(&head).to_ascii_lowercase()
    }

    /// What the upstream saw of the last request.
    fn seen(&self) -> String {
        self.upstream.heads().pop().unwrap_or_default().to_ascii_lowercase()
    }
}

#[track_caller]
fn check(text: &str, present: &[&str], absent: &[&str]) {
    for part in present {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    for part in absent {
        assert!(!text.contains(part), "{part:?} is in {text}");
    }
}

#[test]
fn headers_are_removed_set_and_added_both_ways() {
    let shaped = Shaped::by(
        "request_headers = { remove = [\"X-Gone\"], set = { X-Set = \"ours\" }, add = { X-More = \"two\" } }\nresponse_headers = { remove = [\"Server\"], set = { X-Both = \"ours\" }, add = { Vary = \"X\" } }",
    );
    // A client must not have what is set taken out again by naming it in Connection.
    let answer = shaped
        .ask("GET", "Connection: X-Set\r\nX-Gone: 1\r\nX-Set: theirs\r\nX-Set: again\r\nX-More: one\r\n");
    check(
        &shaped.seen(),
        &["x-set: ours\r\n", "x-more: one\r\n", "x-more: two\r\n"],
        &["x-gone", "theirs", "again"],
    );
    check(&answer, &["x-both: ours\r\n", "vary: accept\r\n", "vary: x\r\n"], &["server:", "theirs"]);
    let plain = Shaped::by("");
    check(&plain.ask("GET", "X-Gone: 1\r\n"), &["server: secret/1.2", "x-both: theirs"], &[]);
    check(&plain.seen(), &["x-gone: 1"], &[]);
}

#[test]
fn answers_of_our_own_are_shaped_too() {
    let refused = Shaped::by(
        "response_headers = { set = { X-Ours = \"1\" } }\nlimits = [{ key = \"api\", rate = \"1/min\", burst = 1 }]",
    );
    refused.ask("GET", "");
    check(&refused.ask("GET", ""), &["http/1.1 429 ", "x-ours: 1\r\n"], &[]);
}

#[test]
fn a_request_has_one_id_everywhere() {
    let shaped = Shaped::under("trusted_proxies = [\"127.0.0.1\"]\n", "request_id = true");
    let id = |text: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix("x-request-id: "));
        line.unwrap_or_else(|| panic!("no id in {text}")).to_owned()
    };
    let first = id(&shaped.ask("GET", ""));
    assert_eq!((first.len(), &first), (32, &id(&shaped.seen())), "the same in the answer and upstream");
    assert_ne!(first, id(&shaped.ask("GET", "")), "another for the next");
    assert_eq!(id(&shaped.ask("GET", "X-Request-Id: from-a-proxy\r\n")), "from-a-proxy");
    assert_eq!(id(&shaped.seen()), "from-a-proxy");
    let long = format!("X-Request-Id: {}\r\n", "x".repeat(129));
    assert_eq!(id(&shaped.ask("GET", &long)).len(), 32, "too long to be believed");
    let named = Shaped::by("request_headers = { remove = [] }");
    check(&named.ask("GET", ""), &[], &["x-request-id"]);
    let stranger = Gateway::start(
        "[[api]]\nname = \"a\"\nlisten_path = \"/\"\nrespond = { status = 200 }\nrequest_id = \"X-Trace\"\n",
    );
    let answer = stranger.ask("GET / HTTP/1.1\r\nHost: a\r\nX-Trace: forged\r\nConnection: close\r\n\r\n");
    check(&answer.to_ascii_lowercase(), &["x-trace: "], &["forged"]);
}

#[test]
fn plain_http_is_sent_to_https() {
    let shaped = Shaped::by("https_only = true");
    let answer = shaped.ask("POST", "Content-Length: 0\r\n");
    check(&answer, &["http/1.1 308 ", "location: https://a.example/p?q=1\r\n"], &[]);
    assert_eq!(shaped.upstream.asked(), 0);
    let absolute =
        shaped.gateway.ask("GET http://b.example:80/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    check(&absolute.to_ascii_lowercase(), &["location: https://b.example/x\r\n"], &[]);
}

#[test]
fn an_api_can_be_a_redirect() {
    for (rest, path, location) in [
        (
            "redirect = { to = \"https://new.example/v2/\" }",
            "/old/x?q=1",
            "308 |https://new.example/v2/old/x?q=1",
        ),
        (
            "redirect = { to = \"https://new.example\", status = 301 }\nstrip_listen_path = true",
            "/old/x",
            "301 |https://new.example/x",
        ),
        (
            "redirect = { to = \"https://new.example\", keep_path = false }",
            "/old/x",
            "308 |https://new.example",
        ),
        (
            "redirect = { to = \"https://new.example\" }\nstrip_listen_path = true",
            "//old//evil.example",
            "308 |https://new.example/evil.example",
        ),
    ] {
        let gateway = Gateway::start(&format!("[[api]]\nname = \"a\"\nlisten_path = \"/old\"\n{rest}\n"));
        let answer = gateway.ask(&format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
        let (status, location) = location.split_once('|').unwrap();
        check(&answer.to_ascii_lowercase(), &[status, &format!("location: {location}\r\n")], &[]);
    }
}

#[test]
fn cors_lets_listed_origins_and_no_others() {
    const GOOD: &str = "Origin: https://app.example\r\n";
    const BAD: &str = "Origin: https://app.example.evil\r\n";
    const ASKS: &str = "Access-Control-Request-Method: PUT\r\nAccess-Control-Request-Headers: x-a\r\n";
    let shaped = Shaped::by(
        "auth = { key = { file = \"keys.toml\" } }\ncors = { origins = [\"https://app.example\"], methods = [\"GET\", \"PUT\"], headers = [\"X-A\"], expose = [\"X-B\"], credentials = true, max_age = \"1m\" }",
    );
    // A preflight brings no credentials, and gets its answer all the same.
    let preflight = shaped.ask("OPTIONS", &format!("{GOOD}{ASKS}"));
    check(
        &preflight,
        &[
            "http/1.1 204 ",
            "access-control-allow-origin: https://app.example\r\n",
            "access-control-allow-methods: get, put\r\n",
            "access-control-allow-headers: x-a\r\n",
            "access-control-allow-credentials: true\r\n",
            "access-control-max-age: 60\r\n",
            "vary: origin\r\n",
        ],
        &["content-length: 2"],
    );
    check(&shaped.ask("OPTIONS", &format!("{BAD}{ASKS}")), &["http/1.1 403 "], &["access-control"]);
    assert_eq!(shaped.upstream.asked(), 0, "preflights end here");
    let key = "X-Api-Key: one\r\n";
    let answer = shaped.ask("GET", &format!("{GOOD}{key}"));
    check(
        &answer,
        &[
            "http/1.1 200 ",
            "access-control-allow-origin: https://app.example\r\n",
            "access-control-expose-headers: x-b\r\n",
            "vary: origin\r\n",
        ],
        &["access-control-allow-origin: *"],
    );
    check(
        &shaped.ask("GET", &format!("{BAD}{key}")),
        &["http/1.1 200 ", "vary: origin\r\n"],
        &["access-control"],
    );
    check(
        &shaped.ask("GET", GOOD),
        &["http/1.1 401 ", "access-control-allow-origin: https://app.example\r\n"],
        &[],
    );
    // OPTIONS that is no preflight is the upstream's.
    check(&shaped.ask("OPTIONS", key), &["http/1.1 200 "], &["access-control"]);
    let any = Shaped::by("cors = { origins = [\"*\"] }");
    check(&any.ask("GET", BAD), &["access-control-allow-origin: *\r\n"], &["credentials", "vary: origin"]);
}
