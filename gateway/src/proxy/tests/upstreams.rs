//! Which upstream a request goes to, and what becomes of it when that one fails.

use std::net::IpAddr;

use super::harness::{Gateway, Upstream};

#[test]
fn a_name_is_followed_to_its_addresses() {
    let [one, two, three] = at_one_port(["127.0.0.2", "127.0.0.3", "127.0.0.4"]);
    let gateway = Gateway::start(&api(&[&format!("http://up.test:{}", one.port)], ""));
    assert!(gateway.ask_once().starts_with("HTTP/1.1 502 "), "nobody knows the name yet");
    learn(&gateway, "up.test", &["127.0.0.2"]);
    ask(&gateway, 4);
    assert_eq!(counts([&one, &two, &three]), [4, 0, 0]);
    assert!(one.heads()[0].to_ascii_lowercase().contains(&format!("host: up.test:{}\r\n", one.port)));
    learn(&gateway, "up.test", &["127.0.0.3", "127.0.0.4"]);
    ask(&gateway, 4);
    assert_eq!(counts([&one, &two, &three]), [4, 2, 2], "the old address is left, all new ones are used");
    gateway.shared.learn([].into());
    ask(&gateway, 2);
    assert_eq!(counts([&one, &two, &three]), [4, 3, 3], "without an answer the addresses stay");
}

/// Asks as often, each on a connection of its own, and is answered well.
#[track_caller]
fn ask(gateway: &Gateway, times: usize) {
    for _ in 0..times {
        let answer = gateway.ask_once();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
}

fn counts<const N: usize>(upstreams: [&Upstream; N]) -> [usize; N] {
    upstreams.map(|upstream| upstream.heads().len())
}

fn learn(gateway: &Gateway, name: &str, addresses: &[&str]) {
    let addresses: Vec<IpAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
    gateway.shared.learn([(name.to_owned(), addresses)].into());
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Upstreams at several addresses of loopback with the same port.
fn at_one_port<const N: usize>(addresses: [&str; N]) -> [Upstream; N] {
    let port = |port| addresses.iter().map(|address| Upstream::answering_at(address, port, OK)).collect();
    let found: Option<Vec<Upstream>> = (0..64).find_map(|_| port(super::harness::free_port()));
    found.and_then(|found| found.try_into().ok()).expect("a port that is free at each address")
}

fn api(upstreams: &[&str], rest: &str) -> String {
    format!("[[api]]\nname = \"a\"\nlisten_path = \"/\"\nupstreams = {upstreams:?}\n{rest}\n")
}
