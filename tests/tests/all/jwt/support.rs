//! Gateways with an API `a` that takes tokens.

use std::net::Ipv4Addr;

use anyhow::Result;
use serde_json::{Value, json};
use weir_tests::http;
use weir_tests::issuer::Issuer;
use weir_tests::recorder::Recorder;
use weir_tests::weir::{Place, Weir};

/// Seconds of Unix time.
pub fn unix_s() -> u64 {
    weir::plane::unix_s()
}

/// Of alice, for ten minutes.
pub fn claims() -> Value {
    json!({"sub": "alice", "exp": unix_s() + 600})
}

pub const RESPOND: &str = "respond = { status = 200, body = \"ok\" }";

/// With the issuer's set; `more` goes into the settings.
pub fn gateway(issuer: &Issuer, more: &str) -> Result<Weir> {
    Weir::start(|place| config(place, RESPOND, &format!("jwks = \"{}\"{more}", issuer.url())))
}

pub fn forwarding(issuer: &Issuer, upstream: &Recorder, more: &str) -> Result<Weir> {
    let answer = format!("upstreams = [\"http://127.0.0.1:{}\"]", upstream.port);
    Weir::start(|place| config(place, &answer, &format!("jwks = \"{}\"{more}", issuer.url())))
}

pub fn with_secret(secret: &[u8], algorithms: &str) -> Result<Weir> {
    let place = Place::new()?;
    std::fs::write(place.folder().join("secret"), secret)?;
    place.write_config(&config(
        &place,
        RESPOND,
        &format!("secret = \"secret\", algorithms = {algorithms}"),
    ))?;
    Weir::start_at(place)
}

pub fn revoking(issuer: &Issuer) -> Result<Weir> {
    let place = Place::new()?;
    std::fs::write(place.folder().join("revoked.toml"), "")?;
    let jwt = format!("jwks = \"{}\", revoked = \"revoked.toml\"", issuer.url());
    place.write_config(&config(&place, RESPOND, &jwt))?;
    Weir::start_at(place)
}

/// At a place that a test made ready.
pub fn at(place: Place, jwt: &str) -> Result<Weir> {
    place.write_config(&config(&place, RESPOND, jwt))?;
    Weir::start_at(place)
}

/// An API that takes tokens, and one, `/open`, that takes anybody.
pub fn config(place: &Place, answer: &str, jwt: &str) -> String {
    format!(
        "[[listener]]\naddress = \"{}:{}\"\n[[api]]\nname = \"a\"\nlisten_path = \"/\"\n{answer}\n\
         auth = {{ jwt = {{ {jwt} }} }}\n[[api]]\nname = \"open\"\nlisten_path = \"/open\"\n{RESPOND}\n\
         [kernel]\nmode = \"off\"\n",
        Ipv4Addr::LOCALHOST,
        place.port
    )
}

/// What a request with the token is answered.
pub fn status(weir: &Weir, token: &str) -> Result<u16> {
    let line = format!("Authorization: Bearer {token}\r\n");
    Ok(http::Connection::open(weir.address())?.get("/", &line)?.status)
}
