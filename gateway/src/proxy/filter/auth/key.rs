//! API keys: `Authorization: Bearer KEY`, `Authorization: KEY` or `X-Api-Key: KEY`, known by SHA-256.

use std::collections::HashMap;
use std::sync::Arc;

use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HeaderName};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::Scheme;
use crate::model::{Auth, KeyRow};

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Rows by the first eight bytes of the digest; the rest is compared in constant time.
struct Keys {
    by_prefix: HashMap<u64, Vec<KeyRow>>,
}

pub(super) fn row(auth: &Auth) -> Option<Box<dyn Scheme>> {
    let Auth::Key(rows) = auth;
    let mut by_prefix: HashMap<u64, Vec<KeyRow>> = HashMap::new();
    for row in rows.iter() {
        by_prefix.entry(prefix(&row.sha256)).or_default().push(row.clone());
    }
    Some(Box::new(Keys { by_prefix }))
}

impl Scheme for Keys {
    fn authenticate(&self, headers: &mut HeaderMap) -> Option<Arc<str>> {
        let name = if headers.contains_key(X_API_KEY) { X_API_KEY } else { AUTHORIZATION };
        let found = {
            let mut lines = headers.get_all(&name).iter();
            let presented = lines.next()?.as_bytes();
            if lines.next().is_some() {
                return None;
            }
            self.find(bare_key(presented))?
        };
        headers.remove(&name);
        Some(found)
    }
}

impl Keys {
    fn find(&self, key: &[u8]) -> Option<Arc<str>> {
        let digest: [u8; 32] = Sha256::digest(key).into();
        let rows = self.by_prefix.get(&prefix(&digest))?;
        let row = rows.iter().find(|row| bool::from(row.sha256.ct_eq(&digest)))?;
        Some(Arc::clone(&row.name))
    }
}

fn prefix(digest: &[u8; 32]) -> u64 {
    digest.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// Without the scheme's name, which RFC 9110 section 11.1 compares in any case.
fn bare_key(presented: &[u8]) -> &[u8] {
    const BEARER: &[u8] = b"bearer ";
    match presented.split_at_checked(BEARER.len()) {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case(BEARER) => key.trim_ascii(),
        _ => presented.trim_ascii(),
    }
}
