//! What a JSON Web Token must be at an API, and what its claims become. Settings only: how a token is
//! verified stands in proxy/filter/auth/jwt.

use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::UpstreamTls;

/// `jwt` of an API's `auth`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtAuth {
    pub jwt: Jwt,
    pub revoked: Revoked,
}

/// What a token must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jwt {
    pub keys: JwtKeys,
    /// Empty: RS, PS, ES and EdDSA as a key's own words allow; HS only with a secret.
    pub algorithms: Vec<Algorithm>,
    /// One of them; empty: any, or none.
    pub issuers: Vec<Arc<str>>,
    /// One of them; empty: any, or none.
    pub audiences: Vec<Arc<str>>,
    /// What `typ` may say, in lower case and without `application/`. A token without one passes.
    pub types: Vec<Arc<str>>,
    /// Claims that must be there.
    pub required: Vec<Arc<str>>,
    /// For `exp`, `nbf` and `iat`.
    pub skew: Duration,
    /// A longer token is not looked at.
    pub token_bytes: u32,
    pub claims: JwtClaims,
    /// Whether upstreams get the token.
    pub forward: bool,
}

/// Where the keys come from.
#[derive(Clone, PartialEq, Eq)]
pub enum JwtKeys {
    /// Sets of keys that issuers publish.
    Sets(Vec<KeySetSource>),
    /// For HS: the bytes of a file.
    Secret(Arc<[u8]>),
}

/// A set of keys at a URL (RFC 7517 section 5). What an operator wrote is trusted as it stands.
#[derive(Clone, PartialEq, Eq)]
pub struct KeySetSource {
    /// `http://` or `https://`, without user, fragment and blanks.
    pub url: Arc<str>,
    /// At most; the issuer may say less.
    pub cache: Duration,
    /// For how long keys are kept that cannot be fetched again, from their fetch on.
    pub stale: Duration,
    /// Where a copy is kept for a start without the issuer.
    pub pin: Option<PathBuf>,
    /// None: this machine's authorities, where the URL is https.
    pub tls: Option<Arc<UpstreamTls>>,
}

/// What claims become. Names stand for themselves first, then for a path with dots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtClaims {
    /// Whose the token is; a text.
    pub identity: Arc<str>,
    /// Names of policies: a text or a list of texts.
    pub policies: Option<Arc<str>>,
    /// Scopes: a text with blanks between them, or a list of texts.
    pub scopes: Arc<str>,
    /// What a scope stands for; these policies come to those that the token names.
    pub scope_policies: Vec<(Arc<str>, Arc<str>)>,
    /// Of a token that has no others.
    pub default_policies: Vec<Arc<str>>,
}

impl JwtClaims {
    /// Whether nobody passes without a policy: who has none might do everything.
    pub fn needs_policy(&self) -> bool {
        self.policies.is_some() || !self.scope_policies.is_empty()
    }
}

/// What was taken back before it expired.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revoked {
    /// By `jti`.
    pub tokens: HashSet<Box<str>>,
    /// By the claim that is the identity, and by `sub`.
    pub subjects: HashSet<Box<str>>,
}

impl Revoked {
    pub fn len(&self) -> usize {
        self.tokens.len() + self.subjects.len()
    }

    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty() && self.subjects.is_empty()
    }
}

impl Default for JwtClaims {
    fn default() -> Self {
        Self {
            identity: "sub".into(),
            policies: None,
            scopes: "scope".into(),
            scope_policies: Vec::new(),
            default_policies: Vec::new(),
        }
    }
}

impl Jwt {
    pub const TOKEN_BYTES: u32 = 8 << 10;

    /// With the keys and every default.
    pub fn new(keys: JwtKeys) -> Self {
        Self {
            keys,
            algorithms: Vec::new(),
            issuers: Vec::new(),
            audiences: Vec::new(),
            types: vec!["jwt".into(), "at+jwt".into()],
            required: vec!["exp".into()],
            skew: Duration::ZERO,
            token_bytes: Self::TOKEN_BYTES,
            claims: JwtClaims::default(),
            forward: false,
        }
    }

    /// Whether the configuration lets a token be signed so; what a key allows comes on top.
    pub fn allows(&self, algorithm: Algorithm) -> bool {
        let by_keys = matches!(self.keys, JwtKeys::Secret(_)) == algorithm.is_hmac();
        by_keys && (self.algorithms.is_empty() || self.algorithms.contains(&algorithm))
    }
}

/// The URL stands for it: it has one set, whoever uses it.
impl fmt::Debug for KeySetSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeySetSource").field(&self.url).finish()
    }
}

/// A secret stays out.
impl fmt::Debug for JwtKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sets(sets) => f.debug_tuple("Sets").field(sets).finish(),
            Self::Secret(_) => f.debug_tuple("Secret").finish_non_exhaustive(),
        }
    }
}

impl KeySetSource {
    pub const CACHE: Duration = Duration::from_secs(240);
    pub const STALE: Duration = Duration::from_secs(86_400);
}

/// How a token may be signed (RFC 7518 section 3.1, RFC 8037). `none` is no algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    Hs256,
    Hs384,
    Hs512,
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    Es512,
    EdDsa,
}

impl Algorithm {
    /// Every name; EdDSA is Ed25519 here, which RFC 9864 calls so.
    pub const NAMES: [(&str, Self); 14] = [
        ("HS256", Self::Hs256),
        ("HS384", Self::Hs384),
        ("HS512", Self::Hs512),
        ("RS256", Self::Rs256),
        ("RS384", Self::Rs384),
        ("RS512", Self::Rs512),
        ("PS256", Self::Ps256),
        ("PS384", Self::Ps384),
        ("PS512", Self::Ps512),
        ("ES256", Self::Es256),
        ("ES384", Self::Es384),
        ("ES512", Self::Es512),
        ("EdDSA", Self::EdDsa),
        ("Ed25519", Self::EdDsa),
    ];

    /// Names are case-sensitive (RFC 7515 section 4.1.1).
    pub fn parse(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, algorithm)| *algorithm)
    }

    /// Signed with a secret that who verifies has too.
    pub fn is_hmac(self) -> bool {
        matches!(self, Self::Hs256 | Self::Hs384 | Self::Hs512)
    }

    /// Bytes that a secret must have (RFC 7518 section 3.2).
    pub fn secret_bytes(self) -> usize {
        match self {
            Self::Hs384 => 48,
            Self::Hs512 => 64,
            _ => 32,
        }
    }
}
