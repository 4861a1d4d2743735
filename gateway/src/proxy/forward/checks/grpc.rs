//! A check by `grpc.health.v1`: one call of `Health/Check` on a connection of its own. The two messages are
//! so small that they are written and read by hand: a string in field 1, an enumeration in field 1.

use std::future::poll_fn;
use std::io;

use bytes::{BufMut as _, Bytes, BytesMut};
use h2::RecvStream;
use h2::client::{Builder, SendRequest};
use hyper::header::{CONTENT_TYPE, HeaderValue, TE, USER_AGENT};
use hyper::{HeaderMap, Method, Request, Uri, Version};

use super::super::target::Target;

const PATH: &str = "/grpc.health.v1.Health/Check";
/// Bytes of an answer that are read: a status takes two.
const ANSWER_BYTES: usize = 1_024;
const WINDOW: u32 = 64 << 10;
/// Of `HealthCheckResponse.ServingStatus`.
const STATUSES: [&str; 4] = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];
const SERVING: u64 = 1;

/// Whether `service` ("" is the server as a whole) is SERVING.
pub(super) async fn serves(target: &Target, service: &str) -> io::Result<()> {
    let stream = target.connect().await?;
    let (requests, connection) = Builder::new()
        .enable_push(false)
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_header_list_size(16 << 10)
        .handshake::<_, Bytes>(stream)
        .await
        .map_err(io::Error::other)?;
    tokio::select! {
        answered = ask(requests, target, service) => answered,
        ended = connection => Err(ended.err().map_or(io::ErrorKind::UnexpectedEof.into(), io::Error::other)),
    }
}

async fn ask(mut requests: SendRequest<Bytes>, target: &Target, service: &str) -> io::Result<()> {
    poll_fn(|cx| requests.poll_ready(cx)).await.map_err(io::Error::other)?;
    let request = request(target).map_err(io::Error::other)?;
    let (answer, mut sender) = requests.send_request(request, false).map_err(io::Error::other)?;
    sender.send_data(message(service), true).map_err(io::Error::other)?;
    let (head, mut body) = answer.await.map_err(io::Error::other)?.into_parts();
    if !head.status.is_success() {
        return Err(io::Error::other(format!("answered {}", head.status.as_u16())));
    }
    // Without a message the status stands in the head.
    succeeded(&head.headers)?;
    let read = read(&mut body).await?;
    if let Some(trailers) = body.trailers().await.map_err(io::Error::other)? {
        succeeded(&trailers)?;
    }
    match status(&read) {
        Some(SERVING) => Ok(()),
        Some(other) => {
            let name = usize::try_from(other).ok().and_then(|other| STATUSES.get(other)).unwrap_or(&"?");
            Err(io::Error::other(format!("answered {name}")))
        }
        None => Err(io::Error::other("the answer is no HealthCheckResponse")),
    }
}

fn request(target: &Target) -> Result<Request<()>, hyper::http::Error> {
    let mut request = Request::new(());
    *request.method_mut() = Method::POST;
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = Uri::builder()
        .scheme(if target.is_tls() { "https" } else { "http" })
        .authority(target.host.as_bytes())
        .path_and_query(PATH)
        .build()?;
    let headers = request.headers_mut();
    headers.insert(TE, HeaderValue::from_static("trailers"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(USER_AGENT, HeaderValue::from_static("weir-check"));
    Ok(request)
}

/// `grpc-status`, where it stands.
fn succeeded(headers: &HeaderMap) -> io::Result<()> {
    match headers.get("grpc-status").map(HeaderValue::as_bytes) {
        None | Some(b"0") => Ok(()),
        Some(status) => Err(io::Error::other(format!("gRPC status {}", String::from_utf8_lossy(status)))),
    }
}

async fn read(body: &mut RecvStream) -> io::Result<BytesMut> {
    let mut read = BytesMut::new();
    while let Some(piece) = body.data().await {
        let piece = piece.map_err(io::Error::other)?;
        if read.len() + piece.len() > ANSWER_BYTES {
            return Err(io::Error::other("the answer is too long"));
        }
        read.extend_from_slice(&piece);
    }
    Ok(read)
}

/// `HealthCheckRequest { service }` behind its prefix: not compressed, and its length. Configuration keeps a
/// name below 128 bytes, so that its length is one byte.
fn message(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if let Ok(length @ 1..=0x7f) = u8::try_from(service.len()) {
        message.put_u8(0x0a);
        message.put_u8(length);
        message.put_slice(service.as_bytes());
    }
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or_default());
    framed.put(message);
    framed.freeze()
}

/// The status in `HealthCheckResponse`, whose other fields are read over; 0 where it is left out.
fn status(framed: &[u8]) -> Option<u64> {
    let (prefix, mut message) = framed.split_at_checked(5)?;
    let [0, length @ ..] = prefix else { return None };
    if u32::from_be_bytes(length.try_into().ok()?) as usize != message.len() {
        return None;
    }
    let mut status = 0;
    while !message.is_empty() {
        let key = varint(&mut message)?;
        match (key >> 3, key & 7) {
            (1, 0) => status = varint(&mut message)?,
            (_, 0) => drop(varint(&mut message)?),
            (_, 1) => message = message.get(8..)?,
            (_, 2) => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                message = message.get(length..)?;
            }
            (_, 5) => message = message.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

/// Seven bits a byte, the lowest first; ten bytes at most.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_those_of_protobuf() {
        assert_eq!(&message("")[..], b"\0\0\0\0\0");
        assert_eq!(&message("shop")[..], b"\0\0\0\0\x06\x0a\x04shop");
        for (bytes, expected) in [
            (&b"\0\0\0\0\x02\x08\x01"[..], Some(1)),
            (b"\0\0\0\0\0", Some(0)),
            (b"\0\0\0\0\x02\x08\x02", Some(2)),
            (b"\0\0\0\0\x07\x12\x01x\x08\x81\0\x08", None),
            (b"\0\0\0\0\x06\x12\x01x\x08\x81\0", Some(1)),
            (b"\x01\0\0\0\x02\x08\x01", None),
            (b"\0\0\0\0\x03\x08\x01", None),
            (b"\0\0\0\0\x01\x08", None),
            (b"\0\0\0\0\x0c\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", None),
            (b"\0\0", None),
            (b"", None),
        ] {
            assert_eq!(status(bytes), expected, "{bytes:?}");
        }
    }
}
