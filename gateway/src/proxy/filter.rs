//! What stands between dispatch and the answer, and on the answer's way back. A row of a table is a
//! function from an API to its filter, or to none: what an API does not use costs its requests nothing.
//! Filters behind auth get the [`Session`] that only auth can make.

mod https_only;

mod certificate;

mod cors;

mod auth;

mod policies;

mod limits;

mod headers;

mod request_id;

use std::ops::ControlFlow;
use std::sync::Arc;

use hyper::header::{HeaderName, HeaderValue, ORIGIN};
use hyper::{HeaderMap, Method, Uri};

pub(super) use self::auth::{Answer as AuthAnswer, AuthRefusal, Presented, Session};
use self::auth::{Auth, Authenticated, Identity};
pub use self::auth::{
    DOCUMENT_BYTES_MAX as KEY_SET_BYTES_MAX, DOCUMENTS_MAX as KEY_SETS_MAX, HeldFacts as HeldKeySetFacts,
    KEYS_MAX as KEYS_OF_A_SET_MAX, Kept as KeptByAuth, KeySetFacts, Tokens as VerifiedTokens, fetch_key_sets,
};
use self::policies::Policies;
use super::connection::Connection;
use super::respond::Rejection;
use crate::limit::{Counted, RowWords, Who};
use crate::model::{Api, ClientKey, Policy};
use crate::telemetry::metrics::Metrics;

/// A step that needs nobody's credential: it goes on or breaks with an answer.
trait BeforeAuth: Send + Sync {
    fn apply(&self, asked: &Asked<'_>) -> ControlFlow<Rejection>;
}

/// A step behind auth: it goes on or breaks with a rejection.
trait Filter: Send + Sync {
    fn apply(&self, exchange: &Facts<'_>, session: &Session) -> ControlFlow<Rejection>;
}

/// Changes what an upstream is sent, once a hop's own headers are out.
trait ToUpstream: Send + Sync {
    fn apply(&self, seen: &Seen, headers: &mut HeaderMap);
}

/// Changes what a client is answered, by whoever.
trait OnAnswer: Send + Sync {
    fn apply(&self, seen: &Seen, headers: &mut HeaderMap);
}

/// A request's head, as filters see it.
pub(super) struct Asked<'a> {
    pub method: &'a Method,
    pub uri: &'a Uri,
    pub headers: &'a HeaderMap,
    pub over: &'a Connection,
    pub peer_is_trusted: bool,
}

/// What filters may know of an exchange.
pub(super) struct Facts<'a> {
    pub method: &'a Method,
    pub uri: &'a Uri,
    pub client: ClientKey,
    pub words: &'a RowWords,
    pub now_ns: u64,
}

/// What is kept of a request until its answer. Empty where the API needs nothing of it.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub id: Option<HeaderValue>,
    origin: Option<HeaderValue>,
}

/// A filter's row: from an API to its filter, or to none.
type Row<F> = fn(&Api) -> Option<Box<F>>;

/// As [`Row`], for what may look at policies and counts.
type SessionRow = fn(&Api, &Arc<Policies>, &Metrics) -> Option<Box<dyn Filter>>;

/// In the order in which they run.
const BEFORE_AUTH: [Row<dyn BeforeAuth>; 3] = [https_only::row, cors::preflight, certificate::row];
const AFTER_AUTH: [SessionRow; 2] = [policies::granted, limits::row];
const TO_UPSTREAM: [Row<dyn ToUpstream>; 2] = [request_id::to_upstream, headers::of_requests];
const ON_ANSWER: [Row<dyn OnAnswer>; 3] = [cors::on_answer, request_id::on_answer, headers::of_answers];

/// The filters of one API, in order.
pub(super) struct Chain {
    before_auth: Vec<Box<dyn BeforeAuth>>,
    auth: Auth,
    after_auth: Vec<Box<dyn Filter>>,
    policies: Arc<Policies>,
    to_upstream: Vec<Box<dyn ToUpstream>>,
    on_answer: Vec<Box<dyn OnAnswer>>,
    request_id: Option<HeaderName>,
    sees_origins: bool,
}

impl Chain {
    pub fn build(api: &Api, policies: &[Arc<Policy>], kept: &Arc<KeptByAuth>, metrics: &Metrics) -> Self {
        let policies = Arc::new(Policies::build(api, policies));
        Self {
            before_auth: BEFORE_AUTH.iter().filter_map(|row| row(api)).collect(),
            auth: Auth::build(api, &policies, kept),
            after_auth: AFTER_AUTH.iter().filter_map(|row| row(api, &policies, metrics)).collect(),
            policies,
            to_upstream: TO_UPSTREAM.iter().filter_map(|row| row(api)).collect(),
            on_answer: ON_ANSWER.iter().filter_map(|row| row(api)).collect(),
            request_id: request_id::name(api),
            sees_origins: api.shaping.cors.is_some(),
        }
    }

    /// What the answer will want to know of the request.
    pub fn see(&self, asked: &Asked<'_>) -> Seen {
        let id = self.request_id.as_ref();
        Seen {
            id: id.map(|name| request_id::of(asked.headers, name, asked.peer_is_trusted)),
            origin: asked.headers.get(ORIGIN).filter(|_| self.sees_origins).cloned(),
        }
    }

    pub fn before_auth(&self, asked: &Asked<'_>) -> ControlFlow<Rejection> {
        self.before_auth.iter().try_for_each(|filter| filter.apply(asked))
    }

    /// Auth, which takes the credential out of the request, so that no upstream sees it. Waits only where a
    /// scheme has slow work to do.
    pub async fn authenticate(&self, presented: &mut Presented<'_>) -> ControlFlow<Rejection, Session> {
        let ended = match self.auth.authenticate(presented) {
            Authenticated::Session(session) => return ControlFlow::Continue(session),
            Authenticated::Refused(refusal) => return ControlFlow::Break(Rejection::Auth(refusal)),
            Authenticated::Pending(pending) => pending.end().await,
        };
        match ended {
            Ok(session) => ControlFlow::Continue(session),
            Err((scheme, reason)) => {
                ControlFlow::Break(Rejection::Auth(Box::new(self.auth.refusal(scheme, reason))))
            }
        }
    }

    /// What follows auth.
    pub fn after_auth(&self, facts: &Facts<'_>, session: &Session) -> ControlFlow<Rejection> {
        self.after_auth.iter().try_for_each(|filter| filter.apply(facts, session))
    }

    pub fn to_upstream(&self, seen: &Seen, session: &Session, headers: &mut HeaderMap) {
        if let Some(identity) = session.identity() {
            auth::to_upstream(identity, headers);
            self.policies.to_upstream(identity, headers);
        }
        self.to_upstream.iter().for_each(|filter| filter.apply(seen, headers));
    }

    /// Whether an upstream's answer has a reader here.
    pub fn reads_answers(&self) -> bool {
        !self.on_answer.is_empty()
    }

    pub fn on_answer(&self, seen: &Seen, headers: &mut HeaderMap) {
        self.on_answer.iter().for_each(|filter| filter.apply(seen, headers));
    }
}

impl<'a> Facts<'a> {
    fn who(&self, session: &'a Session) -> Who<'a> {
        let counted = |identity: &'a Identity| Counted {
            credential: &identity.name,
            subject: identity.subject(),
            claims: &identity.claims,
        };
        Who { client: self.client, identity: session.identity().map(counted) }
    }
}
