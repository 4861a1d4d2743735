//! Credentials against the real gateway: files that change while it serves, certificates in a handshake,
//! guessers, and secrets that stand in no log.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use weir_tests::http::Connection;
use weir_tests::pki::Authority;
use weir_tests::tls::{Client, Offer};
use weir_tests::wait::wait_for;
use weir_tests::weir::{Place, Weir, binary};

/// A change of a file of keys is in force within it.
const SECOND: Duration = Duration::from_secs(1);

/// Waits until `condition` holds; what goes wrong in it is told.
fn until(what: &str, deadline: Duration, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    wait_for(what, deadline, || match condition() {
        Ok(false) => None,
        Ok(true) => Some(Ok(())),
        Err(error) => Some(Err(error)),
    })?
}

/// `weir keys ARGUMENTS --file keys.toml --json`.
fn keys(place: &Path, arguments: &[&str]) -> Result<serde_json::Value> {
    let mut command = Command::new(binary()?);
    command.arg("keys").args(arguments).arg("--file").arg(place.join("keys.toml")).arg("--json");
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "weir keys {arguments:?}: {said}");
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn secret(created: &serde_json::Value) -> Result<String> {
    Ok(created["key"].as_str().context("a key")?.to_owned())
}

fn start(more: &str) -> Result<Weir> {
    let place = Place::new()?;
    std::fs::write(place.folder().join("keys.toml"), "")?;
    place.write_config(&format!(
        "access_log = {{ to = \"access.log\" }}\n[[listener]]\naddress = \"127.0.0.1:{}\"\n{more}[[api]]\nname = \"shop\"\nlisten_path = \"/\"\nrespond = {{ status = 200, body = \"in\" }}\nauth = {{ key = {{ file = \"keys.toml\", query = \"key\", header = \"X-Api-Key\" }} }}\n[kernel]\nmode = \"off\"\nguard_own_addresses = false\n",
        place.port
    ))?;
    Weir::start_at(place)
}

fn status(weir: &Weir, key: &str) -> Result<u16> {
    Ok(Connection::open(weir.address())?.get("/", &format!("X-Api-Key: {key}\r\n"))?.status)
}

fn becomes(weir: &Weir, key: &str, expected: u16) -> Result<()> {
    until(&format!("{expected}"), SECOND, || Ok(status(weir, key)? == expected))
}

#[test]
fn keys_are_made_rotated_and_taken_away_while_weir_serves() -> Result<()> {
    let weir = start("")?;
    let folder = weir.place.folder();
    let first = secret(&keys(folder, &["create", "robot", "--metadata", "team=blue"])?)?;
    becomes(&weir, &first, 200)?;
    ensure!(status(&weir, "none")? == 401);
    // Who holds the key asks all the time, and is never refused while it is rotated.
    let second = secret(&keys(folder, &["rotate", "robot", "--grace", "3s"])?)?;
    until("the new key", SECOND, || {
        ensure!(status(&weir, &first)? == 200, "the old key holds through the grace");
        Ok(status(&weir, &second)? == 200)
    })?;
    until("the old key's end", Duration::from_secs(5), || {
        ensure!(status(&weir, &second)? == 200);
        Ok(status(&weir, &first)? == 401)
    })?;
    let shown = keys(folder, &["show", "robot"])?;
    ensure!(shown["metadata"]["team"] == "blue" && shown["name"] == "robot", "{shown}");
    keys(folder, &["rm", "robot"])?;
    becomes(&weir, &second, 401)
}

#[test]
fn a_wrong_file_of_keys_leaves_the_old_one_in_force() -> Result<()> {
    let weir = start("")?;
    let folder = weir.place.folder();
    let key = secret(&keys(folder, &["create", "robot"])?)?;
    becomes(&weir, &key, 200)?;
    keys(folder, &["create", "other", "--policy", "none"])?;
    until("the failed reload", SECOND, || Ok(weir.metric("weir_config_reload_ok")? == 0))?;
    ensure!(status(&weir, &key)? == 200);
    keys(folder, &["rm", "other"])?;
    until("the good reload", SECOND, || Ok(weir.metric("weir_config_reload_ok")? == 1))
}

#[test]
fn no_secret_stands_in_a_log() -> Result<()> {
    let weir = with_all()?;
    let folder = weir.place.folder();
    let key = secret(&keys(folder, &["create", "robot"])?)?;
    becomes(&weir, &key, 200)?;
    let guess = "guessed-Sup3rSecret";
    for fields in [
        format!("X-Api-Key: {guess}\r\n"),
        "Authorization: Basic Z3Vlc3NlZC1TdXAzclNlY3JldDpndWVzc2VkLVN1cDNyU2VjcmV0\r\n".to_owned(),
        format!("Signature-Input: a=();keyid=\"{guess}\";created=1\r\nSignature: a=:{guess}:\r\n"),
    ] {
        let answer = Connection::open(weir.address())?.get("/", &fields)?;
        ensure!(answer.status == 401 && !answer.text().contains(guess), "{}", answer.text());
    }
    ensure!(Connection::open(weir.address())?.get(&format!("/?key={key}"), "")?.status == 200);
    ensure!(Connection::open(weir.address())?.get(&format!("/?key={guess}"), "")?.status == 401);
    let log = folder.join("access.log");
    let written = || std::fs::read_to_string(&log).unwrap_or_default();
    until("the lines", Duration::from_secs(5), || {
        Ok(written().matches("\"auth_reason\":\"unknown\"").count() >= 2)
    })?;
    let all = format!("{}{}{}", written(), weir.output(), weir.metrics()?);
    ensure!(all.contains("\"credential\":\"robot\""), "{all}");
    for secret in [guess, &key, "Z3Vlc3NlZC1", "c2VjcmV0LXNlY3JldC1zZWNyZXQ"] {
        ensure!(!all.contains(secret), "{secret} in {all}");
    }
    Ok(())
}

/// With every scheme that has a file.
fn with_all() -> Result<Weir> {
    let place = Place::new()?;
    let write = |name: &str, text: &str| std::fs::write(place.folder().join(name), text);
    write("keys.toml", "")?;
    write("users.toml", "")?;
    write("signers.toml", "[[signer]]\nname = \"s\"\nsecret = \"c2VjcmV0LXNlY3JldC1zZWNyZXQ=\"\n")?;
    place.write_config(&format!(
        "access_log = {{ to = \"access.log\" }}\n[[listener]]\naddress = \"127.0.0.1:{}\"\n[[api]]\nname = \"shop\"\nlisten_path = \"/\"\nrespond = {{ status = 200, body = \"in\" }}\nauth = {{ key = {{ file = \"keys.toml\", query = \"key\", header = \"X-Api-Key\" }}, basic = {{ file = \"users.toml\" }}, hmac = {{ file = \"signers.toml\" }} }}\n[kernel]\nmode = \"off\"\n",
        place.port
    ))?;
    Weir::start_at(place)
}

#[test]
fn a_guesser_gets_429_and_is_shed() -> Result<()> {
    let limit = "[limit.client]\nrequests = { rate = \"10/s\", burst = 100 }\nshed_after = { refused = 5, within = \"10s\" }\nshed = [\"10s\"]\n";
    let weir = start(limit)?;
    let mut answers = Vec::new();
    for idx in 0..100 {
        let Ok(answer) = status(&weir, &format!("guess-{idx}")) else { break };
        answers.push(answer);
    }
    let guesses = answers.iter().filter(|answer| **answer == 401).count();
    // 11 requests each; what is refilled meanwhile is one or two more.
    ensure!((9..=12).contains(&guesses), "{guesses} guesses were judged: {answers:?}");
    ensure!(answers.iter().filter(|answer| **answer == 429).count() >= 5, "{answers:?}");
    ensure!(answers.len() < 100, "a shed client's connections end: {answers:?}");
    Ok(())
}

#[test]
fn a_certificate_is_known_by_fingerprint_name_or_subject() -> Result<()> {
    let authority = Authority::new("Weir's test authority")?;
    let place = Place::new()?;
    authority.issue(&["a.example"])?.write(place.folder(), "a")?;
    authority.write(place.folder(), "ca")?;
    let issued = ["one.example", "two.example", "three.example", "four.example", "five.example"]
        .map(|name| authority.issue(&[name]).unwrap());
    let rows = format!(
        "[[certificate]]\nname = \"one\"\nsha256 = \"{}\"\n[[certificate]]\nname = \"two\"\nsan = \"dns:two.example\"\n[[certificate]]\nname = \"three\"\nsubject = \"CN=three.example\"\n[[certificate]]\nname = \"four\"\nsan = \"dns:four.example\"\ndisabled = true\n",
        fingerprint(&issued[0].certificate)
    );
    std::fs::write(place.folder().join("certificates.toml"), rows)?;
    let api = |name: &str, path: &str, auth: &str| {
        format!(
            "[[api]]\nname = \"{name}\"\nlisten_path = \"{path}\"\nrespond = {{ status = 200 }}\nauth = {{ mtls = {{ {auth} }} }}\n"
        )
    };
    place.write_config(&format!(
        "[[listener]]\naddress = \"127.0.0.1:{}\"\ntls = {{ certificates = [{{ cert = \"a.crt\", key = \"a.key\" }}], client_ca = \"ca.crt\", client_auth = \"optional\" }}\n{}{}[kernel]\nmode = \"off\"\n",
        place.port,
        api("listed", "/", "file = \"certificates.toml\""),
        api("any", "/any/", "file = \"certificates.toml\", any = true"),
    ))?;
    let weir = Weir::start_at(place)?;
    for (certificate, listed, any) in [
        (None, 401, 401),
        (Some(&issued[0]), 200, 200),
        (Some(&issued[1]), 200, 200),
        (Some(&issued[2]), 200, 200),
        (Some(&issued[3]), 401, 401),
        (Some(&issued[4]), 401, 200),
    ] {
        let client = Client::new(&authority, &Offer { certificate, ..Offer::default() })?;
        let mut connection = client.connect(weir.address(), "a.example")?;
        for (path, expected) in [("/", listed), ("/any/", any)] {
            let answer = connection.get(path)?;
            ensure!(answer.status == expected, "{path}: {} for {expected}", answer.status);
        }
    }
    // An open connection is judged anew once the file changed.
    let client = Client::new(&authority, &Offer { certificate: Some(&issued[1]), ..Offer::default() })?;
    let mut kept = client.connect(weir.address(), "a.example")?;
    ensure!(kept.get("/")?.status == 200);
    std::fs::write(weir.place.folder().join("certificates.toml"), "")?;
    until("the certificate's end", SECOND, || Ok(kept.get("/")?.status == 401))
}

fn fingerprint(certificate: &[u8]) -> String {
    use sha2::Digest as _;
    sha2::Sha256::digest(certificate).iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}
