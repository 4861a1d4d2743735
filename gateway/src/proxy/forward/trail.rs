//! How far a request may still go (Max-Forwards, RFC 9110 section 7.6.2), and whom it passed (Via,
//! section 7.6.3): one that passed here already goes round in a circle.

use std::ops::ControlFlow;

use hyper::header::{HeaderValue, MAX_FORWARDS, VIA};
use hyper::{HeaderMap, Method, Version};

use crate::proxy::respond::Rejection;

/// Counts a hop of TRACE and OPTIONS; the last one is answered here.
pub(in crate::proxy) fn count_hop(method: &Method, headers: &mut HeaderMap) -> ControlFlow<Rejection> {
    let last = match *method {
        Method::OPTIONS => Rejection::LastOptions,
        Method::TRACE => Rejection::LastTrace,
        _ => return ControlFlow::Continue(()),
    };
    let mut lines = headers.get_all(MAX_FORWARDS).iter();
    let left = match (lines.next(), lines.next()) {
        (None, _) => return ControlFlow::Continue(()),
        (Some(line), None) => hops(line.as_bytes()),
        (Some(_), Some(_)) => None,
    };
    match left {
        None => ControlFlow::Break(Rejection::Malformed("max_forwards")),
        Some(0) => ControlFlow::Break(last),
        Some(left) => {
            headers.insert(MAX_FORWARDS, HeaderValue::from(left - 1));
            ControlFlow::Continue(())
        }
    }
}

/// Digits and nothing else; more than we can count is as many as we can.
fn hops(value: &[u8]) -> Option<u64> {
    let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    is_number.then(|| std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).unwrap_or(u64::MAX))
}

/// Our entry in Via, by the version that a request came in.
#[derive(Clone, Debug)]
pub(in crate::proxy) struct Via {
    pseudonym: Box<str>,
    http1_0: HeaderValue,
    http1_1: HeaderValue,
    http2: HeaderValue,
}

impl Via {
    /// None: not a pseudonym; configuration lets no such through.
    pub fn new(pseudonym: &str) -> Option<Self> {
        let entry = |version: &str| HeaderValue::try_from(format!("{version} {pseudonym}")).ok();
        Some(Self {
            pseudonym: pseudonym.into(),
            http1_0: entry("1.0")?,
            http1_1: entry("1.1")?,
            http2: entry("2.0")?,
        })
    }

    /// Puts the entry behind those of others, unless it is there already.
    pub fn add(&self, version: Version, headers: &mut HeaderMap) -> ControlFlow<Rejection> {
        let lines = headers.get_all(VIA).iter();
        let mut entries = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
        if entries.any(|entry| self.is_ours(entry)) {
            return ControlFlow::Break(Rejection::Loop);
        }
        let entry = match version {
            Version::HTTP_2 => &self.http2,
            Version::HTTP_10 => &self.http1_0,
            _ => &self.http1_1,
        };
        headers.append(VIA, entry.clone());
        ControlFlow::Continue(())
    }

    /// `1.1 NAME`, and perhaps a comment behind it.
    fn is_ours(&self, entry: &[u8]) -> bool {
        let mut words = entry.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let named = words.nth(1);
        named.is_some_and(|named| named.eq_ignore_ascii_case(self.pseudonym.as_bytes()))
    }
}
