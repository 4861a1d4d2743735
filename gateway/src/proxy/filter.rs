//! What stands between dispatch and the answer. A row of a table is a function from an API to its
//! filter, or to none: what an API does not use costs its requests nothing. Filters behind auth get
//! the [`Session`] that only auth can make. Filters before auth will be a table of the same kind.

mod auth;

mod limits;

use std::ops::ControlFlow;

use hyper::HeaderMap;

use self::auth::{Auth, Session};
use super::respond::Rejection;
use crate::limit::Who;
use crate::model::{Api, ClientKey};
use crate::plane::Table;
use crate::telemetry::metrics::Metrics;

/// A step behind auth: it goes on or breaks with a rejection.
trait Filter: Send + Sync {
    fn apply(&self, exchange: &Facts<'_>, session: &Session) -> ControlFlow<Rejection>;
}

/// What filters may know of an exchange.
pub(super) struct Facts<'a> {
    pub client: ClientKey,
    pub table: &'a Table,
    pub hasher: &'a std::hash::RandomState,
    pub now_ns: u64,
}

/// A filter's row: from an API to its filter, or to none.
type Row = fn(&Api, &Metrics) -> Option<Box<dyn Filter>>;

/// In the order in which they run.
const AFTER_AUTH: [Row; 1] = [limits::row];

/// The filters of one API, in order.
pub(super) struct Chain {
    auth: Auth,
    after_auth: Vec<Box<dyn Filter>>,
}

impl Chain {
    pub fn build(api: &Api, metrics: &Metrics) -> Self {
        let after_auth = AFTER_AUTH.iter().filter_map(|row| row(api, metrics)).collect();
        Self { auth: Auth::build(api), after_auth }
    }

    /// Runs the chain; auth takes the credential out of `headers`, so that no upstream sees it.
    pub fn run(&self, facts: &Facts<'_>, headers: &mut HeaderMap) -> ControlFlow<Rejection> {
        let session = self.auth.authenticate(headers)?;
        self.after_auth.iter().try_for_each(|filter| filter.apply(facts, &session))
    }
}

impl<'a> Facts<'a> {
    fn who(&self, session: &'a Session) -> Who<'a> {
        Who { client: self.client, credential: session.credential() }
    }
}
