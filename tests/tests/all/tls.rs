//! TLS listeners: which certificate, who is let in, what becomes of those that trickle or send nonsense,
//! and what a changed file does to those who are served.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use weir_tests::http::PATIENCE;
use weir_tests::pki::Authority;
use weir_tests::tls::{Client, Offer};
use weir_tests::wait::wait_for;
use weir_tests::weir::{Place, Weir};

const ONE: &str = "[{ cert = \"a.crt\", key = \"a.key\" }]";
const HELLO: &str =
    "[[api]]\nname = \"hello\"\nlisten_path = \"/\"\nrespond = { status = 200, body = \"hello\" }\n";

/// A configuration without a kernel plane; `tls` is the listener's, `rest` goes to the end.
fn config(place: &Place, tls: &str, rest: &str) -> String {
    format!(
        "[[listener]]\naddress = \"127.0.0.1:{}\"\ntls = {{ {tls} }}\n{HELLO}{rest}[kernel]\nmode = \"off\"\n",
        place.port
    )
}

/// Starts Weir where an authority's `a.crt` and `a.key` for a.example lie.
fn start(tls: &str, rest: &str) -> Result<(Weir, Authority)> {
    let authority = Authority::new("Weir's test authority")?;
    let place = Place::new()?;
    authority.issue(&["a.example"])?.write(place.folder(), "a")?;
    authority.write(place.folder(), "ca")?;
    place.write_config(&config(&place, tls, rest))?;
    Ok((Weir::start_at(place)?, authority))
}

#[test]
fn the_certificate_is_that_of_the_name_asked_for() -> Result<()> {
    let authority = Authority::new("Weir's test authority")?;
    let place = Place::new()?;
    let names: [&[&str]; 3] = [&["a.example"], &["*.shop.example"], &["api.shop.example"]];
    let issued = names.map(|names| authority.issue(names).unwrap());
    for (issued, name) in issued.iter().zip(["a", "b", "c"]) {
        issued.write(place.folder(), name)?;
    }
    let rows = ["a", "b", "c"].map(|name| format!("{{ cert = \"{name}.crt\", key = \"{name}.key\" }}"));
    place.write_config(&config(&place, &format!("certificates = [{}]", rows.join(", ")), ""))?;
    let weir = Weir::start_at(place)?;
    let client = Client::new(&authority, &Offer::default())?;
    for (name, expected) in [
        ("a.example", 0),
        ("www.shop.example", 1),
        ("WWW.shop.example", 1),
        ("api.shop.example", 2),
        ("x.www.shop.example", 0),
        ("stranger.example", 0),
        ("192.0.2.1", 0),
    ] {
        let mut connection = client.connect(weir.address(), name)?;
        ensure!(connection.certificate()? == issued[expected].certificate, "{name}");
        ensure!(connection.get("/")?.text() == "hello");
    }
    Ok(())
}

#[test]
fn what_both_speak_is_agreed_and_nothing_else_goes_on() -> Result<()> {
    let (weir, authority) = start(&format!("certificates = {ONE}"), "")?;
    for (offered, expected) in
        [(&[][..], None), (&["http/1.1"], Some("http/1.1")), (&["spdy/3", "http/1.1"], Some("http/1.1"))]
    {
        let client = Client::new(&authority, &Offer { alpn: offered, ..Offer::default() })?;
        let mut connection = client.connect(weir.address(), "a.example")?;
        ensure!(connection.alpn() == expected.map(str::as_bytes), "{offered:?}");
        ensure!(connection.get("/")?.status == 200);
    }
    let stranger = Client::new(&authority, &Offer { alpn: &["spdy/3"], ..Offer::default() })?;
    let refused = stranger.connect(weir.address(), "a.example").err().context("ALPN without a match")?;
    ensure!(format!("{refused:#}").contains("NoApplicationProtocol"), "{refused:#}");
    weir.wait_closed("handshake_alpn")?;
    // HTTP/1 was agreed, HTTP/2 comes.
    let client = Client::new(&authority, &Offer { alpn: &["http/1.1"], ..Offer::default() })?;
    let mut connection = client.connect(weir.address(), "a.example")?;
    connection.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")?;
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).unwrap_or(0);
    ensure!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 505 "), "{answer:?}");
    Ok(())
}

#[test]
fn versions_and_suites_are_those_of_the_configuration() -> Result<()> {
    use rustls::version::{TLS12, TLS13};

    const SUITE: &str = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384";
    for (rest, v12, v13) in [
        ("", true, true),
        (", min_version = \"1.2\"", true, true),
        (", min_version = \"1.3\"", false, true),
        (&format!(", suites = [\"{SUITE}\"]"), true, false),
    ] {
        let (weir, authority) = start(&format!("certificates = {ONE}{rest}"), "")?;
        for (version, served) in [(&TLS12, v12), (&TLS13, v13)] {
            let client = Client::new(&authority, &Offer { versions: &[version], ..Offer::default() })?;
            let connected = client.connect(weir.address(), "a.example");
            ensure!(connected.is_ok() == served, "{rest}: {version:?}: {:?}", connected.err());
        }
    }
    Ok(())
}

#[test]
fn a_client_shows_the_certificate_that_is_asked_of_it() -> Result<()> {
    for (word, without) in [("required", false), ("optional", true)] {
        let tls = format!("certificates = {ONE}, client_ca = \"ca.crt\", client_auth = \"{word}\"");
        let (weir, authority) = start(&tls, "")?;
        let strangers = Authority::new("another authority")?;
        let (own, strange) = (authority.issue(&["client"])?, strangers.issue(&["client"])?);
        for (certificate, served) in [(None, without), (Some(&own), true), (Some(&strange), false)] {
            let client = Client::new(&authority, &Offer { certificate, ..Offer::default() })?;
            // TLS 1.3 tells a client that it is refused only after its handshake.
            let answer =
                client.connect(weir.address(), "a.example").and_then(|mut connection| connection.get("/"));
            ensure!(answer.is_ok_and(|answer| answer.status == 200) == served, "{word}, {served}");
        }
        weir.wait_closed("handshake_certificate")?;
    }
    Ok(())
}

#[test]
fn an_api_wants_a_certificate_and_its_neighbour_does_not() -> Result<()> {
    const INNER: &str = "[[api]]\nname = \"inner\"\nlisten_path = \"/inner\"\nclient_certificate = \"required\"\nrespond = { status = 200, body = \"inner\" }\n";
    let tls = format!("certificates = {ONE}, client_ca = \"ca.crt\", client_auth = \"optional\"");
    let (weir, authority) = start(&tls, INNER)?;
    let own = authority.issue(&["client"])?;
    for (certificate, status) in [(None, 403), (Some(&own), 200)] {
        let client = Client::new(&authority, &Offer { certificate, ..Offer::default() })?;
        let mut connection = client.connect(weir.address(), "a.example")?;
        ensure!(connection.get("/")?.status == 200);
        let answer = connection.get("/inner")?;
        ensure!(answer.status == status, "{} for {status}", answer.status);
    }
    Ok(())
}

#[test]
fn a_handshake_that_trickles_or_swells_is_ended() -> Result<()> {
    let (weir, _) = start(&format!("certificates = {ONE}"), "[timeouts]\nhandshake = \"400ms\"\n")?;
    let open = || -> Result<TcpStream> {
        let stream = TcpStream::connect(weir.address())?;
        stream.set_read_timeout(Some(Duration::from_millis(50)))?;
        Ok(stream)
    };
    // A byte of a hello every 50 ms: each comes well within any time between two bytes.
    let mut trickling = open()?;
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".iter().chain([&0; 200]);
    let mut sent = 0;
    for byte in hello {
        if trickling.write_all(&[*byte]).is_err() || trickling.read(&mut [0; 64]).is_ok_and(|read| read == 0)
        {
            break;
        }
        sent += 1;
    }
    ensure!(sent < 40, "{sent} bytes at 50 ms each were taken");
    weir.wait_closed("handshake_timeout")?;
    // Nobody waits for a byte for ever either.
    let mut silent = open()?;
    silent.set_read_timeout(Some(PATIENCE))?;
    ensure!(silent.read(&mut [0; 64])? == 0, "a silent one is closed");
    // A hello of 64 KiB in records of 4 KiB.
    let mut swelling = open()?;
    let mut record = b"\x16\x03\x01\x10\x00\x01\x00\xff\xff\x03\x03".to_vec();
    record.resize(5 + 4096, 0);
    for _ in 0..15 {
        // It may be over already.
        if swelling.write_all(&record).is_err() {
            break;
        }
        record[5..].fill(0);
    }
    weir.wait_closed("handshake_bytes")?;
    // No TLS at all.
    open()?.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")?;
    weir.wait_closed("handshake_malformed")?;
    Ok(())
}

#[test]
fn an_upstream_is_told_that_it_was_https() -> Result<()> {
    let upstream = std::net::TcpListener::bind("127.0.0.1:0")?;
    let port = upstream.local_addr()?.port();
    let recorded = std::thread::spawn(move || -> Result<String> {
        let (mut stream, _) = upstream.accept()?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
        Ok(String::from_utf8(head)?.to_ascii_lowercase())
    });
    let api =
        format!("[[api]]\nname = \"up\"\nlisten_path = \"/up\"\nupstreams = [\"http://127.0.0.1:{port}\"]\n");
    let (weir, authority) = start(&format!("certificates = {ONE}"), &api)?;
    let client = Client::new(&authority, &Offer::default())?;
    ensure!(client.connect(weir.address(), "a.example")?.get("/up")?.status == 200);
    let head = recorded.join().expect("the upstream lives")?;
    ensure!(head.contains("\r\nx-forwarded-proto: https\r\n"), "{head}");
    Ok(())
}

/// Replaces a.crt and a.key by another of the same authority; its certificate.
fn replace(authority: &Authority, folder: &Path) -> Result<rustls::pki_types::CertificateDer<'static>> {
    let fresh = authority.issue(&["a.example"])?;
    fresh.write(folder, "a")?;
    Ok(fresh.certificate)
}

#[test]
fn a_changed_certificate_is_served_and_nobody_is_cut_off() -> Result<()> {
    let (weir, authority) = start(&format!("certificates = {ONE}"), "")?;
    let server = weir.address();
    let client = Client::new(&authority, &Offer::default())?;
    let mut kept = client.connect(server, "a.example")?;
    // A client without tickets: a resumed session shows the certificate that it began with.
    let present = || Client::new(&authority, &Offer::default())?.connect(server, "a.example")?.certificate();
    let serves = |certificate: &_| present().is_ok_and(|one| one == *certificate);
    // Requests go on all the time, on kept connections and new ones: none fails.
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let load = std::thread::spawn({
        let client = client.clone();
        move || -> Result<u32> {
            let mut kept = client.connect(server, "a.example")?;
            let mut answered = 0;
            while stopped.try_recv().is_err() {
                let mut fresh = client.connect(server, "a.example")?;
                for connection in [&mut kept, &mut fresh] {
                    ensure!(connection.get("/")?.status == 200);
                    answered += 1;
                }
            }
            Ok(answered)
        }
    });
    for round in 0..5 {
        let fresh = replace(&authority, weir.place.folder())?;
        if round == 4 {
            weir.signal(Signal::SIGHUP)?;
        }
        wait_for("the new certificate", PATIENCE, || serves(&fresh).then_some(()))?;
    }
    stop.send(())?;
    let answered = load.join().expect("the load lives")?;
    ensure!(answered > 20, "{answered} requests");
    ensure!(kept.get("/")?.status == 200, "a connection of before serves on");
    // A ticket of before is still good, after another certificate.
    let resumed = client.connect(server, "a.example")?;
    ensure!(resumed.is_resumed(), "tickets outlive a reload");
    // Half a file: the old certificate stays, and it is said.
    let before = present()?;
    std::fs::write(weir.place.folder().join("a.crt"), "-----BEGIN CERTIFICATE-----\nMIIB")?;
    let said = || weir.status("/config/last_reload/error").ok()?.as_str().map(str::to_owned);
    let error = wait_for("the mistake", PATIENCE, said)?;
    ensure!(error.contains("weir.toml:3:") && error.contains("a.crt"), "{error}");
    ensure!(serves(&before), "the old one holds");
    // A key of another certificate, likewise.
    authority.issue(&["a.example"])?.write(weir.place.folder(), "b")?;
    std::fs::rename(weir.place.folder().join("b.crt"), weir.place.folder().join("a.crt"))?;
    let fit = || said().filter(|error| error.contains("does not fit"));
    wait_for("the other mistake", PATIENCE, fit)?;
    ensure!(serves(&before), "the old one holds");
    Ok(())
}

#[test]
fn tickets_do_not_carry_over_to_other_clients_authorities() -> Result<()> {
    let (weir, authority) = start(&format!("certificates = {ONE}"), "")?;
    let client = Client::new(&authority, &Offer::default())?;
    for resumed in [false, true] {
        let mut connection = client.connect(weir.address(), "a.example")?;
        ensure!(connection.is_resumed() == resumed && connection.get("/")?.status == 200);
    }
    let tls = format!("certificates = {ONE}, client_ca = \"ca.crt\", client_auth = \"required\"");
    weir.place.write_config(&config(&weir.place, &tls, ""))?;
    ensure!(weir.command(&["reload"])?.status.success());
    let answer = client.connect(weir.address(), "a.example").and_then(|mut connection| connection.get("/"));
    ensure!(answer.is_err(), "a session without a certificate is not resumed where one is required");
    Ok(())
}

const CONNECTIONS: u64 = 500;

/// Bytes that each of many connections, made by `open`, adds to the resident memory.
fn bytes_each<T>(open: impl Fn(SocketAddr, &Client) -> Result<T>) -> Result<u64> {
    let (weir, authority) = start(&format!("certificates = {ONE}"), "[timeouts]\nhandshake = \"60s\"\n")?;
    let client = Client::new(&authority, &Offer::default())?;
    // What is made once is made.
    client.connect(weir.address(), "a.example")?.get("/")?;
    let n_open = || weir.metric("weir_connections").unwrap_or(0);
    let all_open = |count| wait_for("all connections", PATIENCE, || (n_open() == count).then_some(()));
    all_open(0)?;
    let before = weir.resident_kib()?;
    let held = (0..CONNECTIONS).map(|_| open(weir.address(), &client)).collect::<Result<Vec<_>>>()?;
    all_open(CONNECTIONS)?;
    let grown = weir.resident_kib()?.saturating_sub(before) * 1024 / CONNECTIONS;
    drop(held);
    Ok(grown)
}

#[test]
fn a_half_open_handshake_and_an_idle_connection_cost_little() -> Result<()> {
    let half_open = bytes_each(|server, _| {
        let mut stream = TcpStream::connect(server)?;
        stream.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")?;
        Ok(stream)
    })?;
    let idle = bytes_each(|server, client| {
        let mut connection = client.connect(server, "a.example")?;
        connection.get("/")?;
        Ok(connection)
    })?;
    println!("a half-open handshake takes {half_open} B, an idle connection {idle} B");
    ensure!(half_open < 20_000, "{half_open} B each");
    ensure!(idle < 40_000, "{idle} B each");
    Ok(())
}

#[test]
fn mistakes_are_named_and_certificates_listed() -> Result<()> {
    let authority = Authority::new("Weir's test authority")?;
    let place = Place::new()?;
    authority.issue(&["a.example", "*.b.example"])?.write(place.folder(), "a")?;
    authority.issue(&["c.example"])?.write(place.folder(), "other")?;
    authority.issue_expired(&["old.example"])?.write(place.folder(), "old")?;
    std::fs::write(place.folder().join("empty.crt"), "")?;
    let check = |tls: &str| -> Result<(bool, String)> {
        place.write_config(&config(&place, tls, ""))?;
        let output = place.command(&["check"])?;
        let text = [output.stdout, output.stderr].concat();
        Ok((output.status.success(), String::from_utf8(text)?))
    };
    for (tls, column, part) in [
        ("certificates = []", 24, "at least one"),
        ("certificates = [{ cert = \"no.crt\", key = \"a.key\" }]", 34, "cannot be read"),
        ("certificates = [{ cert = \"a.crt\", key = \"no.key\" }]", 49, "cannot be read"),
        ("certificates = [{ cert = \"a.crt\", key = \"other.key\" }]", 34, "does not fit"),
        ("certificates = [{ cert = \"empty.crt\", key = \"a.key\" }]", 34, "holds no certificate"),
        ("certificates = [{ cert = \"a.crt\", key = \"a.crt\" }]", 49, "holds no private key"),
        (&format!("certificates = {ONE}, client_auth = \"required\""), 75, "needs `client_ca`"),
        (&format!("certificates = {ONE}, client_ca = \"a.key\""), 73, "holds no certificate"),
        (&format!("certificates = {ONE}, min_version = \"1.1\""), 75, "one of 1.2, 1.3"),
        (&format!("certificates = {ONE}, suites = [\"TLS13_AES_128_GCM_SHA25\"]"), 71, "did you mean"),
    ] {
        let (ok, said) = check(tls)?;
        let place = format!("weir.toml:3:{column}: ");
        ensure!(
            !ok && said.contains(&place) && said.contains(part),
            "{tls}: wanted {place}{part}, got {said}"
        );
    }
    let (ok, said) = check(
        "certificates = [{ cert = \"a.crt\", key = \"a.key\" }, { cert = \"old.crt\", key = \"old.key\" }]",
    )?;
    ensure!(ok, "an expired certificate is a warning: {said}");
    ensure!(said.contains("a.crt: a.example, *.b.example; until Jan  1 00:00:00 4096"), "{said}");
    ensure!(said.contains("old.crt: old.example; EXPIRED Jan  1"), "{said}");
    let json = place.json(&["check", "--json"])?;
    ensure!(json.pointer("/certificates/0/names/1").is_some_and(|name| name == "*.b.example"), "{json}");
    Ok(())
}
