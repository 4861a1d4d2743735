//! `compress`: answers that are worth it, for clients that take gzip (RFC 9110 sections 8.4 and 12.5.3). What
//! may hold a secret beside a stranger's words is left as it is: its length would tell (BREACH).

mod packed;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use http_body::Body as _;
use hyper::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH,
    CONTENT_RANGE, CONTENT_TYPE, COOKIE, ETAG, HeaderName, HeaderValue, SET_COOKIE, VARY,
};
use hyper::http::response;
use hyper::{HeaderMap, Method, Response};
use prometheus_client::metrics::gauge::Gauge;

pub use self::packed::Packed;
use super::body::Body;
use crate::model::{Api, Compress};

/// Answers that are compressed at once, over all workers; further ones go as they are.
pub const COMPRESSING_MAX: u32 = 256;
/// Each: the compressor's window and tables, what it read and what it wrote.
pub const COMPRESSING_BYTES: u64 = 512 << 10;

/// Fields that would speak of other bytes.
const OF_THE_BYTES: [HeaderName; 3] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
];

/// What a request says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Its client takes gzip.
    Gzip,
    Plain,
    /// A secret may stand in the answer.
    Secret,
}

/// Read before auth takes credentials out of `headers`.
pub fn wanted(api: &Api, headers: &HeaderMap) -> Wanted {
    let Some(compress) = &api.shaping.compress else { return Wanted::Plain };
    let has_secret =
        headers.contains_key(AUTHORIZATION) || headers.contains_key(COOKIE) || api.auth.is_some();
    if has_secret && !compress.with_credentials {
        return Wanted::Secret;
    }
    if takes_gzip(headers) { Wanted::Gzip } else { Wanted::Plain }
}

/// Named with a weight above 0, or covered by `*` without being named.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let (mut named, mut any) = (None, false);
    let lines = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|line| line.to_str().ok());
    for entry in lines.flat_map(|line| line.split(',')) {
        let mut parts = entry.split(';').map(str::trim);
        let coding = parts.next().unwrap_or_default();
        let takes = !parts.any(is_zero_weight);
        if coding.eq_ignore_ascii_case("gzip") || coding.eq_ignore_ascii_case("x-gzip") {
            named = Some(named.unwrap_or(false) || takes);
        } else if coding == "*" {
            any = takes;
        }
    }
    named.unwrap_or(any)
}

/// `q=0`, `Q=0.000`.
fn is_zero_weight(part: &str) -> bool {
    let weight = part.split_once('=').filter(|(name, _)| name.trim().eq_ignore_ascii_case("q"));
    weight.is_some_and(|(_, weight)| weight.trim().parse::<f32>().is_ok_and(|weight| weight <= 0.0))
}

/// Places of those that are compressed.
#[derive(Debug)]
pub struct Places {
    taken: AtomicU32,
    gauge: Gauge,
}

/// One of them; given back when dropped.
#[derive(Debug)]
pub struct Place(Arc<Places>);

impl Places {
    pub fn new(gauge: Gauge) -> Self {
        Self { taken: AtomicU32::new(0), gauge }
    }

    fn take(self: &Arc<Self>) -> Option<Place> {
        if self.taken.fetch_add(1, Ordering::AcqRel) >= COMPRESSING_MAX {
            self.taken.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        self.gauge.inc();
        Some(Place(Arc::clone(self)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::AcqRel);
        self.0.gauge.dec();
    }
}

/// The answer, compressed where that is wanted, worth it, and there is a place.
pub fn compress(
    compress: &Compress,
    wanted: Wanted,
    method: &Method,
    places: &Arc<Places>,
    response: Response<Body>,
) -> Response<Body> {
    let (mut head, body) = response.into_parts();
    if wanted == Wanted::Secret || !is_worth_it(compress, &head, &body) {
        return Response::from_parts(head, body);
    }
    vary(&mut head.headers);
    if wanted != Wanted::Gzip {
        return Response::from_parts(head, body);
    }
    if *method == Method::HEAD {
        // As GET would have it, whose length nobody knows.
        relabel(&mut head.headers);
        return Response::from_parts(head, body);
    }
    let Some(place) = places.take() else { return Response::from_parts(head, body) };
    relabel(&mut head.headers);
    Response::from_parts(head, Body::Packed(Box::new(Packed::new(body, compress.level, place))))
}

fn is_worth_it(compress: &Compress, head: &response::Parts, body: &Body) -> bool {
    let headers = &head.headers;
    // A part of other bytes, or a word about a tunnel.
    let is_whole = head.status.is_success() && !headers.contains_key(CONTENT_RANGE) && !body.is_tunnel();
    let may = !headers.contains_key(CONTENT_ENCODING)
        && !has_word(headers, &CACHE_CONTROL, "no-transform")
        && (compress.with_credentials || !headers.contains_key(SET_COOKIE));
    let described = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let length = described.or_else(|| body.size_hint().exact());
    is_whole
        && may
        && length.is_none_or(|length| length >= compress.min_bytes)
        && is_listed(compress, headers)
}

/// `text/html; charset=utf-8` by `text/html` or `text/*`.
fn is_listed(compress: &Compress, headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()) else { return false };
    let kind = kind.split(';').next().unwrap_or_default().trim();
    compress.types.iter().any(|listed| match listed.strip_suffix('*') {
        Some(prefix) => kind.get(..prefix.len()).is_some_and(|kind| kind.eq_ignore_ascii_case(prefix)),
        None => kind.eq_ignore_ascii_case(listed),
    })
}

fn has_word(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|part| part.trim().eq_ignore_ascii_case(word))
}

/// A cache must not give one client's form to another.
fn vary(headers: &mut HeaderMap) {
    if !has_word(headers, &VARY, "accept-encoding") && !has_word(headers, &VARY, "*") {
        headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
    }
}

/// Other bytes of the same thing: a strong ETag becomes a weak one (RFC 9110 section 8.8.1).
fn relabel(headers: &mut HeaderMap) {
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    for gone in [&CONTENT_LENGTH, &ACCEPT_RANGES].into_iter().chain(&OF_THE_BYTES) {
        headers.remove(gone);
    }
    let strong = headers.get(ETAG).filter(|tag| !tag.as_bytes().starts_with(b"W/"));
    if let Some(weak) = strong.and_then(|tag| HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat()).ok())
    {
        headers.insert(ETAG, weak);
    }
}
