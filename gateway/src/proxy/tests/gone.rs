//! Clients that go away before they have their answer.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::double::{Double, Manner};
use super::forward;
use super::harness::Gateway;

const PATIENCE: Duration = Duration::from_secs(10);
const ASK: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

fn ask(gateway: &Gateway, request: &str) -> TcpStream {
    let mut client = gateway.connect().unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(request.as_bytes()).unwrap();
    client
}

/// An upstream that reads a head, writes `answer`, and tells when the other end is gone.
fn watching(answer: &'static str) -> (u16, Receiver<()>, Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (asked_sender, asked) = channel();
    let (gone_sender, gone) = channel();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            assert!(stream.read(&mut [0; 4_096]).unwrap() > 0);
            stream.write_all(answer.as_bytes()).unwrap();
            asked_sender.send(()).unwrap_or(());
            while stream.read(&mut [0; 4_096]).is_ok_and(|read| read > 0) {}
            gone_sender.send(()).unwrap_or(());
        }
    });
    (port, asked, gone)
}

#[test]
fn the_upstream_is_told_at_once_and_the_request_counted() {
    const EVENTS: &str =
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n";
    type Leave = fn(TcpStream);
    let reset: Leave = |client| {
        socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    };
    let half: Leave = |client| {
        client.shutdown(Shutdown::Write).unwrap();
        let mut client = client;
        client.read_to_end(&mut Vec::new()).map(drop).unwrap_or(());
    };
    for (answer, abandoned) in [("", 1), (EVENTS, 0)] {
        for leave in [drop::<TcpStream>, reset, half] {
            let (port, asked, gone) = watching(answer);
            let gateway = Gateway::start(&forward("a", "/", port, ""));
            let client = ask(&gateway, ASK);
            asked.recv_timeout(PATIENCE).expect("the upstream is asked");
            leave(client);
            gone.recv_timeout(PATIENCE).expect("the upstream's connection is closed");
            gateway.until("counted", || gateway.closed("client_gone") == 1);
            assert_eq!(gateway.shared.metrics.api("a").abandoned.get(), abandoned, "{answer:?}");
        }
    }
}

#[test]
fn what_is_sent_ahead_is_answered_in_its_turn() {
    let upstream = Double::new(Manner::Hold);
    let gateway = Gateway::start(&forward("a", "/", upstream.address.port(), ""));
    let mut client = ask(&gateway, ASK);
    gateway.until("the first is there", || upstream.asked() == 1);
    client.write_all(b"GET /second HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    upstream.answer_one();
    gateway.until("the second is there", || upstream.asked() == 2);
    upstream.answer_one();
    let mut answers = String::new();
    client.read_to_string(&mut answers).unwrap();
    assert_eq!(answers.matches("held").count(), 2, "{answers}");
}

#[test]
fn what_is_sent_ahead_is_not_read_without_end() {
    let upstream = Double::new(Manner::Hold);
    let gateway = Gateway::start(&forward("a", "/", upstream.address.port(), ""));
    let mut client = ask(&gateway, ASK);
    gateway.until("the first is there", || upstream.asked() == 1);
    client.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    // Sockets hold some MiB; beyond them nothing is taken as long as the first is not answered.
    let line = vec![b'x'; 1 << 20];
    let sent = (0..64).take_while(|_| client.write_all(&line).is_ok()).count();
    assert!(sent < 64, "{sent} MiB were taken");
    upstream.answer_one();
}
