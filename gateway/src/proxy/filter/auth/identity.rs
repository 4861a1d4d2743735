//! Who was proved to be calling, and the proof itself.

use std::sync::Arc;

use hyper::header::{HeaderName, HeaderValue};

use crate::model::Holder;

/// What a scheme knows of who passed it. Made once for each credential and shared: nothing in it is made
/// for a request, and nothing in it is a secret.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Identity {
    /// Name of the credential, unique in its API: what limits by `credential` count.
    pub name: Arc<str>,
    /// Who is behind it, where the scheme knows more than the credential's name.
    pub subject: Option<Arc<str>>,
    /// The scheme that it passed.
    pub scheme: &'static str,
    /// Names of policies; what they grant and limit is looked up at each request, so that a change of
    /// theirs holds for an identity that is cached.
    pub policies: Box<[Arc<str>]>,
    pub scopes: Box<[Arc<str>]>,
    /// Facts that limits may count by, by name.
    pub claims: Box<[(Arc<str>, Arc<str>)]>,
    /// Set in what the upstream is sent; their names stand in the scheme's `upstream_headers`.
    pub headers: Box<[(HeaderName, HeaderValue)]>,
    /// From this second of Unix time on nobody passes by it.
    pub expires_s: Option<u64>,
}

impl Identity {
    /// Of a row in a file of credentials.
    pub(super) fn of(scheme: &'static str, holder: &Holder) -> Self {
        Self {
            name: Arc::clone(&holder.name),
            scheme,
            policies: holder.policies.clone(),
            claims: holder.metadata.clone(),
            expires_s: holder.expires_s,
            ..Self::default()
        }
    }

    pub fn is_expired(&self, unix_s: u64) -> bool {
        self.expires_s.is_some_and(|end_s| end_s <= unix_s)
    }

    pub fn claim(&self, name: &str) -> Option<&str> {
        self.claims.iter().find(|(claim, _)| **claim == *name).map(|(_, value)| &**value)
    }

    /// The subject, or the credential's name where no more is known.
    pub fn subject(&self) -> &str {
        self.subject.as_deref().unwrap_or(&self.name)
    }
}

/// Proof that auth was passed; made by auth only.
pub(in crate::proxy) struct Session {
    identity: Option<Arc<Identity>>,
}

impl Session {
    /// At an API without auth.
    pub(super) fn anonymous() -> Self {
        Self { identity: None }
    }

    pub(super) fn of(identity: Arc<Identity>) -> Self {
        Self { identity: Some(identity) }
    }

    /// None at an API without auth.
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_deref()
    }

    /// Name of the credential.
    pub fn credential(&self) -> Option<&Arc<str>> {
        self.identity.as_ref().map(|identity| &identity.name)
    }
}
