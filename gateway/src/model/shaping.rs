//! What an API changes of requests and answers on their way.

use std::sync::Arc;
use std::time::Duration;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shaping {
    /// Of requests, as upstreams see them.
    pub request_headers: HeaderChanges,
    /// Of answers, ours too.
    pub response_headers: HeaderChanges,
    /// Whether requests over plain HTTP are sent to https.
    pub https_only: bool,
    pub cors: Option<Cors>,
    /// Header of the request's id, in lower case: made where a trusted proxy sent none.
    pub request_id: Option<Arc<str>>,
    pub compress: Option<Compress>,
}

/// Which answers go as gzip to clients that take it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compress {
    /// `text/html`, or `text/*`, in lower case.
    pub types: Vec<Arc<str>>,
    /// Shorter ones stay as they are; those of unknown length do not.
    pub min_bytes: u64,
    /// 1 to 9.
    pub level: u32,
    /// Also answers to requests with credentials, and those that set cookies.
    pub with_credentials: bool,
}

impl Default for Compress {
    fn default() -> Self {
        let types = [
            "text/html",
            "text/plain",
            "text/css",
            "text/csv",
            "text/javascript",
            "text/xml",
            "application/json",
            "application/problem+json",
            "application/javascript",
            "application/xml",
            "application/wasm",
            "image/svg+xml",
        ];
        Self { types: types.map(Into::into).to_vec(), min_bytes: 1_024, level: 4, with_credentials: false }
    }
}

/// Removed first, then set, then added. Names are in lower case and values printable; none of a hop's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderChanges {
    pub remove: Vec<Arc<str>>,
    pub set: Vec<(Arc<str>, Arc<str>)>,
    pub add: Vec<(Arc<str>, Arc<str>)>,
}

/// Which origins' scripts may read answers (fetch.spec.whatwg.org, CORS protocol).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    pub origins: Origins,
    pub methods: Vec<Arc<str>>,
    /// Of requests, beyond those that need no word.
    pub headers: Vec<Arc<str>>,
    /// Of answers, beyond those that need no word.
    pub expose: Vec<Arc<str>>,
    /// Whether cookies and credentials may come along; never with any origin.
    pub credentials: bool,
    /// How long a browser may remember.
    pub max_age: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    Any,
    /// `scheme://host[:port]`, as browsers write them.
    Listed(Vec<Arc<str>>),
}

impl Cors {
    pub const MAX_AGE: Duration = Duration::from_secs(600);
}

impl HeaderChanges {
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }
}
