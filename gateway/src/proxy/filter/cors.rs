//! `cors`: which origins' scripts may read this API (fetch.spec.whatwg.org, CORS protocol). A preflight
//! is answered here, before auth, since it brings no credentials; an upstream's own word is replaced.

use std::ops::ControlFlow;
use std::sync::Arc;

use hyper::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderValue, ORIGIN, VARY,
};
use hyper::{HeaderMap, Method};

use super::{Asked, BeforeAuth, OnAnswer, Seen};
use crate::model::{Api, Cors, Origins};
use crate::proxy::respond::Rejection;

/// Both ways of one API's `cors`.
struct Policy {
    origins: Origins,
    credentials: bool,
    methods: HeaderValue,
    headers: Option<HeaderValue>,
    expose: Option<HeaderValue>,
    max_age: HeaderValue,
}

pub(super) fn preflight(api: &Api) -> Option<Box<dyn BeforeAuth>> {
    Some(Box::new(Policy::new(api.shaping.cors.as_ref()?)))
}

pub(super) fn on_answer(api: &Api) -> Option<Box<dyn OnAnswer>> {
    Some(Box::new(Policy::new(api.shaping.cors.as_ref()?)))
}

impl Policy {
    fn new(cors: &Cors) -> Self {
        let list = |names: &[Arc<str>]| HeaderValue::try_from(names.join(", ")).ok();
        Self {
            origins: cors.origins.clone(),
            credentials: cors.credentials,
            methods: list(&cors.methods).unwrap_or(HeaderValue::from_static("GET")),
            headers: list(&cors.headers).filter(|list| !list.is_empty()),
            expose: list(&cors.expose).filter(|list| !list.is_empty()),
            max_age: HeaderValue::from(cors.max_age.as_secs()),
        }
    }

    /// What an answer to `origin` names as allowed.
    fn allowed(&self, origin: &HeaderValue) -> Option<HeaderValue> {
        match &self.origins {
            Origins::Any => Some(HeaderValue::from_static("*")),
            Origins::Listed(origins) => {
                let is_listed = origins.iter().any(|listed| listed.as_bytes() == origin.as_bytes());
                is_listed.then(|| origin.clone())
            }
        }
    }

    fn allow(&self, allowed: HeaderValue, headers: &mut HeaderMap) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        if self.credentials {
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }
}

impl BeforeAuth for Policy {
    fn apply(&self, asked: &Asked<'_>) -> ControlFlow<Rejection> {
        let Some(origin) = asked.headers.get(ORIGIN) else { return ControlFlow::Continue(()) };
        if asked.method != Method::OPTIONS || !asked.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
            return ControlFlow::Continue(());
        }
        let Some(allowed) = self.allowed(origin) else { return ControlFlow::Break(Rejection::Origin) };
        let mut headers = HeaderMap::new();
        self.allow(allowed, &mut headers);
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, self.methods.clone());
        if let Some(list) = &self.headers {
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, list.clone());
        }
        headers.insert(ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
        ControlFlow::Break(Rejection::Preflight(Box::new(headers)))
    }
}

impl OnAnswer for Policy {
    fn apply(&self, seen: &Seen, headers: &mut HeaderMap) {
        for name in
            [ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_EXPOSE_HEADERS]
        {
            headers.remove(name);
        }
        if !matches!(self.origins, Origins::Any) {
            // Caches must not give one origin's answer to another.
            headers.append(VARY, HeaderValue::from_static("Origin"));
        }
        let Some(allowed) = seen.origin.as_ref().and_then(|origin| self.allowed(origin)) else { return };
        self.allow(allowed, headers);
        if let Some(list) = &self.expose {
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, list.clone());
        }
    }
}
