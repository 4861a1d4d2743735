//! What auth answers, and what a refused credential costs.

use super::harness::Gateway;
use super::respond;

const KEYED: &str = "auth = { key = { file = \"keys.toml\" }, realm = \"the \\\"shop\\\"\" }\n";

fn keyed(limits: &str) -> Gateway {
    Gateway::start(&format!("{limits}{}{KEYED}", respond("shop", "/", "in")))
}

fn ask(gateway: &Gateway, fields: &str) -> String {
    gateway.ask(&format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\r\n"))
}

#[test]
fn a_refusal_says_what_is_needed_and_no_more() {
    let gateway = keyed("");
    let plain = "www-authenticate: bearer realm=\"the \\\"shop\\\"\"\r\n";
    let invalid = "www-authenticate: bearer realm=\"the \\\"shop\\\"\", error=\"invalid_token\"\r\n";
    let request = "www-authenticate: bearer realm=\"the \\\"shop\\\"\", error=\"invalid_request\"\r\n";
    for (fields, status, challenge, reason) in [
        ("", "401", plain, "absent"),
        ("Authorization: Basic b25lOm9uZQ==\r\n", "401", plain, "absent"),
        ("Authorization: Bearer three\r\n", "401", invalid, "unknown"),
        ("Authorization: bEARER  three\r\n", "401", invalid, "unknown"),
        ("Authorization: three\r\n", "401", invalid, "unknown"),
        ("X-Api-Key: three\r\nAuthorization: one\r\n", "401", invalid, "unknown"),
        ("X-Api-Key: one\r\nX-Api-Key: one\r\n", "400", request, "ambiguous"),
        ("Authorization: one\r\nAuthorization: one\r\n", "400", request, "ambiguous"),
    ] {
        let scheme = if reason == "absent" { "none" } else { "key" };
        let counter = gateway.shared.metrics.auth_refused("shop", scheme, reason);
        let before = counter.get();
        let answer = ask(&gateway, fields).to_ascii_lowercase();
        assert!(answer.starts_with(&format!("http/1.1 {status} ")), "{fields}: {answer}");
        assert!(answer.contains(challenge), "{fields}: {answer}");
        assert_eq!(answer.matches("www-authenticate:").count(), 1, "{fields}: {answer}");
        assert!(answer.contains("content-type: application/problem+json\r\n"), "{fields}: {answer}");
        assert!(!answer.contains("three"), "{fields}: {answer}");
        assert_eq!(counter.get(), before + 1, "{fields}");
    }
    for fields in ["Authorization: bearer one\r\n", "Authorization: one\r\n", "X-Api-Key: two\r\n"] {
        assert!(ask(&gateway, fields).starts_with("HTTP/1.1 200 "), "{fields}");
    }
}

/// Granted requests until the client's limit refuses; `fields` come before each.
fn requests_within(limit: &str, fields: &str, most: usize) -> usize {
    let gateway = keyed(limit);
    (0..most).take_while(|_| !ask(&gateway, fields).starts_with("HTTP/1.1 429 ")).count()
}

#[test]
fn a_guess_costs_its_client_more_than_a_request() {
    let limit = "[limit.client]\nrequests = { rate = \"4/min\", burst = 40 }\nshed = []\n";
    let heavy = format!("{limit}[auth]\nrefused_weight = 19\n");
    // Each guess is one request and its weight; what is owed goes beyond the burst.
    assert_eq!(requests_within(limit, "X-Api-Key: three\r\n", 100), 4, "11 of 40, four times");
    assert_eq!(requests_within(&heavy, "X-Api-Key: three\r\n", 100), 2, "20 of 40, twice");
    let none = format!("{limit}[auth]\nrefused_weight = 0\n");
    assert_eq!(requests_within(&none, "X-Api-Key: three\r\n", 100), 40);
    assert_eq!(requests_within(limit, "X-Api-Key: one\r\n", 100), 40, "who passes pays no more");
    assert_eq!(requests_within(limit, "", 100), 40, "nor does who brings nothing");
}

#[test]
fn what_a_guesser_owes_has_an_end() {
    let limits = "[limit.client]\nrequests = { rate = \"1/s\", burst = 10 }\nshed = []\n[auth]\nrefused_weight = 255\n";
    let gateway = keyed(limits);
    assert!(ask(&gateway, "X-Api-Key: three\r\n").starts_with("HTTP/1.1 401 "));
    let refused = ask(&gateway, "X-Api-Key: one\r\n").to_ascii_lowercase();
    assert!(refused.contains("\r\nretry-after: 11\r\n"), "two bursts are owed, one is borrowed: {refused}");
}
