//! What an exchange tells the access log on its way. Where nobody logs, nothing of it is copied.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::sync::Arc;

use hyper::{Method, Request, Response};

use super::filter::{Seen, Session};
use super::respond::{Fault, Rejection};
use crate::plane::now_ns;
use crate::telemetry::access_log::{AccessLog, Line, PATH_BYTES_MAX};

/// One request's; None inside: nobody logs.
pub(super) struct Told<'a>(Option<Inner<'a>>);

/// In the log alone, for who went before the answer; nginx writes the same.
const CLIENT_GONE: u16 = 499;

struct Inner<'a> {
    log: &'a AccessLog,
    began_ns: u64,
    client: IpAddr,
    method: Method,
    path: Box<str>,
    api: RefCell<Option<Arc<str>>>,
    upstream: RefCell<Option<Arc<str>>>,
    id: RefCell<Option<Box<str>>>,
    credential: RefCell<Option<Arc<str>>>,
    why: Cell<Option<&'static str>>,
    /// Scheme and reason.
    auth: Cell<Option<(&'static str, &'static str)>>,
    attempts: Cell<u32>,
}

impl<'a> Told<'a> {
    pub fn of<B>(log: Option<&'a AccessLog>, request: &Request<B>, client: IpAddr, began_ns: u64) -> Self {
        Self(log.map(|log| Inner {
            log,
            began_ns,
            client,
            method: request.method().clone(),
            path: first_bytes(request.uri().path()).into(),
            api: RefCell::default(),
            upstream: RefCell::default(),
            id: RefCell::default(),
            credential: RefCell::default(),
            why: Cell::default(),
            auth: Cell::default(),
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
        let Some(inner) = &self.0 else { return };
        inner.why.set(Some(rejection.name()));
        if let Rejection::Auth(refusal) = rejection {
            inner.auth.set(Some((refusal.scheme, refusal.reason.name())));
        }
    }

    /// Auth was passed.
    pub fn session(&self, session: &Session) {
        if let Some(inner) = &self.0 {
            inner.credential.replace(session.credential().cloned());
        }
    }

    pub fn failed(&self, fault: Fault) {
        if let Some(inner) = &self.0 {
            inner.why.set(Some(fault.name()));
        }
    }

    /// The answer's head is known.
    pub fn answered<B>(mut self, response: &Response<B>) {
        if let Some(inner) = self.0.take() {
            inner.log(response.status().as_u16());
        }
    }
}

impl Inner<'_> {
    fn log(self, status: u16) {
        self.log.write(Line {
            began_ns: self.began_ns,
            took_ns: now_ns().saturating_sub(self.began_ns),
            client: self.client,
            api: self.api.into_inner(),
            method: self.method.as_str().into(),
            path: self.path,
            status,
            credential: self.credential.into_inner(),
            why: self.why.get(),
            auth: self.auth.get(),
            upstream: self.upstream.into_inner(),
            attempts: self.attempts.get(),
            id: self.id.into_inner(),
        });
    }
}

/// Nobody waited for the answer.
impl Drop for Told<'_> {
    fn drop(&mut self) {
        if let Some(inner) = self.0.take() {
            inner.why.set(Some("client_gone"));
            inner.log(CLIENT_GONE);
        }
    }
}

/// A path is ASCII, or was refused; a longer one is cut.
fn first_bytes(path: &str) -> &str {
    let end = (0..=PATH_BYTES_MAX.min(path.len())).rev().find(|end| path.is_char_boundary(*end));
    path.get(..end.unwrap_or_default()).unwrap_or_default()
}
