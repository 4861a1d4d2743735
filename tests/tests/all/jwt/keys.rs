//! Sets of keys: fetched rarely, whatever comes; bounded in time and bytes; rotated without a refusal; there
//! at a start without their issuer.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use weir::plane::now_ns;
use weir_tests::http;
use weir_tests::issuer::{Behaviour, Issuer};
use weir_tests::jose::{Key, encode, set};
use weir_tests::pki::Authority;
use weir_tests::tls;
use weir_tests::wait::{let_pass, wait_for};
use weir_tests::weir::{Place, Weir};

use super::support::{at, claims, config, gateway, status};

const SECOND: Duration = Duration::from_secs(1);

fn settles(weir: &Weir, what: &str, token: &str, expected: u16, within: Duration) -> Result<()> {
    wait_for(what, within, || (status(weir, token).ok()? == expected).then_some(()))
}

/// Asks from several threads at once; how often each status came, and the longest time in ms.
fn crowd(weir: &Weir, tokens: &[String], threads: usize) -> Result<(Vec<u16>, u64)> {
    let address = weir.address();
    let ask = |token: &String| -> Result<(u16, u64)> {
        let begun_ns = now_ns();
        let line = format!("Authorization: Bearer {token}\r\n");
        let patience = Duration::from_secs(20);
        let answer = http::Connection::open_within(address, patience)?.get("/", &line)?;
        Ok((answer.status, (now_ns() - begun_ns) / 1_000_000))
    };
    let answers: Result<Vec<(u16, u64)>> = std::thread::scope(|scope| {
        let pieces = tokens.chunks(tokens.len().div_ceil(threads));
        let spawned: Vec<_> = pieces
            .map(|piece| scope.spawn(move || piece.iter().map(ask).collect::<Result<Vec<_>>>()))
            .collect();
        let joined = spawned.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Ok(Vec::new())));
        Ok(joined.collect::<Result<Vec<_>>>()?.concat())
    });
    let answers = answers?;
    let longest = answers.iter().map(|(_, ms)| *ms).max().unwrap_or_default();
    Ok((answers.into_iter().map(|(status, _)| status).collect(), longest))
}

fn unknown(key: &Key, count: usize) -> Result<Vec<String>> {
    let header = |idx| json!({"alg": key.algorithm, "kid": format!("unknown-{idx}")});
    (0..count).map(|idx| key.token_under(&header(idx), &claims())).collect()
}

#[test]
fn names_that_nobody_knows_cost_one_fetch_in_a_cool_down() -> Result<()> {
    let key = Key::new("k", "ES256")?;
    let issuer = Issuer::start(&set(&[&key]))?;
    let weir = gateway(&issuer, "")?;
    let good = key.token(&claims())?;
    settles(&weir, "the first fetch", &good, 200, 5 * SECOND)?;
    ensure!(issuer.asked() == 1, "fetched at the start: {}", issuer.asked());
    let begun_ns = now_ns();
    let (answers, _) = crowd(&weir, &unknown(&key, 400)?, 16)?;
    ensure!(answers.iter().all(|status| *status == 401), "{answers:?}");
    ensure!(now_ns() - begun_ns < 9_000_000_000, "one cool-down");
    ensure!(issuer.asked() <= 2, "{} fetches", issuer.asked());
    // The set gains a key while its cool-down runs: it is known at its end.
    let newer = Key::new("n", "ES256")?;
    issuer.serve(&set(&[&key, &newer]));
    settles(&weir, "the newer key", &newer.token(&claims())?, 200, 12 * SECOND)?;
    ensure!(issuer.asked() <= 3 && issuer.most() == 1, "{} fetches", issuer.asked());
    let sets = weir.json(&["jwks", "status", "--json"])?;
    ensure!(sets[0]["held_off"].as_u64() > Some(100), "{sets}");
    Ok(())
}

#[test]
fn a_cold_set_is_fetched_once_for_all_who_wait() -> Result<()> {
    let key = Key::new("k", "ES256")?;
    let issuer = Issuer::start_with(Behaviour::Hang, None)?;
    let weir = gateway(&issuer, "")?;
    let tokens: Vec<_> = (0..64).map(|_| key.token(&claims())).collect::<Result<_>>()?;
    let document = set(&[&key]);
    let answers = std::thread::scope(|scope| {
        let crowd = scope.spawn(|| crowd(&weir, &tokens, 64));
        wait_for("requests that wait", 5 * SECOND, || {
            (weir.metric("weir_auth_waiting").ok()? >= 60).then_some(())
        })?;
        issuer.serve(&document);
        // What hangs answers nothing any more: the fetch ends at its limit or with the connection.
        crowd.join().unwrap_or_else(|_| Ok(Default::default()))
    })?;
    ensure!(answers.0.iter().all(|status| matches!(status, 200 | 503)), "{:?}", answers.0);
    ensure!(issuer.asked() == 1, "{} fetches", issuer.asked());
    settles(&weir, "keys", &tokens[0], 200, 15 * SECOND)
}

#[test]
fn a_failing_issuer_is_asked_no_more_than_an_idle_one() -> Result<()> {
    let key = Key::new("k", "ES256")?;
    let issuer = Issuer::start_with(Behaviour::Fail(500), None)?;
    let weir = gateway(&issuer, "")?;
    let tokens: Vec<_> = (0..40).map(|_| key.token(&claims())).collect::<Result<_>>()?;
    let (answers, longest_ms) = crowd(&weir, &tokens, 8)?;
    ensure!(answers.iter().all(|status| *status == 503), "nobody can tell: {answers:?}");
    ensure!(issuer.asked() <= 1, "{} fetches for 40 requests", issuer.asked());
    ensure!(longest_ms < 2_000, "nobody waits for it: {longest_ms} ms");
    issuer.serve(&set(&[&key]));
    settles(&weir, "its return", &tokens[0], 200, 15 * SECOND)?;
    ensure!(issuer.asked() <= 2, "{} fetches", issuer.asked());
    // Known keys outlive its next failure, without a word to anybody.
    issuer.behave(Behaviour::Fail(503));
    let told = weir.json(&["jwks", "refresh", "--json"])?;
    ensure!(told[0]["error"].as_str() == Some("the answer is 503"), "{told}");
    ensure!(status(&weir, &tokens[1])? == 200, "the keys that are held");
    Ok(())
}

#[test]
fn a_hanging_issuer_holds_up_nobody_else() -> Result<()> {
    let key = Key::new("k", "ES256")?;
    let issuer = Issuer::start_with(Behaviour::Hang, None)?;
    let weir = gateway(&issuer, "")?;
    let open = |count: usize| -> Result<Vec<u64>> {
        let mut connection = http::Connection::open(weir.address())?;
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            let begun_ns = now_ns();
            ensure!(connection.get("/open", "")?.status == 200);
            times.push(now_ns() - begun_ns);
        }
        times.sort_unstable();
        Ok(times)
    };
    let tokens: Vec<_> = (0..32).map(|_| key.token(&claims())).collect::<Result<_>>()?;
    let ((answers, longest_ms), others) = std::thread::scope(|scope| -> Result<_> {
        let waiting = scope.spawn(|| crowd(&weir, &tokens, 32));
        wait_for("requests that wait", 5 * SECOND, || {
            (weir.metric("weir_auth_waiting").ok()? >= 30).then_some(())
        })?;
        let others = open(2_000)?;
        Ok((waiting.join().unwrap_or_else(|_| Ok(Default::default()))?, others))
    })?;
    ensure!(answers.iter().all(|status| *status == 503), "{answers:?}");
    ensure!(longest_ms < 6_500, "{longest_ms} ms");
    ensure!(issuer.asked() == 1, "{} fetches", issuer.asked());
    let after = open(2_000)?;
    let (p99, calm) = (others[others.len() * 99 / 100], after[after.len() * 99 / 100]);
    eprintln!("p99 of others: {} us while the issuer hangs, {} us after", p99 / 1_000, calm / 1_000);
    ensure!(p99 < 4 * calm.max(500_000), "{p99} ns, {calm} ns");
    Ok(())
}

#[test]
fn documents_are_bounded_in_bytes_and_time() -> Result<()> {
    let key = Key::new("k", "ES256")?;
    let token = key.token(&claims())?;
    for (behaviour, said, most_bytes) in [
        (Behaviour::Huge(64 << 20), "longer than 1048576 bytes", 16 << 20),
        (Behaviour::Drip, "no answer within 5 s", 1 << 10),
        (Behaviour::Serve("{\"keys\":".to_owned(), String::new()), "not a set of keys", 1 << 10),
        (
            Behaviour::Serve("{\"keys\":[],\"keys\":[]}".to_owned(), String::new()),
            "not a set of keys",
            1 << 10,
        ),
        (Behaviour::Serve(set(&[&key]), "Content-Encoding: gzip\r\n".to_owned()), "is encoded", 1 << 10),
    ] {
        let issuer = Issuer::start_with(behaviour, None)?;
        let weir = gateway(&issuer, "")?;
        let before_kib = weir.resident_kib()?;
        let error = wait_for("the fetch's end", 8 * SECOND, || {
            let sets = weir.json(&["jwks", "status", "--json"]).ok()?;
            sets[0]["error"].as_str().map(str::to_owned)
        })?;
        ensure!(error.contains(said), "{error}, not {said}");
        ensure!(status(&weir, &token)? == 503, "{said}");
        ensure!(issuer.asked() == 1, "{said}: {} fetches", issuer.asked());
        ensure!(issuer.sent() < most_bytes, "{said}: {} bytes were taken", issuer.sent());
        let grown_kib = weir.resident_kib()?.saturating_sub(before_kib);
        ensure!(grown_kib < 8 << 10, "{said}: {grown_kib} KiB more");
    }
    Ok(())
}

#[test]
fn one_broken_key_costs_only_itself() -> Result<()> {
    let (key, other) = (Key::new("k", "RS256")?, Key::new("o", "ES256")?);
    let mut short = key.jwk();
    short["n"] = json!(encode(&[0xc3; 128]));
    let mut off_curve = other.jwk();
    off_curve["kid"] = json!("off");
    off_curve["y"] = off_curve["x"].clone();
    let mut private = Key::new("p", "ES256")?.jwk();
    private["d"] = json!("AAAA");
    let document = json!({"keys": [
        7, null, {"kty": "RSA"}, {"kty": "RSA", "n": "!", "e": "AQAB"}, {"kty": "new", "kid": "x"},
        {"kty": "oct", "k": "c2VjcmV0", "kid": "s"}, off_curve, private, short, key.jwk(), other.jwk(),
    ]});
    let issuer = Issuer::start(&document.to_string())?;
    let weir = gateway(&issuer, "")?;
    settles(&weir, "keys", &key.token(&claims())?, 200, 5 * SECOND)?;
    ensure!(status(&weir, &other.token(&claims())?)? == 200);
    let hs = Key::of_secret("HS256", b"secret");
    let hs = hs.token_under(&json!({"alg": "HS256", "kid": "s"}), &claims())?;
    ensure!(status(&weir, &hs)? == 401, "a secret in a published set");
    let sets = weir.json(&["jwks", "status", "--json"])?;
    ensure!(sets[0]["keys"] == json!(["k", "o"]), "{sets}");
    ensure!(sets[0]["left_out"].as_array().map(Vec::len) == Some(9), "{sets}");
    let text = weir.command(&["jwks", "status"])?;
    ensure!(String::from_utf8_lossy(&text.stdout).contains("2 keys"), "{text:?}");
    ensure!(weir.metric("weir_jwks_documents")? == 1 && weir.metric("weir_jwks_keys")? == 2);
    Ok(())
}

#[test]
fn rotation_under_load_refuses_nobody_and_the_old_key_is_gone_at_its_time() -> Result<()> {
    let (old, new) = (Key::new("old", "ES256")?, Key::new("new", "ES256")?);
    let issuer = Issuer::start(&set(&[&old]))?;
    let weir = gateway(&issuer, ", cache = \"10s\"")?;
    let first = old.token(&claims())?;
    settles(&weir, "keys", &first, 200, 5 * SECOND)?;
    let (ends, refused, passed) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    // Signs with the key of the hour, as an issuer does.
    let signs_new = AtomicBool::new(false);
    let load = || -> Result<()> {
        let mut connection = http::Connection::open(weir.address())?;
        while !ends.load(Ordering::SeqCst) {
            let key = if signs_new.load(Ordering::SeqCst) { &new } else { &old };
            let line = format!("Authorization: Bearer {}\r\n", key.token(&claims())?);
            let counter = if connection.get("/", &line)?.status == 200 { &passed } else { &refused };
            counter.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    };
    std::thread::scope(|scope| -> Result<()> {
        let loads = [scope.spawn(load), scope.spawn(load)];
        let turned = (|| {
            issuer.serve(&set(&[&old, &new]));
            // Longer than the set is fresh: by then every node has the key.
            let_pass(11 * SECOND);
            signs_new.store(true, Ordering::SeqCst);
            ensure!(status(&weir, &first)? == 200, "the old key is still published");
            issuer.serve(&set(&[&new]));
            settles(&weir, "the old key's end", &first, 401, 11 * SECOND)
        })();
        ends.store(true, Ordering::SeqCst);
        for load in loads {
            load.join().unwrap_or(Ok(()))?;
        }
        turned
    })?;
    let (passed, refused) = (passed.into_inner(), refused.into_inner());
    eprintln!("{passed} requests passed, {refused} were refused, {} fetches", issuer.asked());
    ensure!(refused == 0 && passed > 100, "{passed} passed, {refused} refused");
    Ok(())
}

#[test]
fn a_pinned_set_serves_while_its_issuer_is_down() -> Result<()> {
    let key = Key::new("k", "ES256")?;
    let token = key.token(&claims())?;
    let place = Place::new()?;
    std::fs::create_dir(place.folder().join("pins"))?;
    let issuer = Issuer::start(&set(&[&key]))?;
    let (url, port) = (issuer.url(), issuer.port);
    let mut weir = at(place, &format!("jwks = \"{url}\", pin = \"pins\""))?;
    settles(&weir, "keys", &token, 200, 5 * SECOND)?;
    let pinned = || std::fs::read_dir(weir.place.folder().join("pins")).ok()?.flatten().next();
    let file = wait_for("the pin", 5 * SECOND, || {
        pinned().filter(|file| file.path().extension().is_some_and(|one| one == "json"))
    })?;
    drop(issuer);
    weir.stop()?;
    weir.start_again()?;
    ensure!(status(&weir, &token)? == 200, "{}", weir.output());
    let sets = weir.json(&["jwks", "status", "--json"])?;
    ensure!(sets[0]["is_pinned"] == true && sets[0]["is_stale"] == true, "{sets}");
    // What nobody could have fetched for longer than `stale` is not used.
    let old = std::time::SystemTime::now() - Duration::from_secs(25 * 3_600);
    weir.stop()?;
    std::fs::File::options().write(true).open(file.path())?.set_modified(old)?;
    weir.start_again()?;
    ensure!(status(&weir, &token)? == 503, "too old");
    // A torn one neither, and it is no reason not to start.
    weir.stop()?;
    std::fs::write(file.path(), "{\"keys\":[")?;
    weir.start_again()?;
    ensure!(status(&weir, &token)? == 503, "torn");
    // Back again.
    let _issuer = Issuer::start_at(port, Behaviour::Serve(set(&[&key]), String::new()), None)?;
    settles(&weir, "its return", &token, 200, 15 * SECOND)
}

#[test]
fn keys_that_cannot_be_fetched_are_dropped_at_their_age() -> Result<()> {
    let key = Key::new("k", "ES256")?;
    let token = key.token(&claims())?;
    let issuer = Issuer::start(&set(&[&key]))?;
    let weir = gateway(&issuer, ", cache = \"10s\", stale = \"12s\"")?;
    settles(&weir, "keys", &token, 200, 5 * SECOND)?;
    issuer.behave(Behaviour::Fail(500));
    let begun_ns = now_ns();
    settles(&weir, "the end", &token, 503, 16 * SECOND)?;
    ensure!(now_ns() - begun_ns > 9_000_000_000, "not before");
    Ok(())
}

#[test]
fn redirects_stay_where_the_operator_pointed() -> Result<()> {
    let key = Key::new("k", "ES256")?;
    let token = key.token(&claims())?;
    let elsewhere = Issuer::start(&set(&[&key]))?;
    let issuer = Issuer::start("")?;
    let error = |to: &str| -> Result<String> {
        issuer.behave(Behaviour::Redirect(to.to_owned()));
        let weir = gateway(&issuer, "")?;
        let error = wait_for("the fetch's end", 8 * SECOND, || {
            weir.json(&["jwks", "status", "--json"]).ok()?[0]["error"].as_str().map(str::to_owned)
        })?;
        ensure!(status(&weir, &token)? == 503);
        Ok(error)
    };
    for (to, said) in [
        (format!("http://127.0.0.1:{}/jwks.json", elsewhere.port), "another host"),
        (format!("http://localhost:{}/jwks.json", elsewhere.port), "another host"),
        (format!("//localhost.:{}/jwks.json", issuer.port), "another host"),
        ("/again".to_owned(), "more than 3 redirects"),
        ("file:///etc/passwd".to_owned(), "no URL"),
    ] {
        let error = error(&to)?;
        ensure!(error.contains(said), "{to}: {error}");
    }
    ensure!(elsewhere.asked() == 0, "{:?}", elsewhere.paths());
    Ok(())
}

#[test]
fn https_is_believed_by_its_authority_only() -> Result<()> {
    let (own, strange) = (Authority::new("own")?, Authority::new("strange")?);
    let key = Key::new("k", "ES256")?;
    let token = key.token(&claims())?;
    let server = std::sync::Arc::new(tls::server(&own.issue(&["localhost"])?, None)?);
    let issuer = Issuer::start_tls(&set(&[&key]), server)?;
    for (ca, expected) in [("own.crt", 200), ("strange.crt", 503)] {
        let place = Place::new()?;
        own.write(place.folder(), "own")?;
        strange.write(place.folder(), "strange")?;
        let weir = at(place, &format!("jwks = \"{}\", ca = \"{ca}\"", issuer.url()))?;
        settles(&weir, ca, &token, expected, 5 * SECOND)?;
    }
    // Never down to http.
    let plain = Issuer::start(&set(&[&key]))?;
    issuer.behave(Behaviour::Redirect(plain.url()));
    let place = Place::new()?;
    own.write(place.folder(), "own")?;
    let weir = at(place, &format!("jwks = \"{}\", ca = \"own.crt\"", issuer.url()))?;
    settles(&weir, "a redirect to http", &token, 503, 5 * SECOND)?;
    ensure!(plain.asked() == 0);
    Ok(())
}

#[test]
fn several_sets_serve_one_api_and_one_that_is_down_costs_the_others_nothing() -> Result<()> {
    let (a, b) = (Key::new("a", "ES256")?, Key::new("b", "RS256")?);
    let (first, second) = (Issuer::start(&set(&[&a]))?, Issuer::start(&set(&[&b]))?);
    let dead = weir_tests::ports::free_port()?;
    let urls = format!("[\"{}\", \"http://127.0.0.1:{dead}/\", \"{}\"]", first.url(), second.url());
    let weir = at(Place::new()?, &format!("jwks = {urls}"))?;
    for key in [&a, &b] {
        settles(&weir, &key.kid, &key.token(&claims())?, 200, 5 * SECOND)?;
    }
    ensure!(status(&weir, &unknown(&a, 1)?[0])? == 503, "the set that is not there may know it");
    Ok(())
}

#[test]
fn keys_without_names_are_tried_and_names_choose() -> Result<()> {
    let (bare, named) = (Key::new("bare", "ES256")?, Key::new("named", "ES256")?);
    let mut nameless = bare.bare_jwk();
    nameless["use"] = json!("sig");
    let mut for_encryption = Key::new("enc", "RS256")?.jwk();
    for_encryption["use"] = json!("enc");
    let document = json!({"keys": [nameless, named.jwk(), for_encryption]}).to_string();
    let issuer = Issuer::start(&document)?;
    let weir = gateway(&issuer, "")?;
    let under = |key: &Key, header: serde_json::Value| key.token_under(&header, &claims());
    settles(&weir, "keys", &under(&bare, json!({"alg": "ES256"}))?, 200, 5 * SECOND)?;
    for (what, token, expected) in [
        ("no name, a named key", under(&named, json!({"alg": "ES256"}))?, 200),
        ("a name that only a nameless key can have", under(&bare, json!({"alg": "ES256", "kid": "x"}))?, 200),
        ("the name of another key", under(&bare, json!({"alg": "ES256", "kid": "named"}))?, 401),
    ] {
        let answer = status(&weir, &token)?;
        ensure!(answer == expected, "{what}: {answer}");
    }
    Ok(())
}

#[test]
fn mistakes_are_named_with_their_place() -> Result<()> {
    let place = Place::new()?;
    std::fs::write(place.folder().join("short"), "short")?;
    for (jwt, message) in [
        ("algorithms = [\"RS256\"]", "one of `jwks`, the URL of a key set, and `secret`"),
        ("jwks = 7", "`jwks` is the URL of a key set"),
        ("jwks = \"login.example\"", "a key set is at"),
        ("jwks = \"http://user:pass@login.example/\"", "without user and fragment"),
        ("jwks = \"ftp://login.example/\"", "a key set is at"),
        ("jwks = \"http://a/\", algorithms = [\"none\"]", "`none` is not supported"),
        ("jwks = \"http://a/\", algorithms = [\"HS256\"]", "name its file in `secret`"),
        ("jwks = \"http://a/\", cache = \"1s\"", "`cache` is 10s to 1d"),
        ("jwks = \"http://a/\", pin = \"nowhere\"", "is no folder"),
        ("jwks = \"http://a/\", ca = \"short\"", "`ca` is for https"),
        ("jwks = \"http://a/\", audiences = \"x\"", "did you mean `audience`?"),
        ("jwks = \"http://a/\", claims = { default_policies = [\"x\"] }", "no [[policy]] is named `x`"),
        ("secret = \"short\", algorithms = [\"HS256\"]", "a secret has 32 to"),
        ("secret = \"short\"", "`algorithms` names HS256"),
    ] {
        place.write_config(&config(&place, "respond = { status = 200 }", jwt))?;
        let checked = place.command(&["check"])?;
        let said = String::from_utf8_lossy(&checked.stderr).into_owned();
        ensure!(checked.status.code() == Some(1) && said.contains(message), "{jwt}: {said}");
        ensure!(said.contains("weir.toml:7:"), "{jwt}: {said}");
    }
    place.write_config(&config(&place, "respond = { status = 200 }", "jwks = \"http://a/\""))?;
    let checked = place.json(&["check", "--json"])?;
    let parts = checked["memory"].to_string();
    ensure!(parts.contains("verified tokens") && parts.contains("key sets"), "{checked}");
    Ok(())
}
