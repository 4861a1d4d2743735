//! TLS to upstreams: whom Weir believes, what it shows, and that nothing is sent to anybody else.

use std::net::Ipv4Addr;

use anyhow::{Result, ensure};
use weir_tests::http;
use weir_tests::pki::Authority;
use weir_tests::recorder::Recorder;
use weir_tests::tls;
use weir_tests::weir::{Place, Weir};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn config(place: &Place, scheme: &str, port: u16, tls: &str) -> String {
    format!(
        "[[listener]]\naddress = \"{}:{}\"\n[[api]]\nname = \"up\"\nlisten_path = \"/\"\n\
         upstreams = [\"{scheme}://localhost:{port}/base\"]\n{tls}[kernel]\nmode = \"off\"\n",
        Ipv4Addr::LOCALHOST,
        place.port
    )
}

#[test]
fn an_upstream_is_verified_before_anything_is_sent() -> Result<()> {
    let (own, strange) = (Authority::new("own")?, Authority::new("strange")?);
    let (server, client) = (own.issue(&["localhost"])?, own.issue(&["weir"])?);
    let (named, expired) = (own.issue(&["other.example"])?, own.issue_expired(&["localhost"])?);
    let (pin, other_pin) = (server.pin(), client.pin());
    let ca = "ca = \"own.crt\"";
    let identity = "cert = \"client.crt\", key = \"client.key\"";
    for (what, shown, clients, tls, status) in [
        ("its authority", &server, None, ca.to_owned(), 200),
        ("another authority", &server, None, "ca = \"strange.crt\"".to_owned(), 502),
        ("another name", &named, None, ca.to_owned(), 502),
        ("the name that is wanted", &named, None, format!("{ca}, server_name = \"other.example\""), 200),
        ("an expired certificate", &expired, None, ca.to_owned(), 502),
        ("its key", &server, None, format!("{ca}, pins = [\"{other_pin}\", \"{pin}\"]"), 200),
        ("another key", &server, None, format!("{ca}, pins = [\"{other_pin}\"]"), 502),
        ("a certificate that is asked for", &server, Some(&own), format!("{ca}, {identity}"), 200),
        ("a certificate that is not shown", &server, Some(&own), ca.to_owned(), 502),
    ] {
        let upstream = Recorder::start_tls(OK, tls::server(shown, clients)?)?;
        let place = Place::new()?;
        own.write(place.folder(), "own")?;
        strange.write(place.folder(), "strange")?;
        client.write(place.folder(), "client")?;
        let tls = format!("upstream_tls = {{ {tls} }}\n");
        place.write_config(&config(&place, "https", upstream.port, &tls))?;
        let weir = Weir::start_at(place)?;
        let mut connection = http::Connection::open(weir.address())?;
        for _ in 0..3 {
            let answer = connection.get("/a", "")?;
            ensure!(answer.status == status, "{what}: {} {}", answer.status, answer.text());
        }
        let heads = upstream.heads();
        ensure!(heads.len() == if status == 200 { 3 } else { 0 }, "{what}: {heads:?}");
        let host = format!("\r\nhost: localhost:{}\r\n", upstream.port);
        ensure!(
            heads.iter().all(|head| head.starts_with("get /base/a ") && head.contains(&host)),
            "{heads:?}"
        );
    }
    Ok(())
}

#[test]
fn an_upstream_that_becomes_https_gets_nothing_plain_any_more() -> Result<()> {
    let own = Authority::new("own")?;
    let upstream = Recorder::start(OK, std::time::Duration::ZERO)?;
    let place = Place::new()?;
    own.write(place.folder(), "own")?;
    place.write_config(&config(&place, "http", upstream.port, ""))?;
    let weir = Weir::start_at(place)?;
    ensure!(http::get(weir.address(), "/")?.status == 200, "and a connection is kept");
    let tls = "upstream_tls = { ca = \"own.crt\" }\n";
    weir.place.write_config(&config(&weir.place, "https", upstream.port, tls))?;
    ensure!(weir.command(&["reload"])?.status.success());
    let answer = http::get(weir.address(), "/")?;
    ensure!(answer.status == 502, "{}", answer.status);
    ensure!(upstream.heads().len() == 1, "the kept connection was plain: {:?}", upstream.heads());
    Ok(())
}

#[test]
fn mistakes_are_named() -> Result<()> {
    let own = Authority::new("own")?;
    let place = Place::new()?;
    own.write(place.folder(), "own")?;
    own.issue(&["a"])?.write(place.folder(), "a")?;
    own.issue(&["b"])?.write(place.folder(), "b")?;
    for (scheme, tls, line, part) in [
        ("https", "ca = \"no.crt\"", 7, "cannot be read"),
        ("https", "ca = \"own.crt\", cert = \"a.crt\"", 7, "come together"),
        ("https", "ca = \"own.crt\", cert = \"a.crt\", key = \"b.key\"", 6, "no TLS to this upstream"),
        ("https", "ca = \"own.crt\", pins = [\"00\"]", 7, "64 hex digits"),
        ("https", "ca = \"own.crt\", server_name = \"a b\"", 6, "no TLS to this upstream"),
        ("http", "ca = \"own.crt\"", 7, "there are none"),
    ] {
        place.write_config(&config(&place, scheme, 1, &format!("upstream_tls = {{ {tls} }}\n")))?;
        let output = place.command(&["check"])?;
        let said = String::from_utf8(output.stderr)?;
        let found = said.contains(&format!("weir.toml:{line}:")) && said.contains(part);
        ensure!(!output.status.success() && found, "{tls}: {said}");
    }
    Ok(())
}
