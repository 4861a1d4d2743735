//! A listener with PROXY headers as people run it: before TLS, with a limit for whom the header names,
//! and what becomes of those that write none.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use anyhow::{Result, ensure};
use weir_tests::http::PATIENCE;
use weir_tests::pki::Authority;
use weir_tests::tls::{Client, Offer};
use weir_tests::weir::{Place, Weir};

const API: &str =
    "[[api]]\nname = \"hello\"\nlisten_path = \"/\"\nrespond = { status = 200, body = \"hello\" }\n";
const LIMIT: &str = "[limit.client]\nrequests = { rate = \"1/min\", burst = 2 }\n";

fn start() -> Result<(Weir, Authority)> {
    let authority = Authority::new("Weir's test authority")?;
    let place = Place::new()?;
    authority.issue(&["a.example"])?.write(place.folder(), "a")?;
    place.write_config(&format!(
        "trusted_proxies = [\"127.0.0.1\"]\n[[listener]]\naddress = \"127.0.0.1:{}\"\nproxy_protocol = true\ntls = {{ certificates = [{{ cert = \"a.crt\", key = \"a.key\" }}] }}\n{API}{LIMIT}[kernel]\nmode = \"off\"\n",
        place.port
    ))?;
    Ok((Weir::start_at(place)?, authority))
}

fn connect(weir: &Weir) -> Result<TcpStream> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, weir.place.port));
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

#[test]
fn the_header_stands_before_tls_and_names_the_client() -> Result<()> {
    let (weir, authority) = start()?;
    let client = Client::new(&authority, &Offer::default())?;
    let ask = |header: &[u8]| {
        let mut stream = connect(&weir)?;
        stream.write_all(header)?;
        client.over(stream, "a.example")?.get("/")
    };
    let first = b"PROXY TCP4 192.0.2.1 192.0.2.2 4711 443\r\n";
    let other = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x09\xc0\0\x02\x02\x12\x67\x01\xbb";
    for expected in [200, 200, 429] {
        let got = ask(first)?.status;
        ensure!(got == expected, "{got}, not {expected}");
    }
    ensure!(ask(other)?.status == 200, "another client has its own limit");
    ensure!(ask(b"PROXY UNKNOWN\r\n")?.status == 200, "and so has the proxy itself");
    ensure!(client.over(connect(&weir)?, "a.example").is_err(), "TLS without a header in front");
    let mut silent = connect(&weir)?;
    silent.write_all(b"GET / HTTP/1.1\r\n\r\n")?;
    let mut answer = Vec::new();
    // A reset is an end, too.
    silent.read_to_end(&mut answer).map(drop).unwrap_or(());
    ensure!(answer.is_empty(), "{answer:?}");
    let metrics = weir.metrics()?;
    let counted = "weir_connections_closed_total{reason=\"proxy_protocol\"} 2";
    ensure!(metrics.contains(counted), "{metrics}");
    Ok(())
}
