//! What a request head must be before anything is done with it, beyond what hyper's parser holds.

use std::ops::ControlFlow;

use hyper::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use hyper::{HeaderMap, Method, Request, Version};

use super::Bounds;
use super::respond::Rejection;

/// Checks the head; the host that it names ("" in HTTP/1.0 without one).
pub(super) fn check<'a, B>(request: &'a Request<B>, bounds: &Bounds) -> ControlFlow<Rejection, &'a str> {
    let reject = |reason| ControlFlow::Break(Rejection::Malformed(reason));
    if request.method() == Method::CONNECT {
        return ControlFlow::Break(Rejection::Connect);
    }
    let target_bytes = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if target_bytes > bounds.uri_bytes as usize {
        return ControlFlow::Break(Rejection::UriTooLong);
    }
    let headers = request.headers();
    if headers.contains_key(TRANSFER_ENCODING) && headers.contains_key(CONTENT_LENGTH) {
        // RFC 9112 section 6.1: a sign of request smuggling.
        return reject("both_lengths");
    }
    if let (Some(declared), Some(bound)) = (declared_bytes(headers), bounds.body_bytes)
        && declared > bound
    {
        return ControlFlow::Break(Rejection::BodyTooLarge);
    }
    let path = request.uri().path();
    if !path.starts_with('/') {
        return reject("target");
    }
    match host(request) {
        Ok(host) => ControlFlow::Continue(host),
        Err(reason) => reject(reason),
    }
}

fn declared_bytes(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// RFC 9112 section 3.2: exactly one Host in HTTP/1.1, and a valid one. The target's authority, where
/// it has one (absolute-form), goes before it (section 3.2.2).
fn host<B>(request: &Request<B>) -> Result<&str, &'static str> {
    let mut lines = request.headers().get_all(HOST).iter();
    let line = lines.next();
    if lines.next().is_some() {
        return Err("host_twice");
    }
    if line.is_none() && request.version() >= Version::HTTP_11 {
        return Err("host_missing");
    }
    let host = match line {
        Some(line) => line.to_str().map_err(|_| "host")?,
        None => "",
    };
    if !host.bytes().all(is_host_byte) {
        return Err("host");
    }
    match request.uri().authority() {
        Some(authority) if authority.as_str().bytes().all(is_host_byte) => Ok(authority.as_str()),
        Some(_) => Err("target"),
        None => Ok(host),
    }
}

/// RFC 3986 section 3.2.2 without what a Host never needs: no user info, no list, no path.
fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=:[]".contains(&byte)
}
