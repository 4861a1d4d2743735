//! JSON Web Tokens at a whole weir: who passes, every known way to pass without a right to, and what an
//! upstream is told.

mod keys;

mod support;

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use weir_tests::http;
use weir_tests::issuer::Issuer;
use weir_tests::jose::{Key, encode, set};
use weir_tests::recorder::Recorder;

use self::support::{claims, gateway, status, unix_s};

#[test]
fn every_algorithm_verifies_its_own_tokens_and_no_others() -> Result<()> {
    const ALGORITHMS: [&str; 10] =
        ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"];
    let keys: Vec<Key> = ALGORITHMS.iter().map(|name| Key::new(name, name)).collect::<Result<_>>()?;
    let issuer = Issuer::start(&set(&keys.iter().collect::<Vec<_>>()))?;
    let weir = gateway(&issuer, "")?;
    for key in &keys {
        let token = key.token(&claims())?;
        ensure!(status(&weir, &token)? == 200, "{}: {}", key.algorithm, weir.output());
        // The same words by another key, and other words under the same signature.
        let other = Key::new(&key.kid, key.algorithm)?.token(&claims())?;
        ensure!(status(&weir, &other)? == 401, "{}: another key", key.algorithm);
        let (head, signature) = token.rsplit_once('.').unwrap_or_default();
        let (header, _) = head.split_once('.').unwrap_or_default();
        let forged = format!("{header}.{}.{signature}", encode(claims_of("mallory").to_string().as_bytes()));
        ensure!(status(&weir, &forged)? == 401, "{}: other claims", key.algorithm);
        // What the header says is not what the key is for.
        for named in ALGORITHMS.iter().filter(|named| **named != key.algorithm) {
            let lied = key.token_under(&json!({"alg": named, "kid": key.kid}), &claims())?;
            ensure!(status(&weir, &lied)? == 401, "{} as {named}", key.algorithm);
        }
    }
    Ok(())
}

fn claims_of(sub: &str) -> Value {
    let mut claims = claims();
    claims["sub"] = json!(sub);
    claims
}

#[test]
fn known_attacks_by_name() -> Result<()> {
    let (key, ec, ed) = (Key::new("k", "RS256")?, Key::new("e", "ES256")?, Key::new("d", "EdDSA")?);
    let issuer = Issuer::start(&set(&[&key, &ec, &ed]))?;
    // Never asked: whatever a token points at.
    let mallory = Key::new("m", "RS256")?;
    let elsewhere = Issuer::start(&set(&[&mallory]))?;
    let weir = gateway(&issuer, "")?;
    let good = key.token(&claims())?;
    ensure!(status(&weir, &good)? == 200);
    let header = |more: Value| {
        let mut header = json!({"alg": "RS256", "typ": "JWT", "kid": "k"});
        if let (Some(header), Some(more)) = (header.as_object_mut(), more.as_object()) {
            header.extend(more.clone());
        }
        header
    };
    let (head, signature) = good.rsplit_once('.').unwrap_or_default();
    let (first, payload) = head.split_once('.').unwrap_or_default();
    let unsigned = |algorithm: &str| {
        format!("{}.{payload}.", encode(json!({"alg": algorithm, "kid": "k"}).to_string().as_bytes()))
    };
    let confused = |secret: &[u8]| {
        Key::of_secret("HS256", secret).token_under(&json!({"alg": "HS256", "kid": "k"}), &claims())
    };
    let zeros = |key: &Key, bytes: usize| -> Result<String> {
        let token = key.token(&claims())?;
        Ok(format!("{}.{}", token.rsplit_once('.').unwrap_or_default().0, encode(&vec![0; bytes])))
    };
    let under = |key: &Key, more: Value| key.token_under(&header(more), &claims());
    let by_kid = |kid: &str| mallory.token_under(&json!({"alg": "RS256", "kid": kid}), &claims());
    let pem = pem(&key.public_der()?);
    let n = key.bare_jwk()["n"].as_str().unwrap_or_default().to_owned();
    let jku = elsewhere.url();
    let rows = [
        ("none", unsigned("none")),
        ("None", unsigned("None")),
        ("NONE", unsigned("NONE")),
        ("nOnE with the old signature", format!("{}{signature}", unsigned("nOnE"))),
        ("no alg", key.token_under(&json!({"kid": "k"}), &claims())?),
        ("alg that is a list", key.token_under(&json!({"alg": ["RS256"], "kid": "k"}), &claims())?),
        ("rs256, in small letters", key.token_under(&json!({"alg": "rs256", "kid": "k"}), &claims())?),
        ("RS/HS confusion, DER", confused(&key.public_der()?)?),
        ("RS/HS confusion, PEM", confused(pem.as_bytes())?),
        ("RS/HS confusion, the modulus", confused(n.as_bytes())?),
        ("HS with an empty secret", confused(b"")?),
        ("signature stripped", format!("{head}.")),
        ("signature cut", format!("{head}.{}", signature.get(..signature.len() - 4).unwrap_or_default())),
        ("psychic signature (CVE-2022-21449)", zeros(&ec, 64)?),
        (
            "zero signature, DER",
            format!(
                "{}.{}",
                ec.token(&claims())?.rsplit_once('.').unwrap_or_default().0,
                encode(&[0x30, 6, 2, 1, 0, 2, 1, 0])
            ),
        ),
        ("zero signature, RSA", zeros(&key, 256)?),
        ("zero signature, Ed25519", zeros(&ed, 64)?),
        ("kid of a path", by_kid("../../../../dev/null")?),
        ("kid of SQL", by_kid("' UNION SELECT 'secret' -- ")?),
        ("kid of a URL", by_kid(&jku)?),
        ("kid of another", by_kid("k")?),
        ("kid that is a number", key.token_under(&json!({"alg": "RS256", "kid": 1}), &claims())?),
        ("kid that is long", by_kid(&"k".repeat(300))?),
        ("jku", mallory.token_under(&header(json!({"kid": "m", "jku": jku})), &claims())?),
        ("x5u", mallory.token_under(&header(json!({"kid": "m", "x5u": jku})), &claims())?),
        (
            "jwk in the header",
            mallory.token_under(&header(json!({"kid": "m", "jwk": mallory.jwk()})), &claims())?,
        ),
        ("jwk in a good token's header", under(&key, json!({"jwk": key.jwk()}))?),
        ("x5c", mallory.token_under(&header(json!({"kid": "m", "x5c": ["MIIB"]})), &claims())?),
        ("crit", under(&key, json!({"crit": ["exp"]}))?),
        ("crit, empty", under(&key, json!({"crit": []}))?),
        ("crit of b64", under(&key, json!({"crit": ["b64"], "b64": false}))?),
        ("b64 alone", under(&key, json!({"b64": false}))?),
        ("typ of another kind of token", under(&key, json!({"typ": "dpop+jwt"}))?),
        ("typ of an id token's logout", under(&key, json!({"typ": "logout+jwt"}))?),
        ("padding", format!("{good}=")),
        ("padding of the payload", format!("{first}.{payload}=.{signature}")),
        ("loose bits", loosened(&good)),
        ("the other alphabet", format!("{head}.{}", signature.replace(['-', '_'], "+"))),
        ("a blank", format!("{head}. {signature}")),
        ("four parts", format!("{good}.")),
        ("five parts (JWE)", format!("{good}.AAAA.AAAA")),
        ("two parts", head.to_owned()),
        ("no parts", "eyJ".to_owned()),
        (
            "JSON serialization",
            json!({"payload": payload, "protected": first, "signature": signature}).to_string(),
        ),
        (
            "a header twice said",
            key.token_of(br#"{"alg":"none","alg":"RS256","kid":"k"}"#, claims().to_string().as_bytes())?,
        ),
        (
            "text behind the header",
            key.token_of(br#"{"alg":"RS256","kid":"k"} x"#, claims().to_string().as_bytes())?,
        ),
        (
            "a comment in the header",
            key.token_of(br#"{"alg":"RS256"/**/,"kid":"k"}"#, claims().to_string().as_bytes())?,
        ),
        ("a deep header", under(&key, json!({"a": nested(20)}))?),
    ];
    let asked = issuer.asked();
    for (attack, token) in &rows {
        let answer = status(&weir, token)?;
        ensure!(answer == 401 || answer == 400 && attack.contains("blank"), "{attack}: {answer}");
    }
    ensure!(elsewhere.asked() == 0, "a token's word was followed: {:?}", elsewhere.paths());
    ensure!(issuer.asked() <= asked + 1, "unknown names asked {} times", issuer.asked() - asked);
    ensure!(status(&weir, &good)? == 200, "after all that");
    Ok(())
}

fn nested(levels: usize) -> Value {
    (0..levels).fold(json!(1), |inner, _| json!([inner]))
}

fn pem(der: &[u8]) -> String {
    let text = encode(der).replace('-', "+").replace('_', "/");
    format!("-----BEGIN PUBLIC KEY-----\n{text}==\n-----END PUBLIC KEY-----\n")
}

/// The same value in other words: an unused bit at the end is set.
fn loosened(token: &str) -> String {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (rest, last) = token.split_at(token.len() - 1);
    let value = ALPHABET.find(last).unwrap_or_default();
    format!("{rest}{}", ALPHABET.get(value + 1..value + 2).unwrap_or("_"))
}

#[test]
fn claims_are_what_they_must_be() -> Result<()> {
    let key = Key::new("k", "ES256")?;
    let issuer = Issuer::start(&set(&[&key]))?;
    let weir = gateway(&issuer, ", issuer = \"https://login.example\", audience = [\"orders\", \"shop\"]")?;
    let now = unix_s();
    let base = || json!({"iss": "https://login.example", "aud": "orders", "sub": "alice", "exp": now + 600});
    let with = |name: &str, value: Value| {
        let mut claims = base();
        claims[name] = value;
        claims
    };
    let without = |name: &str| {
        let mut claims = base();
        claims.as_object_mut().map(|claims| claims.remove(name));
        claims
    };
    for (what, claims, expected) in [
        ("as it should be", base(), 200),
        ("one audience of several", with("aud", json!(["x", "shop"])), 200),
        ("an end in parts of a second", with("exp", json!(now as f64 + 600.5)), 200),
        (
            "nbf and iat of now",
            {
                let mut c = with("nbf", json!(now));
                c["iat"] = json!(now);
                c
            },
            200,
        ),
        ("exp far away", with("exp", json!(u64::MAX)), 200),
        ("exp 0", with("exp", json!(0)), 401),
        ("exp 0.0", with("exp", json!(0.0)), 401),
        ("exp below 0", with("exp", json!(-1)), 401),
        ("exp of now", with("exp", json!(now)), 401),
        ("exp a text", with("exp", json!((now + 600).to_string())), 401),
        ("exp true", with("exp", json!(true)), 401),
        ("exp null", with("exp", Value::Null), 401),
        ("exp a list", with("exp", json!([now + 600])), 401),
        ("no exp", without("exp"), 401),
        ("nbf to come", with("nbf", json!(now + 300)), 401),
        ("nbf a text", with("nbf", json!("0")), 401),
        ("iat to come", with("iat", json!(now + 300)), 401),
        ("another issuer", with("iss", json!("https://login.example/")), 401),
        ("issuers, a list", with("iss", json!(["https://login.example"])), 401),
        ("no issuer", without("iss"), 401),
        ("another audience", with("aud", json!("billing")), 401),
        ("audiences that are no texts", with("aud", json!(["orders", 1])), 401),
        ("no audience", without("aud"), 401),
        ("nobody", without("sub"), 401),
        ("an empty name", with("sub", json!("")), 401),
        ("a numeric sub", with("sub", json!(7)), 401),
        ("a name with a line's end", with("sub", json!("a\r\nX-Admin: 1")), 401),
        ("a long name", with("sub", json!("a".repeat(257))), 401),
        ("a numeric client_id", with("client_id", json!(7)), 401),
        ("a numeric jti", with("jti", json!(7)), 401),
        ("scopes that are numbers", with("scope", json!([1])), 401),
    ] {
        let answer = status(&weir, &key.token(&claims)?)?;
        ensure!(answer == expected, "{what}: {answer}, not {expected}");
    }
    let header = json!({"alg": "ES256", "kid": "k"}).to_string();
    for (what, payload) in [
        ("claims twice said", format!(r#"{{"sub":"alice","sub":"bob",{}"#, tail(now))),
        ("in other letters", format!(r#"{{"sub":"alice","s\u0075b":"bob",{}"#, tail(now))),
        ("inside an object", format!(r#"{{"sub":"alice","x":{{"a":1,"a":2}},{}"#, tail(now))),
        ("text behind", format!(r#"{{"sub":"alice",{} {{}}"#, tail(now))),
        ("a comment", format!(r#"{{"sub":"alice",/* */{}"#, tail(now))),
        ("a date beyond numbers", format!(r#"{{"sub":"alice","nbf":1e999,{}"#, tail(now))),
        ("a list", r#"["sub","alice"]"#.to_owned()),
        ("nothing", String::new()),
        ("deep", format!(r#"{{"sub":"alice","x":{},{}"#, nested(20), tail(now))),
    ] {
        let answer = status(&weir, &key.token_of(header.as_bytes(), payload.as_bytes())?)?;
        ensure!(answer == 401, "{what}: {answer}");
    }
    let refused = weir.metric("weir_auth_refused_total{api=\"a\",scheme=\"jwt\",reason=\"jwt_expired\"}")?;
    ensure!(refused == 4, "reasons are counted: {refused}");
    Ok(())
}

fn tail(now: u64) -> String {
    format!(r#""iss":"https://login.example","aud":"orders","exp":{}}}"#, now + 600)
}

#[test]
fn long_tokens_are_refused_before_they_are_read() -> Result<()> {
    let key = Key::new("k", "ES256")?;
    let issuer = Issuer::start(&set(&[&key]))?;
    let weir = gateway(&issuer, "")?;
    let of_bytes = |bytes: usize| {
        let mut claims = claims();
        claims["x"] = json!("x".repeat(bytes));
        key.token(&claims)
    };
    ensure!(status(&weir, &of_bytes(5_000)?)? == 200);
    ensure!(status(&weir, &of_bytes(7_000)?)? == 401, "more than 8 KiB");
    let answer = status(&weir, &of_bytes(1 << 20)?)?;
    ensure!(answer == 431 || answer == 401, "a token of 1 MB: {answer}");
    let wide = gateway(&issuer, ", token_bytes = \"16KiB\"")?;
    ensure!(status(&wide, &of_bytes(7_000)?)? == 200, "as long as it may be");
    Ok(())
}

#[test]
fn a_secret_signs_only_what_is_configured() -> Result<()> {
    let secret = [b's'; 64];
    let weir = support::with_secret(&secret, "[\"HS256\", \"HS512\"]")?;
    for (algorithm, expected) in [("HS256", 200), ("HS384", 401), ("HS512", 200)] {
        let answer = status(&weir, &Key::of_secret(algorithm, &secret).token(&claims())?)?;
        ensure!(answer == expected, "{algorithm}: {answer}");
    }
    ensure!(status(&weir, &Key::of_secret("HS256", b"other").token(&claims())?)? == 401);
    ensure!(status(&weir, &Key::new("k", "RS256")?.token(&claims())?)? == 401);
    Ok(())
}

#[test]
fn upstreams_are_told_what_claims_say_and_nothing_else() -> Result<()> {
    const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let key = Key::new("k", "EdDSA")?;
    let (issuer, upstream) = (Issuer::start(&set(&[&key]))?, Recorder::start(OK, Duration::ZERO)?);
    let mapped = ", claims = { identity = \"preferred_username\" } }, headers = { X-User = \"{subject}\", X-Name = \"{credential}\", X-Roles = \"{claim:realm.roles}\", X-Org = \"{claim:org}\"";
    let weir = support::forwarding(&issuer, &upstream, mapped)?;
    let mut claims = claims();
    claims["preferred_username"] = json!("alice@example.org");
    claims["realm"] = json!({"roles": ["admin", "a,b"]});
    let token = key.token(&claims)?;
    let ask = |headers: &str| http::Connection::open(weir.address())?.get("/", headers);
    let answer = ask(&format!("Authorization: Bearer {token}\r\nX-User: root\r\nX-Org: acme\r\n"))?;
    ensure!(answer.status == 200, "{}", answer.text());
    let heads = upstream.heads().join("\n");
    for (part, is_there) in [
        ("x-user: alice\r\n", true),
        ("x-name: alice@example.org\r\n", true),
        ("x-roles: [\"admin\",\"a,b\"]\r\n", true),
        ("x-user: root", false),
        ("x-org", false),
        ("authorization", false),
    ] {
        ensure!(heads.contains(part) == is_there, "{part}: {heads}");
    }
    claims["org"] = json!("a\r\nX-Admin: 1");
    let answer = ask(&format!("Authorization: Bearer {}\r\n", key.token(&claims)?))?;
    ensure!(answer.status == 401, "a line's end in a claim: {}", answer.status);
    ensure!(upstream.heads().len() == 1);
    // With the token, where it is wanted.
    let forwards = support::forwarding(&issuer, &upstream, ", forward = true")?;
    let line = format!("Authorization: Bearer {token}\r\n");
    ensure!(http::Connection::open(forwards.address())?.get("/", &line)?.status == 200);
    ensure!(upstream.heads().join("\n").contains("authorization: bearer "));
    Ok(())
}

#[test]
fn policies_come_from_claims_and_scopes_and_nobody_passes_without_where_some_are_due() -> Result<()> {
    let key = Key::new("k", "ES256")?;
    let issuer = Issuer::start(&set(&[&key]))?;
    let place = weir_tests::weir::Place::new()?;
    let jwt = format!(
        "jwks = \"{}\", claims = {{ policies = \"roles\", scope_policies = {{ \"orders:read\" = \"reader\" }} }}",
        issuer.url()
    );
    let grants = "[[policy]]\nname = \"reader\"\ngrants = [{ api = \"a\", methods = [\"GET\"] }]\n\
                  [[policy]]\nname = \"writer\"\ngrants = [{ api = \"a\", methods = [\"POST\"] }]\n";
    place.write_config(&(support::config(&place, support::RESPOND, &jwt) + grants))?;
    let weir = weir_tests::weir::Weir::start_at(place)?;
    for (what, name, value, expected) in [
        ("a policy", "roles", json!("reader"), 200),
        ("one of several", "roles", json!(["writer", "reader"]), 200),
        ("a policy for something else", "roles", json!(["writer"]), 403),
        ("a policy that nobody made", "roles", json!(["root"]), 403),
        ("by scope", "scope", json!("email orders:read"), 200),
        ("by a list of scopes", "scope", json!(["orders:read"]), 200),
        ("another scope", "scope", json!("orders:readers"), 403),
        ("none", "x", json!(1), 403),
        ("policies that are no texts", "roles", json!([1]), 401),
    ] {
        let mut claims = claims();
        claims[name] = value;
        let answer = status(&weir, &key.token(&claims)?)?;
        ensure!(answer == expected, "{what}: {answer}, not {expected}");
    }
    Ok(())
}

#[test]
fn answers_say_what_rfc_6750_says() -> Result<()> {
    let key = Key::new("k", "ES256")?;
    let issuer = Issuer::start(&set(&[&key]))?;
    let weir = gateway(&issuer, "")?;
    let ask = |headers: &str| http::Connection::open(weir.address())?.get("/", headers);
    let challenge =
        |answer: &http::Response| answer.header("www-authenticate").unwrap_or_default().to_owned();
    let without = ask("")?;
    ensure!(without.status == 401 && challenge(&without) == "Bearer realm=\"a\"", "{}", challenge(&without));
    let wrong = ask("Authorization: Bearer eyJ.eyJ.x\r\n")?;
    let said = challenge(&wrong);
    ensure!(wrong.status == 401 && said == "Bearer realm=\"a\", error=\"invalid_token\"", "{said}");
    let token = key.token(&claims())?;
    let twice = format!("Authorization: Bearer {token}\r\n").repeat(2);
    let twice = ask(&twice)?;
    ensure!(twice.status == 400 && challenge(&twice).contains("invalid_request"));
    let basic = ask("Authorization: Basic YTpi\r\n")?;
    ensure!(basic.status == 401 && challenge(&basic) == "Bearer realm=\"a\"");
    let lower = ask(&format!("Authorization: bearer {token}\r\n"))?;
    ensure!(lower.status == 200, "RFC 9110 section 11.1: schemes in any case");
    Ok(())
}

#[test]
fn what_was_revoked_stops_within_a_second() -> Result<()> {
    let key = Key::new("k", "ES256")?;
    let issuer = Issuer::start(&set(&[&key]))?;
    let weir = support::revoking(&issuer)?;
    let token = |sub: &str, jti: &str| {
        let mut claims = claims_of(sub);
        claims["jti"] = json!(jti);
        key.token(&claims)
    };
    let (first, second, bob) = (token("alice", "1")?, token("alice", "2")?, token("bob", "3")?);
    for token in [&first, &second, &bob] {
        ensure!(status(&weir, token)? == 200);
    }
    let revoke = |text: &str| std::fs::write(weir.place.folder().join("revoked.toml"), text);
    let is = |token: &str, expected: u16| {
        weir_tests::wait::wait_for("the change", Duration::from_secs(1), || {
            (status(&weir, token).ok()? == expected).then_some(())
        })
    };
    revoke("[[revoked]]\njti = \"1\"\n")?;
    is(&first, 401)?;
    ensure!(status(&weir, &second)? == 200 && status(&weir, &bob)? == 200, "others pass");
    revoke("[[revoked]]\nsubject = \"bob\"\n")?;
    is(&bob, 401)?;
    is(&first, 200)?;
    Ok(())
}

#[test]
fn an_expired_token_is_not_kept_alive_by_having_passed() -> Result<()> {
    let key = Key::new("k", "ES256")?;
    let issuer = Issuer::start(&set(&[&key]))?;
    let weir = gateway(&issuer, "")?;
    let mut claims = claims();
    claims["exp"] = json!(unix_s() + 3);
    let token = key.token(&claims)?;
    ensure!(status(&weir, &token)? == 200 && status(&weir, &token)? == 200, "hot");
    weir_tests::wait::wait_for("the end", Duration::from_secs(5), || {
        (status(&weir, &token).ok()? == 401).then_some(())
    })?;
    ensure!(unix_s() >= claims["exp"].as_u64().unwrap_or_default(), "not before");
    Ok(())
}
