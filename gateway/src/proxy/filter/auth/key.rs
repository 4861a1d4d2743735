//! API keys: `Authorization: Bearer KEY`, `Authorization: KEY` or `X-Api-Key: KEY`, known by SHA-256.

use std::collections::HashMap;
use std::sync::Arc;

use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::challenge::Challenge;
use super::presented::{Single, behind_scheme, looks_like_jws};
use super::{Identity, Presented, Reason, Scheme, Site, Verdict};
use crate::model::AuthScheme;

const NAME: &str = "key";
const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Rows by the first eight bytes of the digest; the rest is compared in constant time.
struct Keys {
    by_prefix: HashMap<u64, Vec<Known>>,
    challenge: Challenge,
    /// What looks like a JWT is left to the scheme that reads those.
    leaves_jws: bool,
}

struct Known {
    sha256: [u8; 32],
    identity: Arc<Identity>,
}

pub(super) fn row(settings: &AuthScheme, site: &Site<'_>) -> Option<Box<dyn Scheme>> {
    let AuthScheme::Key(settings) = settings;
    let mut by_prefix: HashMap<u64, Vec<Known>> = HashMap::new();
    for row in settings.rows.iter() {
        let identity =
            Arc::new(Identity { name: Arc::clone(&row.name), scheme: NAME, ..Identity::default() });
        by_prefix.entry(prefix(&row.sha256)).or_default().push(Known { sha256: row.sha256, identity });
    }
    let challenge = Challenge::bearer(site.realm, "");
    Some(Box::new(Keys { by_prefix, challenge, leaves_jws: site.shares_bearer }))
}

impl Scheme for Keys {
    fn name(&self) -> &'static str {
        NAME
    }

    fn authenticate(&self, presented: &mut Presented<'_>) -> Verdict {
        for (name, read) in PLACES {
            let line = match presented.single(&name) {
                Ok(Single::None) => continue,
                Ok(Single::One(line)) => line,
                Err(reason) => return Verdict::Refused(reason),
            };
            let Some(key) = read(line) else { continue };
            if self.leaves_jws && name == AUTHORIZATION && looks_like_jws(key) {
                continue;
            }
            let Some(identity) = self.find(key) else { return Verdict::Refused(Reason::Unknown) };
            presented.headers.remove(&name);
            return Verdict::Pass(identity);
        }
        Verdict::Absent
    }

    fn challenge(&self, why: Option<Reason>) -> Option<HeaderValue> {
        Some(self.challenge.of(why))
    }
}

impl Keys {
    fn find(&self, key: &[u8]) -> Option<Arc<Identity>> {
        let digest: [u8; 32] = Sha256::digest(key).into();
        let rows = self.by_prefix.get(&prefix(&digest))?;
        let row = rows.iter().find(|row| bool::from(row.sha256.ct_eq(&digest)))?;
        Some(Arc::clone(&row.identity))
    }
}

fn prefix(digest: &[u8; 32]) -> u64 {
    digest.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

type Read = fn(&HeaderValue) -> Option<&[u8]>;

/// In the order in which they are looked at.
const PLACES: [(HeaderName, Read); 2] = [(X_API_KEY, whole), (AUTHORIZATION, bearer_or_bare)];

fn whole(line: &HeaderValue) -> Option<&[u8]> {
    Some(line.as_bytes().trim_ascii())
}

/// Behind `Bearer`, or all of it where it names no scheme.
fn bearer_or_bare(line: &HeaderValue) -> Option<&[u8]> {
    let line = line.as_bytes();
    behind_scheme(line, "Bearer").or_else(|| (!line.contains(&b' ')).then_some(line))
}
