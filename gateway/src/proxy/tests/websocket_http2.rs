//! WebSocket over HTTP/2 (RFC 8441), by a client of the h2 crate, to an upstream of HTTP/1.

use std::future::poll_fn;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use aws_lc_rs::digest;
use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::ext::Protocol;
use h2::{RecvStream, SendStream};
use hyper::{Method, Request};

use super::harness::Gateway;
use super::{forward, respond};

const PATIENCE: Duration = Duration::from_secs(10);

/// An upstream that does with a request's head what `answer` says, and hands the connection over.
fn upstream(answer: fn(&str) -> String) -> (u16, Receiver<(String, TcpStream)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, asked) = channel();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
                head.push(byte[0]);
            }
            let head = String::from_utf8(head).unwrap();
            stream.write_all(answer(&head).as_bytes()).unwrap();
            sender.send((head.to_ascii_lowercase(), stream)).unwrap_or(());
        }
    });
    (port, asked)
}

/// 101 with the proof that the key in `head` asks for.
fn switch(head: &str) -> String {
    let key = head.lines().find_map(|line| line.strip_prefix("sec-websocket-key: ")).unwrap();
    let proved = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, proved.as_bytes());
    let accept = base64(hash.as_ref());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
    )
}

/// Of twenty bytes, apart from the code under test.
fn base64(hash: &[u8]) -> String {
    let bits: String = hash.iter().map(|byte| format!("{byte:08b}")).collect::<String>() + "00";
    let signs: Vec<char> = ('A'..='Z').chain('a'..='z').chain('0'..='9').chain(['+', '/']).collect();
    let mut text: String =
        (0..27).map(|n| signs[usize::from_str_radix(&bits[6 * n..6 * n + 6], 2).unwrap()]).collect();
    text.push('=');
    text
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn within<T>(client: impl AsyncFnOnce() -> T) -> T {
    runtime().block_on(async { tokio::time::timeout(PATIENCE, client()).await.expect("in time") })
}

/// A connection that another thread drives, so that a test may block.
async fn connect(gateway: &Gateway) -> SendRequest<Bytes> {
    let stream = gateway.connect().unwrap();
    stream.set_nonblocking(true).unwrap();
    let (sender, connected) = channel();
    std::thread::spawn(move || {
        runtime().block_on(async {
            let stream = tokio::net::TcpStream::from_std(stream).unwrap();
            let (requests, connection) = h2::client::Builder::new()
                .initial_window_size(1 << 20)
                .initial_connection_window_size(1 << 20)
                .handshake(stream)
                .await
                .unwrap();
            sender.send(requests).unwrap();
            connection.await.unwrap_or(());
        });
    });
    let mut requests = connected.recv_timeout(PATIENCE).unwrap();
    // The server's settings.
    while !requests.is_extended_connect_protocol_enabled() {
        poll_fn(|cx| requests.poll_ready(cx)).await.unwrap();
        tokio::task::yield_now().await;
    }
    requests
}

fn connect_to(
    requests: &mut SendRequest<Bytes>,
    protocol: &'static str,
) -> (ResponseFuture, SendStream<Bytes>) {
    let mut request = Request::new(());
    *request.method_mut() = Method::CONNECT;
    *request.uri_mut() = "http://a.example/chat?a=b".parse().unwrap();
    request.headers_mut().insert("sec-websocket-version", "13".parse().unwrap());
    request.headers_mut().insert("sec-websocket-protocol", "chat".parse().unwrap());
    request.headers_mut().insert("origin", "http://a.example".parse().unwrap());
    request.extensions_mut().insert(Protocol::from_static(protocol));
    requests.send_request(request, false).unwrap()
}

async fn read(received: &mut RecvStream, bytes: usize) -> Vec<u8> {
    let mut read = Vec::new();
    while read.len() < bytes {
        let piece = received.data().await.expect("more").unwrap();
        received.flow_control().release_capacity(piece.len()).unwrap();
        read.extend_from_slice(&piece);
    }
    read
}

async fn send(sender: &mut SendStream<Bytes>, mut bytes: Bytes) {
    while !bytes.is_empty() {
        sender.reserve_capacity(bytes.len());
        let room = match sender.capacity() {
            0 => poll_fn(|cx| sender.poll_capacity(cx)).await.unwrap().unwrap(),
            room => room,
        };
        sender.send_data(bytes.split_to(room.min(bytes.len())), false).unwrap();
    }
}

#[test]
fn bytes_go_both_ways_and_halves_close_one_by_one() {
    let (port, asked) = upstream(switch);
    let gateway = Gateway::start(&format!("h2c = true\n{}", forward("a", "/", port, "")));
    within(async || {
        let mut requests = connect(&gateway).await;
        let (answer, mut sender) = connect_to(&mut requests, "websocket");
        let answer = answer.await.unwrap();
        assert_eq!(answer.status(), 200);
        let fields = answer.headers();
        assert_eq!(fields["sec-websocket-protocol"], "chat");
        for gone in ["upgrade", "connection", "sec-websocket-accept"] {
            assert!(!fields.contains_key(gone), "{gone}");
        }
        let (head, mut server) = asked.recv_timeout(PATIENCE).unwrap();
        assert!(head.starts_with("get /chat?a=b http/1.1\r\n"), "{head}");
        for part in [
            "\r\nconnection: upgrade\r\n",
            "\r\nupgrade: websocket\r\n",
            "\r\nsec-websocket-version: 13\r\n",
            "\r\nsec-websocket-protocol: chat\r\n",
            "\r\nx-forwarded-host: a.example\r\n",
        ] {
            assert_eq!(head.matches(part).count(), 1, "{part:?} in {head}");
        }
        assert_eq!(gateway.tunnels(), 1);
        let mut received = answer.into_body();
        send(&mut sender, Bytes::from_static(b"to")).await;
        let mut to = [0; 2];
        server.read_exact(&mut to).unwrap();
        assert_eq!(&to, b"to");
        server.write_all(b"fro").unwrap();
        assert_eq!(read(&mut received, 3).await, b"fro");
        // More than any window, both ways at once.
        let large: Vec<u8> = (0..3 << 20).map(|n: u32| n.to_le_bytes()[1]).collect();
        let echoing = std::thread::spawn(move || {
            let mut buffer = vec![0; 64 << 10];
            let mut left = 3 << 20;
            while left > 0 {
                let read = server.read(&mut buffer).unwrap();
                server.write_all(&buffer[..read]).unwrap();
                left -= read;
            }
            server
        });
        let sent = Bytes::from(large.clone());
        let (_, came) = tokio::join!(send(&mut sender, sent), read(&mut received, large.len()));
        assert!(came == large);
        let mut server = echoing.join().unwrap();
        // The client's half, and then the server's last word.
        sender.send_data(Bytes::new(), true).unwrap();
        tokio::task::yield_now().await;
        let server = tokio::task::spawn_blocking(move || {
            assert_eq!(server.read(&mut [0; 8]).unwrap(), 0, "the client's end");
            server.write_all(b"bye").unwrap();
            server.shutdown(Shutdown::Write).unwrap();
            server
        });
        assert_eq!(read(&mut received, 3).await, b"bye");
        while let Some(piece) = received.data().await {
            assert_eq!(piece.unwrap(), "", "the server's end");
        }
        drop(server.await.unwrap());
        while gateway.tunnels() > 0 {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn what_is_no_tunnel_is_no_success() {
    const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    const REFUSED: &str = "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno";
    const FORGED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    let status = |api: &str, protocol: &'static str| {
        let gateway = Gateway::start(&format!("h2c = true\n{api}"));
        within(async || {
            let mut requests = connect(&gateway).await;
            connect_to(&mut requests, protocol).0.await.unwrap().status().as_u16()
        })
    };
    let behind = |answer: fn(&str) -> String| forward("a", "/", upstream(answer).0, "");
    for (api, protocol, expected) in [
        (behind(|_| OK.to_owned()), "websocket", 502),
        (behind(|_| FORGED.to_owned()), "websocket", 502),
        (behind(|_| REFUSED.to_owned()), "websocket", 403),
        (behind(|_| OK.to_owned()), "connect-udp", 501),
        (behind(switch), "WebSocket", 200),
        (respond("a", "/", "ours"), "websocket", 502),
        (respond("a", "/b", "ours"), "websocket", 404),
    ] {
        assert_eq!(status(&api, protocol), expected, "{protocol} {api}");
    }
}

#[test]
fn a_client_that_takes_its_stream_back_frees_the_upstream() {
    let (port, asked) = upstream(switch);
    let gateway = Gateway::start(&format!("h2c = true\n{}", forward("a", "/", port, "")));
    within(async || {
        let mut requests = connect(&gateway).await;
        let (answer, mut sender) = connect_to(&mut requests, "websocket");
        assert_eq!(answer.await.unwrap().status(), 200);
        let (_, mut server) = asked.recv_timeout(PATIENCE).unwrap();
        sender.send_reset(h2::Reason::CANCEL);
        let end = tokio::task::spawn_blocking(move || server.read(&mut [0; 8]));
        assert!(end.await.unwrap().is_ok_and(|read| read == 0));
        // The connection carries on.
        let (answer, _sender) = connect_to(&mut requests, "websocket");
        assert_eq!(answer.await.unwrap().status(), 200);
    });
}

#[test]
fn a_tunnel_in_which_nothing_moves_ends() {
    let (port, _asked) = upstream(switch);
    let times = "[timeouts]\nupstream_response_idle = \"200ms\"\n";
    let gateway = Gateway::start(&format!("h2c = true\n{times}{}", forward("a", "/", port, "")));
    within(async || {
        let mut requests = connect(&gateway).await;
        let (answer, _sender) = connect_to(&mut requests, "websocket");
        let answer = answer.await.unwrap();
        let ended = answer.into_body().data().await.expect("an end").unwrap_err();
        assert_eq!(ended.reason(), Some(h2::Reason::CANCEL));
    });
    assert_eq!(gateway.closed("tunnel_idle"), 1);
}
