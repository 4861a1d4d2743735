//! What an API takes for proof of who calls. Names and settings only: how each is checked stands in
//! proxy/filter/auth.

use std::sync::Arc;
use std::time::Duration;

/// `auth` of an API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// In the order in which the file names them; never empty.
    pub schemes: Vec<AuthScheme>,
    pub require: Require,
    /// What 401 names as the place that a credential is for.
    pub realm: Arc<str>,
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
}

impl AuthScheme {
    /// Whether its credential may stand in `Authorization: Bearer`.
    pub fn reads_bearer(&self) -> bool {
        match self {
            Self::Key(_) => true,
        }
    }
}

/// `key = { file }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyAuth {
    pub rows: Arc<[KeyRow]>,
}

/// A row of keys.toml.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRow {
    pub name: Arc<str>,
    pub sha256: [u8; 32],
}

/// `[auth]`: bounds of all schemes together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthBounds {
    /// Requests that a refused credential costs its client, besides its own.
    pub refused_weight: u32,
    /// Requests whose credential waits for slow work, over all workers.
    pub waiting: u32,
    /// How long one of them may.
    pub wait: Duration,
}

impl AuthBounds {
    /// What one charge can take.
    pub const WEIGHT_MAX: u64 = weir_ebpf::gcra::Limit::UNITS_MAX;
}

impl Default for AuthBounds {
    fn default() -> Self {
        Self { refused_weight: 10, waiting: 1_024, wait: Duration::from_secs(5) }
    }
}
