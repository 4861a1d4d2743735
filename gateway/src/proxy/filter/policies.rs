//! Policies at one API, ready for requests: what they grant there, their rates, and what upstreams are
//! told. Looked up by name at each request, so that a change holds for identities that are cached.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};

use super::auth::{AuthRefusal, Identity, Reason};
use super::{Facts, Filter, Session};
use crate::limit::Row;
use crate::model::{Api, Grant, Grants, HeaderText, Policy};
use crate::proxy::dispatch::normalise;
use crate::proxy::respond::Rejection;
use crate::telemetry::metrics::Metrics;

/// All policies, as one API sees them.
pub(super) struct Policies {
    by_name: HashMap<Arc<str>, Here>,
    /// Of the API's `auth`, for every identity.
    headers: Vec<(HeaderName, Text)>,
}

/// One policy at this API.
struct Here {
    grants: Scope,
    row: Option<Row>,
    headers: Vec<(HeaderName, Text)>,
}

enum Scope {
    Everything,
    /// Empty: nothing at this API.
    Listed(Vec<Grant>),
}

enum Text {
    Literal(HeaderValue),
    Of(HeaderText),
}

impl Policies {
    pub fn build(api: &Api, policies: &[Arc<Policy>]) -> Self {
        let here = |policy: &Arc<Policy>| (Arc::clone(&policy.name), Here::of(policy, &api.name));
        let Some(auth) = &api.auth else { return Self { by_name: HashMap::new(), headers: Vec::new() } };
        Self { by_name: policies.iter().map(here).collect(), headers: fields(&auth.headers) }
    }

    /// Fields that may be set here: taken off what a client sends.
    pub fn header_names(&self) -> impl Iterator<Item = &HeaderName> {
        let of_policies = self.by_name.values().flat_map(|here| &here.headers);
        self.headers.iter().chain(of_policies).map(|(name, _)| name)
    }

    /// Claims that headers repeat.
    pub fn claims(&self) -> impl Iterator<Item = &Arc<str>> {
        let of_policies = self.by_name.values().flat_map(|here| &here.headers);
        self.headers.iter().chain(of_policies).filter_map(|(_, text)| match text {
            Text::Of(HeaderText::Claim(name)) => Some(name),
            Text::Of(_) | Text::Literal(_) => None,
        })
    }

    /// Rows whose refusals are counted.
    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        self.by_name.values().filter_map(|here| here.row.as_ref())
    }

    pub fn rows_of<'a>(&'a self, identity: Option<&'a Identity>) -> impl Iterator<Item = &'a Row> {
        self.of(identity).filter_map(|here| here.row.as_ref())
    }

    /// Puts what is known of who calls into a request that goes to the upstream.
    pub fn to_upstream(&self, identity: &Identity, headers: &mut HeaderMap) {
        for (name, text) in self.headers.iter().chain(self.of(Some(identity)).flat_map(|here| &here.headers))
        {
            if let Some(value) = text.value(identity) {
                headers.insert(name, value);
            }
        }
    }

    /// Those that the identity has; a name that is no policy's grants nothing.
    fn of<'a>(&'a self, identity: Option<&'a Identity>) -> impl Iterator<Item = &'a Here> {
        let names = identity.map_or(&[][..], |identity| &identity.policies);
        names.iter().filter_map(|name| self.by_name.get(name))
    }

    /// Who has no policies may do whatever the API allows.
    fn allow(&self, facts: &Facts<'_>, identity: &Identity) -> bool {
        if identity.policies.is_empty() {
            return true;
        }
        let path = normalise(facts.uri.path());
        let allows = |grant: &Grant| grant.allows(facts.method.as_str(), &path);
        self.of(Some(identity)).any(|here| match &here.grants {
            Scope::Everything => true,
            Scope::Listed(grants) => grants.iter().any(allows),
        })
    }
}

/// The filter: who has policies may do what one of them grants.
struct Granted(Arc<Policies>);

pub(super) fn granted(api: &Api, policies: &Arc<Policies>, _: &Metrics) -> Option<Box<dyn Filter>> {
    api.auth.as_ref().map(|_| Box::new(Granted(Arc::clone(policies))) as Box<dyn Filter>)
}

impl Filter for Granted {
    fn apply(&self, facts: &Facts<'_>, session: &Session) -> ControlFlow<Rejection> {
        match session.identity() {
            Some(identity) if !self.0.allow(facts, identity) => {
                let refusal =
                    AuthRefusal { scheme: identity.scheme, reason: Reason::Policy, challenges: Vec::new() };
                ControlFlow::Break(Rejection::Auth(Box::new(refusal)))
            }
            Some(_) | None => ControlFlow::Continue(()),
        }
    }
}

impl Here {
    fn of(policy: &Policy, api: &str) -> Self {
        let grants = match &policy.grants {
            Grants::Everything => Scope::Everything,
            Grants::Listed(grants) => {
                Scope::Listed(grants.iter().filter(|grant| *grant.api == *api).cloned().collect())
            }
        };
        Self { grants, row: Row::of_policy(policy), headers: fields(&policy.headers) }
    }
}

fn fields(headers: &[(Arc<str>, HeaderText)]) -> Vec<(HeaderName, Text)> {
    let field = |(name, text): &(Arc<str>, HeaderText)| {
        // Configuration lets no other names and values through.
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        let text = match text {
            HeaderText::Literal(text) => Text::Literal(HeaderValue::from_str(text).ok()?),
            other => Text::Of(other.clone()),
        };
        Some((name, text))
    };
    headers.iter().filter_map(field).collect()
}

impl Text {
    fn value(&self, identity: &Identity) -> Option<HeaderValue> {
        let text = match self {
            Self::Literal(value) => return Some(value.clone()),
            Self::Of(HeaderText::Literal(text)) => text,
            Self::Of(HeaderText::Credential) => &*identity.name,
            Self::Of(HeaderText::Subject) => identity.subject(),
            Self::Of(HeaderText::Scheme) => identity.scheme,
            Self::Of(HeaderText::Claim(name)) => identity.claim(name)?,
        };
        // A claim may hold what no header can: it is left out. UTF-8 goes through (RFC 9110 section 5.5).
        HeaderValue::from_bytes(text.as_bytes()).ok()
    }
}
