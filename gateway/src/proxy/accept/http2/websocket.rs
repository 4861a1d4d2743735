//! WebSocket over a stream (RFC 8441): an extended CONNECT is made the GET that HTTP/1 asks with, whose
//! 101 is a 200 here; from there on bytes go both ways until both halves are closed.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Poll, ready};
use std::time::Duration;

use aws_lc_rs::{digest, rand};
use bytes::Bytes;
use h2::ext::Protocol;
use h2::{Reason, RecvStream};
use hyper::Method;
use hyper::header::{HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use hyper::http::{request, response};
use tokio::time::Instant;

use super::stream::{Over, Pump};
use crate::proxy::body::Body;
use crate::proxy::forward::Switched;
use crate::proxy::http1::Wire;
use crate::proxy::respond::{Fault, connected, fault};
use crate::proxy::timer::{Deadline, Timer};

/// What a server puts behind the key before it hashes (RFC 6455 section 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Of one handshake: the answer must prove that its sender saw it.
pub(super) struct Key(HeaderValue);

/// Makes an extended CONNECT for WebSocket a GET with a key of ours (RFC 8441 section 5); others stay what
/// they are, and are refused as such.
pub(super) fn as_get(head: &mut request::Parts) -> Option<Key> {
    let protocol = head.extensions.get::<Protocol>()?;
    if head.method != Method::CONNECT || !protocol.as_str().eq_ignore_ascii_case("websocket") {
        return None;
    }
    let mut nonce = [0; 16];
    rand::fill(&mut nonce).ok()?;
    let key = HeaderValue::try_from(base64(&nonce)).ok()?;
    head.method = Method::GET;
    head.headers.insert(SEC_WEBSOCKET_KEY, key.clone());
    head.headers.entry(SEC_WEBSOCKET_VERSION).or_insert(HeaderValue::from_static("13"));
    Some(Key(key))
}

/// The answer to a CONNECT: a success only where there is a tunnel, for it would be taken for one.
pub(super) fn answered(
    key: &Key,
    response: hyper::Response<Body>,
) -> (response::Parts, Result<Box<Switched>, Body>) {
    let (mut head, body) = response.into_parts();
    match body {
        Body::Tunnel(switched) if key.is_proved_by(&head) => {
            head.headers.remove(UPGRADE);
            head.headers.remove(SEC_WEBSOCKET_ACCEPT);
            head.status = connected();
            (head, Ok(switched))
        }
        Body::Tunnel(_) => apart(fault(Fault::Broken)),
        _ if head.status.is_success() => apart(fault(Fault::NotSwitched)),
        body => (head, Err(body)),
    }
}

fn apart(response: hyper::Response<Body>) -> (response::Parts, Result<Box<Switched>, Body>) {
    let (head, body) = response.into_parts();
    (head, Err(body))
}

impl Key {
    /// Whether the upstream spoke WebSocket, and to us (RFC 6455 section 4.1).
    fn is_proved_by(&self, head: &response::Parts) -> bool {
        let mut hash = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
        hash.update(self.0.as_bytes());
        hash.update(GUID);
        let proof = base64(hash.finish().as_ref());
        head.headers.get(SEC_WEBSOCKET_ACCEPT).is_some_and(|accept| accept.as_bytes() == proof.as_bytes())
    }
}

/// RFC 4648 section 4.
fn base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let part = |idx: usize| u32::from(group.get(idx).copied().unwrap_or_default());
        let bits = part(0) << 16 | part(1) << 8 | part(2);
        for place in 0..4 {
            let sign = ALPHABET.get((bits >> (18 - 6 * place) & 63) as usize).copied().unwrap_or(b'=');
            text.push(if place <= group.len() { char::from(sign) } else { '=' });
        }
    }
    text
}

/// When bytes moved last, and until when they may.
struct Movement {
    last: Cell<Instant>,
    idle: Duration,
    until: Option<Deadline>,
}

/// Runs until both halves are closed; the stream is reset when either side breaks, nothing moved for `idle`,
/// or the tunnel's time is over. What a tunnel ended by, where it was a deadline.
pub(super) async fn tunnel(
    mut pump: Pump<'_>,
    mut received: RecvStream,
    switched: Box<Switched>,
    idle: Duration,
) -> Option<&'static str> {
    let Switched { wire, until, .. } = &*switched;
    let movement = Movement { last: Cell::new(Instant::now()), idle, until: *until };
    let ended = {
        let up = up(&mut received, wire, &movement);
        let down = down(&mut pump, wire, &movement);
        both(up, down, &movement).await
    };
    match ended {
        Ok(()) => None,
        Err(label) => {
            pump.reset(Reason::CANCEL);
            label
        }
    }
}

async fn both(
    up: impl Future<Output = Result<(), Over>>,
    down: impl Future<Output = Result<(), Over>>,
    movement: &Movement,
) -> Result<(), Option<&'static str>> {
    let (mut up, mut down) = (pin!(up), pin!(down));
    let (mut goes_up, mut goes_down) = (true, true);
    let mut timer = Timer::default();
    poll_fn(|cx| {
        if goes_up && let Poll::Ready(ended) = up.as_mut().poll(cx) {
            ended.map_err(|Over| None)?;
            goes_up = false;
        }
        if goes_down && let Poll::Ready(ended) = down.as_mut().poll(cx) {
            ended.map_err(|Over| None)?;
            goes_down = false;
        }
        if !goes_up && !goes_down {
            return Poll::Ready(Ok(()));
        }
        let idle = (movement.last.get() + movement.idle, "tunnel_idle");
        let total = movement.until.map(|until| (until.0, "request_total"));
        let (due, label) = total.filter(|total| total.0 < idle.0).unwrap_or(idle);
        ready!(timer.poll(cx, due));
        Poll::Ready(Err(Some(label)))
    })
    .await
}

/// The client's bytes; its window opens again for what the upstream has taken.
async fn up(received: &mut RecvStream, wire: &RefCell<Wire>, movement: &Movement) -> Result<(), Over> {
    while let Some(piece) = poll_fn(|cx| received.poll_data(cx)).await {
        let piece = piece.map_err(|_| Over)?;
        let length = piece.len();
        movement.last.set(Instant::now());
        wire.borrow_mut().put(piece);
        poll_fn(|cx| wire.borrow_mut().poll_flush(cx, |_| movement.last.set(Instant::now())))
            .await
            .map_err(|_| Over)?;
        received.flow_control().release_capacity(length).map_err(|_| Over)?;
    }
    poll_fn(|cx| wire.borrow_mut().poll_shutdown(cx)).await.map_err(|_| Over)
}

/// The upstream's bytes, as far as the client's window allows.
async fn down(pump: &mut Pump<'_>, wire: &RefCell<Wire>, movement: &Movement) -> Result<(), Over> {
    loop {
        pump.makes_room().await?;
        let piece = poll_fn(|cx| {
            if pump.is_taken_back(cx) {
                return Poll::Ready(Err(Over));
            }
            let wire = &mut *wire.borrow_mut();
            if !wire.has_input() {
                ready!(wire.poll_fill(cx)).map_err(|_| Over)?;
            }
            Poll::Ready(Ok(Bytes::from(wire.take_input())))
        });
        let piece = piece.await?;
        if piece.is_empty() {
            return pump.end();
        }
        movement.last.set(Instant::now());
        pump.send_piece(piece).await?;
        movement.last.set(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    /// RFC 6455 section 1.3.
    #[test]
    fn the_proof_is_that_of_the_rfc() {
        let key = Key(HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="));
        let answer = |accept: &'static str| {
            let mut response = hyper::Response::new(());
            response.headers_mut().insert(SEC_WEBSOCKET_ACCEPT, HeaderValue::from_static(accept));
            response.into_parts().0
        };
        assert!(key.is_proved_by(&answer("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")));
        assert!(!key.is_proved_by(&answer("s3pPLMBiTxaQ9kYGzzhZRbK+xOo")));
    }
}
