//! `https_only`: what comes over plain HTTP is sent to the same place over https.

use std::ops::ControlFlow;

use hyper::header::{HOST, HeaderValue};

use super::{Asked, BeforeAuth};
use crate::model::Api;
use crate::proxy::connection::Scheme;
use crate::proxy::respond::Rejection;

struct HttpsOnly;

pub(super) fn row(api: &Api) -> Option<Box<dyn BeforeAuth>> {
    api.shaping.https_only.then(|| Box::new(HttpsOnly) as Box<dyn BeforeAuth>)
}

impl BeforeAuth for HttpsOnly {
    fn apply(&self, asked: &Asked<'_>) -> ControlFlow<Rejection> {
        if asked.over.scheme == Scheme::Https {
            return ControlFlow::Continue(());
        }
        let named = asked.uri.authority().map(|authority| authority.as_str());
        let host = named.or_else(|| asked.headers.get(HOST)?.to_str().ok()).map(without_port);
        let path = asked.uri.path_and_query().map_or("/", |path| path.as_str());
        let location = host.filter(|host| !host.is_empty()).map(|host| format!("https://{host}{path}"));
        match location.and_then(|location| HeaderValue::try_from(location).ok()) {
            Some(location) => ControlFlow::Break(Rejection::HttpsOnly(Box::new(location))),
            // HTTP/1.0 without Host: there is no place to name.
            None => ControlFlow::Break(Rejection::Malformed("host_missing")),
        }
    }
}

/// Plain HTTP's port is not https's.
fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}
