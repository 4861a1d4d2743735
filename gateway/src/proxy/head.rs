//! What a request head must be before anything is done with it: what HTTP/1 and HTTP/2 have in common.

use std::ops::ControlFlow;

use hyper::header::{EXPECT, HOST};
use hyper::http::uri::Scheme;
use hyper::{Method, Request, Version};

use super::Bounds;
use super::authority::is_authority;
use super::body::Source;
use super::respond::Rejection;

/// Checks the head; the host that it names ("" in HTTP/1.0 without one).
pub(super) fn check<'a>(request: &'a Request<Source>, bounds: &Bounds) -> ControlFlow<Rejection, &'a str> {
    let reject = |reason| ControlFlow::Break(Rejection::Malformed(reason));
    if request.method() == Method::CONNECT {
        let is_extended = request.extensions().get::<h2::ext::Protocol>().is_some();
        return ControlFlow::Break(if is_extended { Rejection::Protocol } else { Rejection::Connect });
    }
    let target_bytes = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if target_bytes > bounds.uri_bytes as usize {
        return ControlFlow::Break(Rejection::UriTooLong);
    }
    if expects_the_unknown(request) {
        return ControlFlow::Break(Rejection::Expectation);
    }
    let is_other_scheme = request.uri().scheme().is_some_and(|scheme| !is_http(scheme));
    if is_other_scheme || !request.uri().path().starts_with('/') {
        return reject("target");
    }
    match host(request) {
        Ok(host) => ControlFlow::Continue(host),
        Err(reason) => reject(reason),
    }
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
    // An empty Host is that of a URI without authority (RFC 9110 section 7.2).
    if !host.is_empty() && !is_authority(host) {
        return Err("host");
    }
    match request.uri().authority() {
        Some(authority) if is_authority(authority.as_str()) => Ok(authority.as_str()),
        Some(_) => Err("target"),
        None => Ok(host),
    }
}

fn is_http(scheme: &Scheme) -> bool {
    *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS
}

/// RFC 9110 section 10.1.1: nothing else can be met, and HTTP/1.0 has no expectations.
fn expects_the_unknown<B>(request: &Request<B>) -> bool {
    let mut lines = request.headers().get_all(EXPECT).iter();
    request.version() >= Version::HTTP_11
        && lines.any(|line| !line.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}
