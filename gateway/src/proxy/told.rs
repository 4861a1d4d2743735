//! What an exchange tells the access log on its way. Where nobody logs, nothing of it is copied.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::sync::Arc;

use hyper::{Method, Request, Response};

use super::filter::Seen;
use super::respond::{Fault, Rejection};
use crate::telemetry::access_log::{AccessLog, Line, PATH_BYTES_MAX};

/// One request's; None inside: nobody logs.
pub(super) struct Told<'a>(Option<Inner<'a>>);

struct Inner<'a> {
    log: &'a AccessLog,
    client: IpAddr,
    method: Method,
    path: Box<str>,
    api: RefCell<Option<Arc<str>>>,
    upstream: RefCell<Option<Arc<str>>>,
    id: RefCell<Option<Box<str>>>,
    why: Cell<Option<&'static str>>,
    attempts: Cell<u32>,
}

impl<'a> Told<'a> {
    pub fn of<B>(log: Option<&'a AccessLog>, request: &Request<B>, client: IpAddr) -> Self {
        Self(log.map(|log| Inner {
            log,
            client,
            method: request.method().clone(),
            path: first_bytes(request.uri().path()).into(),
            api: RefCell::default(),
            upstream: RefCell::default(),
            id: RefCell::default(),
            why: Cell::default(),
            attempts: Cell::default(),
        }))
    }

    pub fn api(&self, api: &Arc<str>, seen: &Seen) {
        let Some(inner) = &self.0 else { return };
        inner.api.replace(Some(Arc::clone(api)));
        let id = seen.id.as_ref().and_then(|id| id.to_str().ok());
        inner.id.replace(id.map(Into::into));
    }

    pub fn attempt(&self, upstream: &Arc<str>) {
        let Some(inner) = &self.0 else { return };
        inner.upstream.replace(Some(Arc::clone(upstream)));
        inner.attempts.set(inner.attempts.get() + 1);
    }

    pub fn refused(&self, rejection: &Rejection) {
        if let Some(inner) = &self.0 {
            inner.why.set(Some(rejection.name()));
        }
    }

    pub fn failed(&self, fault: Fault) {
        if let Some(inner) = &self.0 {
            inner.why.set(Some(fault.name()));
        }
    }

    /// The answer's head is known.
    pub fn answered<B>(self, response: &Response<B>, began_ns: u64, now_ns: impl FnOnce() -> u64) {
        let Some(inner) = self.0 else { return };
        inner.log.write(Line {
            began_ns,
            took_ns: now_ns().saturating_sub(began_ns),
            client: inner.client,
            api: inner.api.into_inner(),
            method: inner.method.as_str().into(),
            path: inner.path,
            status: response.status().as_u16(),
            why: inner.why.get(),
            upstream: inner.upstream.into_inner(),
            attempts: inner.attempts.get(),
            id: inner.id.into_inner(),
        });
    }
}

/// A path is ASCII, or was refused; a longer one is cut.
fn first_bytes(path: &str) -> &str {
    let end = (0..=PATH_BYTES_MAX.min(path.len())).rev().find(|end| path.is_char_boundary(*end));
    path.get(..end.unwrap_or_default()).unwrap_or_default()
}
