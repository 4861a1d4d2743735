//! Clients that trickle: within every idle time, and far below the rate that a client must keep.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use super::forward;
use super::harness::{Gateway, Upstream};
use crate::plane::now_ns;

/// Between two of a client's steps; well within the idle times.
const STEP: Duration = Duration::from_millis(20);
/// Long enough to be seen as served on.
const LONG: Duration = Duration::from_secs(2);
const IDLE: &str = "[timeouts]\nrequest_body_idle = \"300ms\"\nresponse_write_idle = \"500ms\"\n";

/// Whether the other end closed before `LONG` was over, the client doing `step` again and again.
fn is_closed(mut stream: TcpStream, mut step: impl FnMut(&mut TcpStream) -> std::io::Result<usize>) -> bool {
    let until_ns = now_ns() + u64::try_from(LONG.as_nanos()).unwrap();
    while now_ns() < until_ns {
        match step(&mut stream) {
            Ok(0) | Err(_) => return true,
            Ok(_) => std::thread::park_timeout(STEP),
        }
    }
    false
}

fn sends_slowly(rate: &str) -> bool {
    let upstream = Upstream::echoing_length();
    let bounds = format!("[bounds]\nclient_rate = \"{rate}\"\n");
    let gateway = Gateway::start(&format!("{IDLE}{bounds}{}", forward("a", "/", upstream.port, "")));
    let mut stream = gateway.connect().expect("the gateway listens");
    stream.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n").unwrap();
    stream.set_read_timeout(Some(STEP)).unwrap();
    let mut answer = [0; 12];
    is_closed(stream, |stream| match stream.read(&mut answer) {
        Ok(_) => {
            assert_eq!(answer, *b"HTTP/1.1 408");
            Ok(0)
        }
        Err(_) => stream.write(b"x"),
    })
}

fn reads_slowly(rate: &str) -> bool {
    let body = "x".repeat(64 << 20);
    let upstream =
        Upstream::answering(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    let bounds = format!("[bounds]\nclient_rate = \"{rate}\"\n");
    let gateway = Gateway::start(&format!("{IDLE}{bounds}{}", forward("a", "/", upstream.port, "")));
    let mut stream = gateway.connect().expect("the gateway listens");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    // Enough for the window to open each time, so that something is taken within the idle time.
    let mut some = vec![0; 256 << 10];
    is_closed(stream, |stream| stream.read(&mut some))
}

#[test]
fn a_body_that_trickles_is_cut_by_the_rate_alone() {
    assert!(!sends_slowly("0B/s"), "without a floor it goes on");
    assert!(sends_slowly("10KiB/s"), "50 bytes a second");
}

#[test]
fn an_answer_that_is_taken_slowly_is_cut_by_the_rate_alone() {
    assert!(!reads_slowly("0B/s"), "without a floor it goes on");
    assert!(reads_slowly("100MiB/s"), "12 MiB a second");
}
