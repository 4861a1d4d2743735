//! What an API takes for proof of who calls. Names and settings only: how each is checked stands in
//! proxy/filter/auth.

use std::sync::Arc;
use std::time::Duration;

use super::{HeaderText, JwtAuth};

/// `auth` of an API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// In the order in which the file names them; never empty.
    pub schemes: Vec<AuthScheme>,
    pub require: Require,
    /// What 401 names as the place that a credential is for.
    pub realm: Arc<str>,
    /// What upstreams are told of who calls; a client's own fields of these names are taken off.
    pub headers: Vec<(Arc<str>, HeaderText)>,
    /// Whether who passed is not charged to the client's address: its own limits hold.
    pub lifts_client_limit: bool,
}

/// How many of an API's schemes a request must pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Require {
    /// The first whose credential the request brings decides.
    #[default]
    Any,
    /// Every one; the first gives the identity.
    All,
}

/// A kind of authentication and its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthScheme {
    /// API keys from a file, present there by SHA-256 only.
    Key(KeyAuth),
    /// Names and passwords.
    Basic(BasicAuth),
    /// Certificates of clients.
    Mtls(MtlsAuth),
    /// Signatures by a shared secret.
    Hmac(Arc<HmacAuth>),
    /// JSON Web Tokens, by a secret or by what their issuers publish.
    Jwt(Box<JwtAuth>),
}

impl AuthScheme {
    pub fn as_key(&self) -> Option<&KeyAuth> {
        if let Self::Key(key) = self { Some(key) } else { None }
    }

    pub fn as_basic(&self) -> Option<&BasicAuth> {
        if let Self::Basic(basic) = self { Some(basic) } else { None }
    }

    pub fn as_mtls(&self) -> Option<&MtlsAuth> {
        if let Self::Mtls(mtls) = self { Some(mtls) } else { None }
    }

    pub fn as_hmac(&self) -> Option<&Arc<HmacAuth>> {
        if let Self::Hmac(hmac) = self { Some(hmac) } else { None }
    }

    /// Whether its credentials are rows of a file.
    pub fn has_file(&self) -> bool {
        match self {
            Self::Key(_) | Self::Basic(_) | Self::Mtls(_) | Self::Hmac(_) => true,
            Self::Jwt(_) => false,
        }
    }

    /// Whether its credential may stand in `Authorization: Bearer`.
    pub fn reads_bearer(&self) -> bool {
        match self {
            Self::Key(key) => key.reads_bearer(),
            Self::Basic(_) | Self::Mtls(_) | Self::Hmac(_) => false,
            Self::Jwt(_) => true,
        }
    }
}

/// `key = { file, header, query, cookie, bearer, keep }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyAuth {
    pub rows: Arc<[KeyRow]>,
    /// In the order in which they are looked at; never empty.
    pub places: Vec<KeyPlace>,
    /// Whether the upstream sees the key.
    pub keeps: bool,
}

/// Where a request may carry its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPlace {
    /// `Authorization: Bearer KEY` or `Authorization: KEY`.
    Authorization,
    /// `Authorization: Bearer KEY` only.
    Bearer,
    /// A field of its own, in lower case.
    Header(Arc<str>),
    Query(Arc<str>),
    Cookie(Arc<str>),
}

impl KeyAuth {
    pub fn reads_bearer(&self) -> bool {
        self.places.iter().any(|place| matches!(place, KeyPlace::Authorization | KeyPlace::Bearer))
    }
}

impl KeyPlace {
    /// Kind and name, as a challenge tells them.
    pub fn words(&self) -> (&'static str, &str) {
        match self {
            Self::Authorization | Self::Bearer => ("header", "authorization"),
            Self::Header(name) => ("header", name),
            Self::Query(name) => ("query", name),
            Self::Cookie(name) => ("cookie", name),
        }
    }
}

/// A row of keys.toml.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRow {
    pub holder: Holder,
    pub sha256: [u8; 32],
    /// The key before this one, and when it ends in seconds of Unix time.
    pub previous: Option<([u8; 32], u64)>,
}

/// What a row of any file of credentials says of who has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    pub name: Arc<str>,
    /// Names of policies. None: whatever the API allows.
    pub policies: Box<[Arc<str>]>,
    /// From this second of Unix time on it is no credential.
    pub expires_s: Option<u64>,
    pub metadata: Box<[(Arc<str>, Arc<str>)]>,
    /// Kept, and not let through.
    pub disabled: bool,
}

/// `basic = { file, keep }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BasicAuth {
    pub rows: Arc<[UserRow]>,
    /// A hash that no password has, as slow as the rows': for names that nobody has.
    pub nobody: Arc<str>,
    /// Whether the upstream sees name and password.
    pub keeps: bool,
}

/// A name and the hash of its password, as argon2 writes it (`$argon2id$v=19$..`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserRow {
    pub holder: Holder,
    pub phc: Arc<str>,
}

/// `mtls = { file, any }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MtlsAuth {
    pub rows: Arc<[CertificateRow]>,
    pub any: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateRow {
    pub holder: Holder,
    pub by: CertificateMatch,
}

/// By what a client's certificate is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateMatch {
    /// Of the certificate in DER.
    Sha256([u8; 32]),
    /// An alternative name, with its kind before it: `dns:a.example`, `uri:spiffe://a/b`, `email:`, `ip:`.
    Name(Arc<str>),
    /// As RFC 4514 writes names.
    Subject(Arc<str>),
}

/// `hmac = { file, components, max_age, nonce }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HmacAuth {
    pub rows: Arc<[SignerRow]>,
    /// What a signature must cover.
    pub components: Vec<Arc<str>>,
    /// How long one holds from its `created` on.
    pub max_age: Duration,
    pub needs_nonce: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignerRow {
    pub holder: Holder,
    pub secret: Secret,
}

/// Bytes that stand in no log.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<[u8]>);

impl Secret {
    pub fn new(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// `[auth]`: bounds of all schemes together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthBounds {
    /// Requests that a refused credential costs its client, besides its own.
    pub refused_weight: u32,
    /// Rows of one file of credentials.
    pub credentials: u32,
    /// Requests whose credential waits for slow work, over all workers.
    pub waiting: u32,
    /// How long one of them may.
    pub wait: Duration,
    /// Verified JSON Web Tokens that are kept, so that they need not be verified again.
    pub tokens: u32,
}

impl AuthBounds {
    /// What one debit can take.
    pub const WEIGHT_MAX: u64 = weir_ebpf::gcra::Limit::UNITS_MAX;
    /// A credential with its policies, metadata and identity, as a row and compiled.
    pub const CREDENTIAL_BYTES: u64 = 1 << 10;
    /// What one check of a password may take: argon2's memory.
    pub const PASSWORD_BYTES: u64 = 64 << 20;
    /// A request whose credential waits: its task's state beyond the connection's own.
    pub const WAITING_BYTES: u64 = 4 << 10;
}

impl Default for AuthBounds {
    fn default() -> Self {
        Self {
            refused_weight: 10,
            credentials: 10_000,
            waiting: 1_024,
            wait: Duration::from_secs(5),
            tokens: 16_384,
        }
    }
}
