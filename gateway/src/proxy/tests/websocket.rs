//! WebSocket: a 101 makes two connections one. Frames are bytes here; nothing looks into them.

mod autobahn;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use super::harness::Gateway;
use super::{forward, respond};

const PATIENCE: Duration = Duration::from_secs(10);
const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";
const ASK: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// An upstream whose connections a test holds in its hands, behind their request's head.
struct Upstream {
    port: u16,
    asked: Receiver<(String, TcpStream)>,
}

impl Upstream {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, asked) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let sender = Sender::clone(&sender);
                std::thread::spawn(move || hand_over(stream, &sender));
            }
        });
        Self { port, asked }
    }

    /// The next request's head in small letters, and its connection.
    fn next(&self) -> (String, TcpStream) {
        self.asked.recv_timeout(PATIENCE).expect("a request in time")
    }
}

fn hand_over(mut stream: TcpStream, sender: &Sender<(String, TcpStream)>) {
    patient(&stream);
    // Who asked may be gone.
    if let Some(head) = head(&mut stream) {
        sender.send((head.to_ascii_lowercase(), stream)).unwrap_or(());
    }
}

/// A head and not a byte behind it.
fn head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    Some(String::from_utf8(head).unwrap())
}

fn patient(stream: &TcpStream) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
}

fn request(fields: &str) -> String {
    format!("GET /chat?a=b HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n")
}

fn connect(gateway: &Gateway, request: &str) -> TcpStream {
    let mut client = gateway.connect().expect("the gateway listens");
    patient(&client);
    client.write_all(request.as_bytes()).unwrap();
    client
}

fn read_exactly(stream: &mut TcpStream, expected: &[u8]) {
    let mut read = vec![0; expected.len()];
    stream.read_exact(&mut read).expect("all of it in time");
    assert!(read == expected, "{} bytes are others", expected.len());
}

fn read_end(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("the end in time");
    assert_eq!(rest, b"");
}

/// A tunnel, both ends.
fn tunnel(gateway: &Gateway, upstream: &Upstream) -> (TcpStream, TcpStream) {
    let mut client = connect(gateway, &request(&format!("{ASK}{KEY}")));
    let (_, mut server) = upstream.next();
    server.write_all(SWITCH.as_bytes()).unwrap();
    assert!(head(&mut client).unwrap().starts_with("HTTP/1.1 101 "));
    (client, server)
}

#[test]
fn every_spelling_of_the_request_is_switched() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&forward("a", "/", upstream.port, ""));
    for fields in [
        "Connection: Upgrade\r\nUpgrade: websocket\r\n",
        "connection: upgrade\r\nupgrade: WebSocket\r\n",
        "CONNECTION: UPGRADE\r\nUPGRADE: WEBSOCKET\r\n",
        "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n",
        "Upgrade: WebSocket\r\nConnection: keep-alive,upgrade\r\n",
        "Upgrade: websocket\r\nConnection: Upgrade, X-Hop\r\nX-Hop: 1\r\n",
        "Connection: keep-alive\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n",
        "Connection: , Upgrade ,\r\nUpgrade: websocket\r\nContent-Length: 0\r\n",
    ] {
        let mut client =
            connect(&gateway, &request(&format!("{fields}{KEY}Sec-WebSocket-Protocol: chat\r\n")));
        let (asked, mut server) = upstream.next();
        assert!(asked.starts_with("get /chat?a=b http/1.1\r\n"), "{asked}");
        for part in [
            "\r\nconnection: upgrade\r\n",
            "\r\nupgrade: websocket\r\n",
            "\r\nsec-websocket-key: dghlihnhbxbszsbub25jzq==\r\n",
            "\r\nsec-websocket-version: 13\r\n",
            "\r\nsec-websocket-protocol: chat\r\n",
            "\r\nx-forwarded-host: a.example\r\n",
            "\r\nx-forwarded-for: 127.0.0.1\r\n",
        ] {
            assert_eq!(asked.matches(part).count(), 1, "{part:?} in {asked}");
        }
        assert!(!asked.contains("x-hop") && !asked.contains("keep-alive"), "{asked}");
        server
            .write_all(
                SWITCH.replace("Connection: Upgrade", "Connection: upgrade, X-Up\r\nX-Up: 1").as_bytes(),
            )
            .unwrap();
        let answer = head(&mut client).unwrap();
        assert!(answer.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{answer}");
        let answer = answer.to_ascii_lowercase();
        for part in [
            "\r\nconnection: upgrade\r\n",
            "\r\nupgrade: websocket\r\n",
            "\r\nsec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n",
        ] {
            assert_eq!(answer.matches(part).count(), 1, "{part:?} in {answer}");
        }
        assert!(!answer.contains("x-up") && !answer.contains("content-length"), "{answer}");
        client.write_all(b"to").unwrap();
        read_exactly(&mut server, b"to");
        server.write_all(b"fro").unwrap();
        read_exactly(&mut client, b"fro");
    }
}

#[test]
fn bytes_right_behind_either_head_are_not_lost() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&forward("a", "/", upstream.port, ""));
    let mut client = connect(&gateway, &format!("{}\u{1}early", request(&format!("{ASK}{KEY}"))));
    let (_, mut server) = upstream.next();
    server.write_all(format!("{SWITCH}\u{2}first").as_bytes()).unwrap();
    read_exactly(&mut server, b"\x01early");
    head(&mut client).unwrap();
    read_exactly(&mut client, b"\x02first");
}

#[test]
fn nothing_is_sent_on_before_the_upstream_switched() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&forward("a", "/", upstream.port, ""));
    let early = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut client = connect(&gateway, &format!("{}{early}", request(&format!("{ASK}{KEY}"))));
    let (_, mut server) = upstream.next();
    // Not switched: what follows is the next request, and read as one.
    server.write_all(b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n").unwrap();
    assert!(head(&mut client).unwrap().starts_with("HTTP/1.1 426 "));
    let smuggled = head(&mut server).expect("over the same connection, after the answer");
    assert!(smuggled.starts_with("GET /smuggled HTTP/1.1\r\n"), "{smuggled}");
    assert!(smuggled.contains("x-forwarded-for: 127.0.0.1"), "{smuggled}");
    server.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").unwrap();
    assert!(head(&mut client).unwrap().starts_with("HTTP/1.1 404 "));
}

#[test]
fn an_answer_that_does_not_switch_is_an_answer() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&forward("a", "/", upstream.port, ""));
    for status in ["200 OK", "301 Moved Permanently", "403 Forbidden", "426 Upgrade Required"] {
        let mut client = connect(&gateway, &request(&format!("{ASK}{KEY}")));
        let (_, mut server) = upstream.next();
        let answer = format!(
            "HTTP/1.1 {status}\r\nUpgrade: websocket\r\nConnection: close, Upgrade\r\nContent-Length: 2\r\n\r\nno"
        );
        server.write_all(answer.as_bytes()).unwrap();
        let answer = head(&mut client).unwrap().to_ascii_lowercase();
        assert!(answer.contains(&status[..3]) && !answer.contains("upgrade:"), "{answer}");
        read_exactly(&mut client, b"no");
        client.write_all(b"nonsense\r\n\r\n").unwrap();
        assert!(head(&mut client).unwrap().starts_with("HTTP/1.1 400 "), "HTTP is spoken as before");
    }
}

#[test]
fn a_switch_that_was_not_asked_for_is_a_bad_gateway() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&forward("a", "/", upstream.port, ""));
    let asking = request(&format!("{ASK}{KEY}"));
    for (request, answer) in [
        (asking.as_str(), SWITCH.replace("Upgrade: websocket\r\n", "")),
        (&asking, SWITCH.replace("Upgrade: websocket", "Upgrade: h2c")),
        (&asking, SWITCH.replace("Upgrade: websocket", "Upgrade: websocket\r\nUpgrade: h2c")),
        (&asking, SWITCH.replace("Upgrade: websocket", "Upgrade: websocket, h2c")),
        (&request(&format!("Upgrade: websocket\r\n{KEY}")), SWITCH.to_owned()),
        (&request(KEY), SWITCH.to_owned()),
    ] {
        let mut client = connect(&gateway, request);
        let (_, mut server) = upstream.next();
        server.write_all(format!("{answer}bytes").as_bytes()).unwrap();
        let got = head(&mut client).unwrap();
        assert!(got.starts_with("HTTP/1.1 502 "), "{request} {answer}: {got}");
        read_end(&mut server);
    }
}

#[test]
fn what_is_no_websocket_request_is_not_one_upstream() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&forward("a", "/", upstream.port, ""));
    let ask = |line: &str, fields: &str, body: &str| format!("{line}\r\nHost: a\r\n{fields}{KEY}\r\n{body}");
    for request in [
        ask("GET / HTTP/1.1", "Upgrade: websocket\r\n", ""),
        ask("GET / HTTP/1.1", "Connection: keep-alive\r\nUpgrade: websocket\r\n", ""),
        ask("GET / HTTP/1.1", "Connection: Upgrade\r\n", ""),
        ask("GET / HTTP/1.1", "Connection: Upgrade\r\nUpgrade: h2c\r\n", ""),
        ask("GET / HTTP/1.1", "Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n", ""),
        ask("GET / HTTP/1.1", "Connection: Upgrade\r\nUpgrade: h2c\r\nUpgrade: websocket\r\n", ""),
        ask("GET / HTTP/1.1", "Connection: Upgrade\r\nUpgrade: websocket/13\r\n", ""),
        ask("GET / HTTP/1.1", "Connection: Upgrade\r\nUpgrade: xwebsocket\r\n", ""),
        ask("GET / HTTP/1.0", ASK, ""),
        ask("POST / HTTP/1.1", ASK, ""),
        ask("HEAD / HTTP/1.1", ASK, ""),
        ask("GET / HTTP/1.1", &format!("{ASK}Content-Length: 4\r\n"), "body"),
        ask("GET / HTTP/1.1", &format!("{ASK}Transfer-Encoding: chunked\r\n"), "4\r\nbody\r\n0\r\n\r\n"),
    ] {
        let mut client = connect(&gateway, &request);
        let (asked, mut server) = upstream.next();
        assert!(!asked.contains("\r\nupgrade:") && !asked.contains("\r\nconnection:"), "{request}: {asked}");
        server.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").unwrap();
        assert!(head(&mut client).unwrap().starts_with("HTTP/1.1 200 "));
    }
}

#[test]
fn a_half_that_closes_leaves_the_other_open() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&forward("a", "/", upstream.port, ""));
    let (mut client, mut server) = tunnel(&gateway, &upstream);
    client.write_all(b"last words").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    read_exactly(&mut server, b"last words");
    read_end(&mut server);
    server.write_all(b"the answer in flight").unwrap();
    read_exactly(&mut client, b"the answer in flight");
    drop(server);
    read_end(&mut client);

    let (mut client, mut server) = tunnel(&gateway, &upstream);
    server.write_all(b"goodbye").unwrap();
    server.shutdown(Shutdown::Write).unwrap();
    read_exactly(&mut client, b"goodbye");
    read_end(&mut client);
    client.write_all(b"and from me").unwrap();
    drop(client);
    read_exactly(&mut server, b"and from me");
    read_end(&mut server);
}

#[test]
fn much_goes_both_ways_at_once_and_nobody_waits_for_the_other() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&forward("a", "/", upstream.port, ""));
    let (mut client, mut server) = tunnel(&gateway, &upstream);
    let (up, down): (Vec<u8>, Vec<u8>) =
        (0..8_000_000_u32).map(|at| ((at % 251) as u8, (at % 241) as u8)).unzip();
    std::thread::scope(|scope| {
        for (stream, bytes) in [(&client, &up), (&server, &down)] {
            let mut writing = stream.try_clone().unwrap();
            scope.spawn(move || {
                writing.write_all(bytes).unwrap();
                writing.shutdown(Shutdown::Write).unwrap();
            });
        }
        let reading = &mut server;
        let up = &up;
        scope.spawn(move || read_exactly(reading, up));
        read_exactly(&mut client, &down);
    });
    read_end(&mut client);
    read_end(&mut server);
}

#[test]
fn an_idle_tunnel_is_closed_and_one_that_moves_is_not() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&format!(
        "[timeouts]\nupstream_response_idle = \"400ms\"\n{}",
        forward("a", "/", upstream.port, "")
    ));
    let (mut client, mut server) = tunnel(&gateway, &upstream);
    // Each way for itself keeps the whole awake: for longer than the time in all.
    for _ in 0..6 {
        std::thread::park_timeout(Duration::from_millis(150));
        server.write_all(b"ping").unwrap();
        read_exactly(&mut client, b"ping");
    }
    assert_eq!(gateway.tunnels(), 1);
    read_end(&mut client);
    read_end(&mut server);
    gateway.until("it is counted", || gateway.closed("tunnel_idle") == 1);
    gateway.until("it is gone", || gateway.tunnels() == 0);
}

#[test]
fn a_drain_lets_a_tunnel_go_on_for_its_time() {
    let upstream = Upstream::start();
    let api = forward("a", "/", upstream.port, "");
    let mut gateway = Gateway::start(&format!("[timeouts]\ndrain = \"10s\"\n{api}"));
    let (mut client, mut server) = tunnel(&gateway, &upstream);
    gateway.drain();
    gateway.until("the listener is closed", || gateway.connect().is_none());
    client.write_all(b"still").unwrap();
    read_exactly(&mut server, b"still");
    drop(server);
    read_end(&mut client);
    drop(client);
    gateway.ended();

    let mut gateway = Gateway::start(&format!("[timeouts]\ndrain = \"300ms\"\n{api}"));
    let (mut client, mut server) = tunnel(&gateway, &upstream);
    gateway.drain();
    gateway.ended();
    read_end(&mut client);
    read_end(&mut server);
}

#[test]
fn a_tunnel_is_in_flight_at_its_upstream() {
    let upstream = Upstream::start();
    let bound = "in_flight = { most = 1, queue = 0 }";
    let gateway = Gateway::start(&forward("a", "/", upstream.port, bound));
    let (client, server) = tunnel(&gateway, &upstream);
    let refused = gateway.ask_once();
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    drop((client, server));
    gateway.until("the place is free", || gateway.tunnels() == 0);
}

#[test]
fn an_api_without_upstreams_answers_as_ever() {
    let gateway = Gateway::start(&respond("root", "/", "root"));
    let mut client = connect(&gateway, &request(&format!("{ASK}{KEY}")));
    assert!(head(&mut client).unwrap().starts_with("HTTP/1.1 200 "));
    read_exactly(&mut client, b"root");
}
