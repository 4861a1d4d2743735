//! Upstreams of HTTP/2, played by the h2 crate: their trailers, and what their health service says.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use hyper::{HeaderMap, Response};

use super::harness::Gateway;
use crate::plane::now_ns;

/// What it answers: a body, and trailers.
type Answer = (Vec<u8>, HeaderMap);

/// Path and body of each request.
type Asked = Vec<(String, Vec<u8>)>;

/// An upstream that answers every request alike, and keeps paths and bodies of what it was asked.
struct Upstream {
    port: u16,
    answer: Arc<Mutex<Answer>>,
    asked: Arc<Mutex<Asked>>,
}

impl Upstream {
    fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (answer, asked) = (Arc::new(Mutex::new(answer)), Arc::<Mutex<Asked>>::default());
        let (answered, seen) = (Arc::clone(&answer), Arc::clone(&asked));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answered, seen) = (Arc::clone(&answered), Arc::clone(&seen));
                std::thread::spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                    runtime.block_on(converse(stream, &answered, &seen));
                });
            }
        });
        Self { port, answer, asked }
    }

    fn becomes(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }
}

async fn converse(stream: std::net::TcpStream, answer: &Mutex<Answer>, asked: &Mutex<Asked>) {
    stream.set_nonblocking(true).unwrap();
    let stream = tokio::net::TcpStream::from_std(stream).unwrap();
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((mut request, mut respond))) = connection.accept().await {
        let mut sent = Vec::new();
        // What a check sends comes with its head.
        if !request.body().is_end_stream() {
            let reading = async {
                let body = request.body_mut();
                while let Some(Ok(piece)) = body.data().await {
                    sent.extend_from_slice(&piece);
                }
            };
            tokio::select! {
                () = reading => {}
                _ = std::future::poll_fn(|cx| connection.poll_closed(cx)) => return,
            }
        }
        asked.lock().unwrap().push((request.uri().path().to_owned(), sent));
        let (body, trailers) = answer.lock().unwrap().clone();
        let mut sender = respond.send_response(Response::new(()), false).unwrap();
        sender.send_data(Bytes::from(body), false).unwrap();
        sender.send_trailers(trailers).unwrap();
    }
}

fn trailers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

fn api(upstream: &Upstream, rest: &str) -> String {
    format!(
        "[[api]]\nname = \"a\"\nlisten_path = \"/\"\nupstreams = [\"h2c://127.0.0.1:{}\"]\n{rest}\n",
        upstream.port
    )
}

#[test]
fn trailers_frame_and_name_nobody() {
    let sent = [
        ("grpc-status", "0"),
        ("x-checksum", "7"),
        ("content-length", "1"),
        ("host", "b"),
        ("authorization", "secret"),
        ("set-cookie", "a=b"),
        ("cache-control", "public"),
        ("x-forwarded-for", "6.6.6.6"),
        ("te", "trailers"),
    ];
    let upstream = Upstream::start((b"body".to_vec(), trailers(&sent)));
    let gateway = Gateway::start(&api(&upstream, ""));
    let answer = gateway.ask_once().to_ascii_lowercase();
    let (_, behind) = answer.split_once("4\r\nbody\r\n0\r\n").expect(&answer);
    for kept in ["grpc-status: 0\r\n", "x-checksum: 7\r\n"] {
        assert!(behind.contains(kept), "{answer}");
    }
    assert_eq!(behind.matches("\r\n").count(), 3, "two fields and the end: {answer}");
}

/// The state of the only upstream.
fn state(gateway: &Gateway) -> (&'static str, Option<String>) {
    let target = gateway.shared.snapshot.load().upstreams(now_ns()).remove(0).targets.remove(0);
    (target.state, target.why)
}

#[test]
fn the_health_service_takes_out_and_lets_in() {
    let serving = (b"\0\0\0\0\x02\x08\x01".to_vec(), trailers(&[("grpc-status", "0")]));
    let upstream = Upstream::start(serving.clone());
    let check = "check = { grpc = \"shop\", every = \"100ms\", timeout = \"1s\", up = 1, down = 1 }";
    let gateway = Gateway::start(&api(&upstream, check));
    gateway.check_upstreams();
    gateway.until("it is asked", || upstream.asked.lock().unwrap().len() > 2);
    let (path, sent) = upstream.asked.lock().unwrap()[0].clone();
    assert_eq!(
        (path.as_str(), &sent[..]),
        ("/grpc.health.v1.Health/Check", &b"\0\0\0\0\x06\x0a\x04shop"[..])
    );
    assert_eq!(state(&gateway).0, "serving");
    for (answer, why) in [
        ((b"\0\0\0\0\x02\x08\x02".to_vec(), trailers(&[("grpc-status", "0")])), "answered NOT_SERVING"),
        ((b"\0\0\0\0\0".to_vec(), trailers(&[("grpc-status", "0")])), "answered UNKNOWN"),
        ((Vec::new(), trailers(&[("grpc-status", "12")])), "gRPC status 12"),
        ((b"\0\0\0\0\x02\x08\x01".to_vec(), trailers(&[("grpc-status", "5")])), "gRPC status 5"),
        ((b"<html>".to_vec(), trailers(&[])), "no HealthCheckResponse"),
        ((vec![0; 4_000], trailers(&[])), "too long"),
    ] {
        upstream.becomes(answer);
        gateway.until(why, || state(&gateway).0 == "down");
        let (_, said) = state(&gateway);
        assert!(said.as_deref().is_some_and(|said| said.contains(why)), "{said:?} for {why}");
        upstream.becomes(serving.clone());
        gateway.until("it is back", || state(&gateway).0 == "serving");
    }
}

#[test]
fn a_server_of_http1_or_a_silent_one_is_not_well() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for (n, mut stream) in listener.incoming().flatten().enumerate() {
            // The second one on is silent for as long as it is asked.
            std::thread::spawn(move || {
                if n == 0 {
                    stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap_or(());
                }
                stream.read_to_end(&mut Vec::new()).map(drop).unwrap_or(());
            });
        }
    });
    let text = format!(
        "[[api]]\nname = \"a\"\nlisten_path = \"/\"\nupstreams = [\"h2c://127.0.0.1:{port}\"]\ncheck = {{ grpc = \"\", every = \"100ms\", timeout = \"200ms\", up = 1, down = 2 }}\n"
    );
    let gateway = Gateway::start(&text);
    gateway.check_upstreams();
    gateway.until("it is down", || state(&gateway).0 == "down");
    std::thread::park_timeout(Duration::from_millis(1));
}
