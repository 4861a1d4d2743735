//! An API as published: where it listens, who may use it, how it answers.

use std::sync::Arc;
use std::time::Duration;

use super::{Auth, AuthScheme, Forwarding, JwtAuth, JwtKeys, KeySetSource, Policy, Rate, Shaping};

/// Everything that is served: the one list a snapshot is built from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    pub apis: Vec<Arc<Api>>,
    pub policies: Vec<Arc<Policy>>,
}

impl Catalog {
    /// Those of all APIs; one that several use comes several times.
    pub fn key_sets(&self) -> impl Iterator<Item = &KeySetSource> {
        self.jwts().flat_map(|auth| match &auth.jwt.keys {
            JwtKeys::Sets(sets) => sets.as_slice(),
            JwtKeys::Secret(_) => &[],
        })
    }

    /// Settings of every API that takes JSON Web Tokens.
    pub fn jwts(&self) -> impl Iterator<Item = &JwtAuth> {
        let schemes = self.apis.iter().filter_map(|api| api.auth.as_ref()).flat_map(|auth| &auth.schemes);
        schemes.filter_map(|scheme| match scheme {
            AuthScheme::Jwt(auth) => Some(&**auth),
            AuthScheme::Key(_) | AuthScheme::Basic(_) | AuthScheme::Mtls(_) | AuthScheme::Hmac(_) => None,
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Api {
    /// Unique; a label of metrics.
    pub name: Arc<str>,
    /// Lower case, without port; None serves any host that no other API names.
    pub host: Option<Arc<str>>,
    /// Starts with '/'. Selects by whole path segments: `/orders/` and `/orders` both serve `/orders` and `/orders/7`, not `/ordersX`.
    pub listen_path: Arc<str>,
    /// Whether the listen path is taken off before the upstream sees the path.
    pub strip_listen_path: bool,
    pub answer: Answer,
    pub auth: Option<Auth>,
    pub limits: Vec<LimitRow>,
    pub shaping: Shaping,
    pub body: BodyBound,
    pub client_certificate: Certificates,
    /// From a request's head to the end of its answer, tunnels and event streams too; None: as all.
    pub request_total: Option<Duration>,
}

/// Bytes of a request's body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyBound {
    /// As every API's.
    #[default]
    AsAll,
    Unlimited,
    AtMost(u64),
}

impl BodyBound {
    /// None: unlimited.
    pub fn within(self, of_all: Option<u64>) -> Option<u64> {
        match self {
            Self::AsAll => of_all,
            Self::Unlimited => None,
            Self::AtMost(bytes) => Some(bytes),
        }
    }
}

/// Whether clients must have shown a certificate of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Certificates {
    #[default]
    AsListener,
    Required,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Respond(StaticAnswer),
    Forward(Forwarding),
    Redirect(Redirect),
}

/// `redirect = { to, status, keep_path }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// Scheme, host and path, without '/' at its end.
    pub to: Arc<str>,
    pub status: u16,
    /// Whether the request's path and query come behind it.
    pub keeps_path: bool,
}

/// `respond = { status, body, content_type }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticAnswer {
    /// 200 to 599.
    pub status: u16,
    pub body: Arc<str>,
    pub content_type: Arc<str>,
}

/// A limit beside the client's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitRow {
    pub key: LimitKey,
    pub rate: Rate,
}

/// Identity that a limit counts by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LimitKey {
    /// Each client address, at this API.
    Client,
    /// Each credential; needs `auth`.
    Credential,
    /// Who is behind a credential, where its scheme knows; else the credential.
    Subject,
    /// Those whose claim of this name says the same; who has none counts by credential.
    Claim(Arc<str>),
    /// All who use this API together.
    Api,
}

impl LimitKey {
    /// Whether only auth can tell it.
    pub fn is_identitys(&self) -> bool {
        match self {
            Self::Credential | Self::Subject | Self::Claim(_) => true,
            Self::Client | Self::Api => false,
        }
    }
}
