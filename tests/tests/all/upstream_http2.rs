//! HTTP/2 to upstreams: streams both ways at once, trailers, one connection for many, and the same over
//! TLS with another Weir as the upstream.

use std::net::TcpStream;

use anyhow::{Context as _, Result, ensure};
use weir_tests::h2::{Connection, DATA, END_STREAM, HEADERS, RST_STREAM, WINDOW_UPDATE, frame, get, request};
use weir_tests::h2_echo::Echo;
use weir_tests::http::{self, PATIENCE};
use weir_tests::pki::Authority;
use weir_tests::wait::wait_for;
use weir_tests::weir::{Place, Weir};

fn config(place: &Place, url: &str, rest: &str) -> String {
    format!(
        "workers = 1\n[[listener]]\naddress = \"127.0.0.1:{}\"\nh2c = true\n[[api]]\nname = \"up\"\n\
         listen_path = \"/\"\nupstreams = [\"{url}\"]\n{rest}[kernel]\nmode = \"off\"\n",
        place.port
    )
}

fn connect(weir: &Weir) -> Result<Connection<TcpStream>> {
    let stream = TcpStream::connect(weir.address())?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Connection::begin(stream)
}

#[test]
fn a_call_streams_both_ways_and_ends_with_trailers() -> Result<()> {
    let echo = Echo::start()?;
    let weir = Weir::start(|place| config(place, &format!("h2c://127.0.0.1:{}", echo.port), ""))?;
    let mut connection = connect(&weir)?;
    connection.send(&request(1, 0, "POST", "/pkg.Service/Call", &[("te", "trailers")]))?;
    let head = connection.until("the head, before the request's end", |frame| frame.kind == HEADERS)?;
    ensure!(!head.ends_stream());
    for word in ["one", "two", "three"] {
        connection.send(&frame(DATA, 0, 1, word.as_bytes()))?;
        let piece = connection.until("the echo", |frame| frame.kind == DATA)?;
        ensure!(piece.payload == word.as_bytes(), "{piece:?}");
    }
    connection.send(&frame(DATA, END_STREAM, 1, b""))?;
    let end = connection.until("trailers", |frame| frame.kind == HEADERS)?;
    ensure!(end.ends_stream(), "{end:?}");
    Ok(())
}

/// Through windows of 64 KiB on every side.
const LONG: usize = 1_000_000;
const PIECE: usize = 10_000;

#[test]
fn a_long_stream_goes_through_all_windows() -> Result<()> {
    let echo = Echo::start()?;
    let weir = Weir::start(|place| config(place, &format!("h2c://127.0.0.1:{}", echo.port), ""))?;
    let mut connection = connect(&weir)?;
    connection.send(&request(1, 0, "POST", "/", &[]))?;
    let (mut sent, mut came) = (0, 0);
    while came < LONG {
        if sent < LONG && sent - came < 4 * PIECE {
            connection.send(&frame(DATA, 0, 1, &[b'x'; PIECE]))?;
            sent += PIECE;
            continue;
        }
        let is_piece = |frame: &weir_tests::h2::Frame| frame.kind == DATA && !frame.payload.is_empty();
        let piece = connection.until("the echo", is_piece)?;
        came += piece.payload.len();
        let window = u32::try_from(piece.payload.len())?.to_be_bytes();
        connection.send(&[0, 1].map(|stream| frame(WINDOW_UPDATE, 0, stream, &window)).concat())?;
    }
    connection.send(&frame(DATA, END_STREAM, 1, b""))?;
    connection.until("trailers", |frame| frame.kind == HEADERS && frame.ends_stream())?;
    Ok(())
}

#[test]
fn many_exchanges_share_a_connection_and_http1_clients_too() -> Result<()> {
    let echo = Echo::start()?;
    let weir = Weir::start(|place| config(place, &format!("h2c://127.0.0.1:{}", echo.port), ""))?;
    let mut connection = connect(&weir)?;
    let calls: Vec<u8> = (0..50).flat_map(|idx| get(2 * idx + 1, "/")).collect();
    // The first one's connection carries the rest.
    connection.send(&get(101, "/"))?;
    connection.answer(101)?;
    let mut connection = connect(&weir)?;
    connection.send(&calls)?;
    for _ in 0..50 {
        let end = connection.until("an end", |frame| frame.ends_stream() || frame.kind == RST_STREAM)?;
        ensure!(end.kind == HEADERS, "{end:?}");
    }
    let mut plain = http::Connection::open(weir.address())?;
    for word in ["first", "second"] {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{word}", word.len());
        let answer = plain.exchange(head.as_bytes())?;
        ensure!(answer.status == 200 && answer.text() == word, "{} {}", answer.status, answer.text());
    }
    let seen = echo.seen();
    ensure!(seen == (1, 53), "connections and requests: {seen:?}");
    Ok(())
}

#[test]
fn over_tls_it_is_agreed_on_and_who_goes_is_replaced() -> Result<()> {
    let authority = Authority::new("own")?;
    let start = |port: Option<u16>| -> Result<Weir> {
        let mut place = Place::new()?;
        place.port = port.unwrap_or(place.port);
        authority.issue(&["localhost"])?.write(place.folder(), "a")?;
        place.write_config(&format!(
            "[[listener]]\naddress = \"127.0.0.1:{}\"\n\
             tls = {{ certificates = [{{ cert = \"a.crt\", key = \"a.key\" }}] }}\n[[api]]\nname = \"back\"\n\
             listen_path = \"/\"\nrespond = {{ status = 200, body = \"back\" }}\n[kernel]\nmode = \"off\"\n",
            place.port
        ))?;
        Weir::start_at(place)
    };
    let upstream = start(None)?;
    let port = upstream.place.port;
    let place = Place::new()?;
    authority.write(place.folder(), "ca")?;
    let tls = "upstream_tls = { ca = \"ca.crt\" }\n";
    place.write_config(&config(&place, &format!("h2://localhost:{port}"), tls))?;
    let weir = Weir::start_at(place)?;
    for _ in 0..3 {
        ensure!(http::get(weir.address(), "/")?.text() == "back");
    }
    drop(upstream);
    ensure!(http::get(weir.address(), "/")?.status == 502, "it is away");
    let _again = start(Some(port))?;
    let served = wait_for("the upstream again", PATIENCE, || {
        let answer = http::get(weir.address(), "/").ok()?;
        (answer.status == 200).then(|| answer.text())
    });
    ensure!(served.context("after its return")? == "back");
    Ok(())
}
