//! What it takes to believe an upstream over TLS, and to be believed by it: bytes as files hold them.

use std::fmt;
use std::sync::Arc;

/// In force for all `https` upstreams of an API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamTls {
    /// Certificates of authorities in DER; at least one.
    pub authorities: Arc<[Vec<u8>]>,
    /// What is shown to an upstream that asks.
    pub identity: Option<Identity>,
    /// The name that is asked for and verified; None: the upstream's own.
    pub server_name: Option<Arc<str>>,
    /// SHA-256 of public keys (SubjectPublicKeyInfo in DER): the upstream's is one of them. Empty: any.
    pub pins: Vec<[u8; 32]>,
}

/// A chain, leaf first, and its key, in DER.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    pub chain: Vec<Vec<u8>>,
    pub key: Vec<u8>,
}

/// The key stays out.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}
