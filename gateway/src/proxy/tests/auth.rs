//! What auth answers, and what a refused credential costs.

use super::harness::Gateway;
use super::respond;

const KEYED: &str = "auth = { key = { file = \"keys.toml\" }, realm = \"the \\\"shop\\\"\" }\n";

fn keyed(limits: &str) -> Gateway {
    Gateway::start(&format!("{limits}{}{KEYED}", respond("shop", "/", "in")))
}

/// The answer without its date.
fn ask(gateway: &Gateway, fields: &str) -> String {
    let answer = gateway.ask(&format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\r\n"));
    answer.split_inclusive("\r\n").filter(|line| !line.to_ascii_lowercase().starts_with("date:")).collect()
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

/// SHA-256 of a text, in hex.
fn sha256(text: &str) -> String {
    use sha2::Digest as _;
    sha2::Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// keys.toml of rows (name, key, more).
fn keys(rows: &[(&str, &str, &str)]) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    let row = |(name, key, more): &(&str, &str, &str)| {
        format!("[[key]]\nname = \"{name}\"\nsha256 = \"{}\"\n{more}\n", sha256(key))
    };
    std::fs::write(file.path(), rows.iter().map(row).collect::<String>()).unwrap();
    file
}

#[test]
fn a_key_stands_where_the_api_says_and_goes_no_further() {
    let file = keys(&[("first", "one", "")]);
    let file = file.path().display();
    for (places, target, fields, status, upstream) in [
        ("header = \"X-Shop\"", "/", "X-Shop: one\r\n", 200, "GET / "),
        ("header = \"X-Shop\"", "/", "X-Api-Key: one\r\n", 401, ""),
        ("header = \"X-Shop\"", "/", "Authorization: Bearer one\r\n", 401, ""),
        ("header = \"Authorization\"", "/", "Authorization: one\r\n", 200, "GET / "),
        ("bearer = true", "/", "Authorization: Bearer one\r\n", 200, "GET / "),
        ("bearer = true", "/", "Authorization: one\r\n", 401, ""),
        ("query = \"key\"", "/a?x=1&key=one&y=2", "", 200, "GET /a?x=1&y=2 "),
        ("query = \"key\"", "/a?key=%6Fne", "", 200, "GET /a "),
        ("query = \"key\"", "/a?key=one&key=one", "", 400, ""),
        ("query = \"key\"", "/a?key=two", "", 401, ""),
        ("cookie = \"key\"", "/", "Cookie: a=1; key=one; b=2\r\n", 200, "GET / "),
        ("cookie = \"key\"", "/", "Cookie: key=one; key=one\r\n", 400, ""),
        ("header = \"X-Shop\", query = \"key\"", "/?key=one", "", 200, "GET / "),
    ] {
        let double = super::double::Double::new(super::double::OK);
        let auth = format!("auth = {{ key = {{ file = \"{file}\", {places} }} }}\n");
        let api =
            format!("[[api]]\nname = \"a\"\nlisten_path = \"/\"\nupstreams = [{:?}]\n{auth}", double.url());
        let gateway = Gateway::start(&api);
        let answer =
            gateway.ask(&format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\r\n"));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{places} {target} {fields}: {answer}");
        let heads = double.heads();
        assert_eq!(heads.len(), usize::from(status == 200), "{places} {target}");
        for head in heads {
            assert!(head.starts_with(upstream) && !head.contains("one"), "{places} {target}: {head}");
            assert!(!head.contains("Cookie") || head.contains("a=1; b=2"), "{head}");
        }
    }
}

#[test]
fn a_key_ends_and_is_turned_off_and_nobody_is_told_which() {
    let file = keys(&[
        ("ended", "one", "expires = 2020-01-01T00:00:00Z"),
        ("lasting", "two", "expires = \"2100-01-01T00:00:00+02:00\""),
        ("off", "three", "disabled = true"),
    ]);
    let auth = format!("auth = {{ key = {{ file = \"{}\" }} }}\n", file.path().display());
    let gateway = Gateway::start(&format!("{}{auth}", respond("shop", "/", "in")));
    let unknown = ask(&gateway, "X-Api-Key: none\r\n");
    for (key, reason) in [("one", "expired"), ("three", "disabled")] {
        assert_eq!(ask(&gateway, &format!("X-Api-Key: {key}\r\n")), unknown, "{key}");
        assert_eq!(gateway.shared.metrics.auth_refused("shop", "key", reason).get(), 1, "{reason}");
    }
    assert!(ask(&gateway, "X-Api-Key: two\r\n").starts_with("HTTP/1.1 200 "));
}

const POLICIES: &str = "[[policy]]\nname = \"reader\"\ngrants = [{ api = \"shop\", paths = [\"/open/*\", \"/exact\"], methods = [\"GET\"] }]\nheaders = { X-Plan = \"read\", X-Team = \"{claim:team}\" }\n[[policy]]\nname = \"other\"\ngrants = [{ api = \"elsewhere\" }]\n[[policy]]\nname = \"slow\"\nrate = \"1/min\"\nburst = 2\n";

/// The API `shop` to `double` under [`POLICIES`].
fn shop(double: &super::double::Double, file: &tempfile::NamedTempFile, more: &str) -> Gateway {
    let auth = format!(
        "auth = {{ key = {{ file = {:?} }}, headers = {{ X-Who = \"{{credential}}\" }}{more} }}\n",
        file.path()
    );
    let api = |name: &str, path: &str| {
        format!("[[api]]\nname = \"{name}\"\nlisten_path = \"{path}\"\nupstreams = [{:?}]\n", double.url())
    };
    Gateway::start(&format!("{POLICIES}{}{}{auth}", api("elsewhere", "/elsewhere/"), api("shop", "/")))
}

#[test]
fn policies_grant_by_api_path_and_method() {
    let file = keys(&[
        ("all", "one", ""),
        ("reader", "two", "policies = [\"reader\"]\nmetadata = { team = \"blue\" }"),
        ("other", "three", "policies = [\"other\"]"),
        ("both", "four", "policies = [\"other\", \"slow\"]"),
    ]);
    let double = super::double::Double::new(super::double::OK);
    let gateway = shop(&double, &file, "");
    for (key, method, target, status) in [
        ("one", "DELETE", "/any", 200),
        ("two", "GET", "/open/a", 200),
        ("two", "GET", "/%6fpen/./a?x", 200),
        ("two", "GET", "/exact", 200),
        ("two", "GET", "/exact/b", 403),
        ("two", "GET", "/open", 403),
        ("two", "GET", "/open/../closed", 403),
        ("two", "GET", "/openly", 403),
        ("two", "POST", "/open/a", 403),
        ("three", "GET", "/open/a", 403),
        ("four", "GET", "/any", 200),
    ] {
        let answer = gateway.ask(&format!(
            "{method} {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Api-Key: {key}\r\nContent-Length: 0\r\nX-Who: mallory\r\nX-Plan: gold\r\nX-Team: red\r\n\r\n"
        ));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{key} {method} {target}: {answer}");
        assert!(!answer.contains("www-authenticate"), "{answer}");
    }
    assert_eq!(gateway.shared.metrics.auth_refused("shop", "key", "policy").get(), 6);
    let heads = double.heads();
    assert!(
        heads.iter().all(|head| !head.contains("mallory") && !head.contains("gold") && !head.contains("red"))
    );
    let of_reader = heads.iter().find(|head| head.starts_with("GET /open/a")).unwrap().to_ascii_lowercase();
    for field in ["x-who: reader\r\n", "x-plan: read\r\n", "x-team: blue\r\n"] {
        assert!(of_reader.contains(field), "{field} in {of_reader}");
    }
    assert!(
        heads[0].to_ascii_lowercase().contains("x-who: all\r\n")
            && !heads[0].to_ascii_lowercase().contains("x-plan")
    );
}

#[test]
fn a_policys_rate_is_each_credentials() {
    let file = keys(&[("a", "one", "policies = [\"slow\"]"), ("b", "two", "policies = [\"slow\"]")]);
    let double = super::double::Double::new(super::double::OK);
    let gateway = shop(&double, &file, "");
    for (key, status) in [("one", 200), ("one", 200), ("one", 429), ("two", 200)] {
        let answer = ask(&gateway, &format!("X-Api-Key: {key}\r\n"));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{key}: {answer}");
        assert_eq!(answer.contains("\"policy.slow\";r=0;t=60"), status == 429, "{answer}");
    }
}

#[test]
fn limits_count_by_what_auth_proved() {
    let rows = [
        ("a", "one", "metadata = { team = \"blue\" }"),
        ("b", "two", "metadata = { team = \"blue\" }"),
        ("c", "three", ""),
        ("d", "four", ""),
    ];
    let file = keys(&rows);
    for (key, expected) in [
        ("credential", [200, 200, 200, 200]),
        ("subject", [200; 4]),
        ("claim:team", [200, 429, 200, 200]),
        ("api", [200, 429, 429, 429]),
    ] {
        let auth = format!(
            "auth = {{ key = {{ file = {:?} }} }}\nlimits = [{{ key = \"{key}\", rate = \"1/min\", burst = 1 }}]\n",
            file.path()
        );
        let gateway = Gateway::start(&format!("{}{auth}", respond("shop", "/", "in")));
        for ((_, one, _), status) in rows.iter().zip(expected) {
            let answer = ask(&gateway, &format!("X-Api-Key: {one}\r\n"));
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{key} {one}: {answer}");
        }
        let again = ask(&gateway, "X-Api-Key: three\r\n");
        assert!(again.starts_with("HTTP/1.1 429 "), "who has no such claim counts alone: {again}");
    }
}

#[test]
fn who_passes_may_carry_its_own_limit_instead_of_its_addresss() {
    let file = keys(&[("a", "one", "")]);
    let limit =
        "[limit.client]\nrequests = { rate = \"4/min\", burst = 3 }\nshed = []\n[auth]\nrefused_weight = 0\n";
    for (lift, expected) in [("", 3), (", lift_client_limit = true", 9)] {
        let auth = format!(
            "auth = {{ key = {{ file = {:?} }}{lift} }}\nlimits = [{{ key = \"credential\", rate = \"4/min\", burst = 9 }}]\n",
            file.path()
        );
        let gateway = Gateway::start(&format!("{limit}{}{auth}", respond("shop", "/", "in")));
        let passed = (0..20).take_while(|_| ask(&gateway, "X-Api-Key: one\r\n").starts_with("HTTP/1.1 200 "));
        assert_eq!(passed.count(), expected, "{lift}");
        let others =
            (0..20).take_while(|_| ask(&gateway, "X-Api-Key: none\r\n").starts_with("HTTP/1.1 401 "));
        assert_eq!(
            others.count(),
            if lift.is_empty() { 0 } else { 3 },
            "who does not pass is charged: {lift}"
        );
    }
}

/// A file of users: argon2id at its cheapest, so that a test does not wait.
fn users(rows: &[(&str, &str, &str)]) -> tempfile::NamedTempFile {
    use argon2::password_hash::{PasswordHasher as _, SaltString};
    let params = argon2::Params::new(8, 1, 1, None).unwrap();
    let argon2 = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    let salt = SaltString::encode_b64(&[7; 16]).unwrap();
    let row = |(name, password, more): &(&str, &str, &str)| {
        let hash = argon2.hash_password(password.as_bytes(), &salt).unwrap();
        format!("[[user]]\nname = \"{name}\"\nargon2id = \"{hash}\"\n{more}\n")
    };
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), rows.iter().map(row).collect::<String>()).unwrap();
    file
}

fn basic(pair: &str) -> String {
    use base64ct::Encoding as _;
    format!("Authorization: Basic {}\r\n", base64ct::Base64::encode_string(pair.as_bytes()))
}

#[test]
fn a_password_passes_and_what_is_wrong_is_answered_alike() {
    let file = users(&[
        ("ann", "one:two", ""),
        ("ben", "three", "disabled = true"),
        ("cid", "four", "expires = 2020-01-01T00:00:00Z"),
    ]);
    let double = super::double::Double::new(super::double::OK);
    let auth = format!(
        "auth = {{ basic = {{ file = {:?} }}, realm = \"shop\", headers = {{ X-Who = \"{{subject}}\" }} }}\n",
        file.path()
    );
    let gateway = Gateway::start(&format!(
        "[[api]]\nname = \"shop\"\nlisten_path = \"/\"\nupstreams = [{:?}]\n{auth}",
        double.url()
    ));
    let wrong = ask(&gateway, &basic("ann:one"));
    assert!(wrong.starts_with("HTTP/1.1 401 "), "{wrong}");
    assert!(
        wrong.to_ascii_lowercase().contains("www-authenticate: basic realm=\"shop\", charset=\"utf-8\"\r\n"),
        "{wrong}"
    );
    for (pair, reason) in [
        (basic("dan:one:two"), "unknown"),
        (basic("ben:three"), "disabled"),
        (basic("ben:four"), "unknown"),
        (basic("cid:four"), "expired"),
        (basic("ann"), "malformed"),
        ("Authorization: Basic %%%\r\n".to_owned(), "malformed"),
        (basic(&format!("ann:{}", "x".repeat(2_000))), "malformed"),
    ] {
        let before = gateway.shared.metrics.auth_refused("shop", "basic", reason).get();
        assert_eq!(ask(&gateway, &pair), wrong, "{pair}");
        assert_eq!(gateway.shared.metrics.auth_refused("shop", "basic", reason).get(), before + 1, "{pair}");
    }
    for _ in 0..2 {
        assert!(ask(&gateway, &basic("ann:one:two")).starts_with("HTTP/1.1 200 "));
    }
    // Right passwords are remembered, those of the disabled and ended too; wrong ones are not.
    assert_eq!(gateway.shared.auth.passwords().0, 3);
    let heads = double.heads();
    assert!(heads.iter().all(|head| head.contains("ann") && !head.contains("Basic")), "{heads:?}");
}

#[test]
fn all_schemes_of_an_api_may_be_needed() {
    let (users, keys) = (users(&[("ann", "one", "")]), keys(&[("robot", "two", "")]));
    let auth = format!(
        "auth = {{ key = {{ file = {:?}, header = \"X-Api-Key\" }}, basic = {{ file = {:?} }}, require = \"all\" }}\n",
        keys.path(),
        users.path()
    );
    let gateway = Gateway::start(&format!("{}{auth}", respond("shop", "/", "in")));
    let (key, pair) = ("X-Api-Key: two\r\n".to_owned(), basic("ann:one"));
    for (fields, status) in [
        (String::new(), 401),
        (key.clone(), 401),
        (pair.clone(), 401),
        (format!("{key}{}", basic("ann:two")), 401),
        (format!("X-Api-Key: one\r\n{pair}"), 401),
        (format!("{key}{pair}"), 200),
    ] {
        let answer = ask(&gateway, &fields);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{fields}: {answer}");
        let challenges = answer.to_ascii_lowercase().matches("www-authenticate:").count();
        assert_eq!(challenges, if status == 401 { 2 } else { 0 }, "{answer}");
    }
}

#[test]
fn the_first_scheme_whose_credential_is_there_decides() {
    let (users, keys) = (users(&[("ann", "one", "")]), keys(&[("robot", "two", "")]));
    let (key, basic_) =
        (format!("key = {{ file = {:?} }}", keys.path()), format!("basic = {{ file = {:?} }}", users.path()));
    for order in [format!("{key}, {basic_}"), format!("{basic_}, {key}")] {
        let gateway = Gateway::start(&format!("{}auth = {{ {order} }}\n", respond("shop", "/", "in")));
        assert!(ask(&gateway, &basic("ann:one")).starts_with("HTTP/1.1 200 "), "{order}");
        assert!(ask(&gateway, "Authorization: two\r\n").starts_with("HTTP/1.1 200 "), "{order}");
        let is_key_first = order.starts_with("key");
        let both = format!("X-Api-Key: none\r\n{}", basic("ann:one"));
        assert_eq!(ask(&gateway, &both).starts_with("HTTP/1.1 401 "), is_key_first, "{order}");
    }
}
