//! `[[policy]]`: what a credential that has it may do, how much of it, and what upstreams are told.

use std::sync::Arc;

use super::Rate;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Unique; a label of metrics.
    pub name: Arc<str>,
    pub grants: Grants,
    /// Of each credential that has the policy, over all APIs.
    pub rate: Option<Rate>,
    pub headers: Vec<(Arc<str>, HeaderText)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grants {
    /// Every API, as far as the API lets in.
    Everything,
    Listed(Vec<Grant>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Name of an API.
    pub api: Arc<str>,
    /// Empty: all.
    pub paths: Vec<PathPattern>,
    /// Empty: all.
    pub methods: Vec<Arc<str>>,
}

/// Of the path that dispatch decides on, with the listen path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathPattern {
    /// `/a/b`.
    Exact(Arc<str>),
    /// `/a/*`: what begins with `/a/`.
    Under(Arc<str>),
}

/// What a header says to the upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderText {
    Literal(Arc<str>),
    /// `{credential}`: its name.
    Credential,
    /// `{subject}`: who is behind it, or its name.
    Subject,
    /// `{scheme}`: which one it passed.
    Scheme,
    /// `{claim:NAME}`: a claim, or a line of a credential's metadata. Without it there is no header.
    Claim(Arc<str>),
}

impl Grant {
    /// Whether it allows a request of its API.
    pub fn allows(&self, method: &str, path: &str) -> bool {
        (self.methods.is_empty() || self.methods.iter().any(|one| **one == *method))
            && (self.paths.is_empty() || self.paths.iter().any(|pattern| pattern.fits(path)))
    }
}

impl PathPattern {
    pub fn fits(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => **exact == *path,
            Self::Under(folder) => path.starts_with(&**folder),
        }
    }
}
