//! API keys, known by SHA-256 only. Keys are random and long, so one round of a fast hash is enough; what
//! is compared is the digest, in constant time.

mod cookie;

mod place;

mod query;

use std::collections::HashMap;
use std::sync::Arc;

use hyper::header::HeaderValue;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use self::place::{Found, Place};
use super::challenge::Challenge;
use super::{Identity, Presented, Reason, Scheme, Site, Verdict};
use crate::model::{AuthScheme, KeyAuth, KeyRow};

const NAME: &str = "key";

/// Rows by the first eight bytes of the digest; the rest is compared in constant time.
struct Keys {
    by_prefix: HashMap<u64, Vec<Known>>,
    places: Vec<Place>,
    keeps: bool,
    challenge: Challenge,
}

struct Known {
    sha256: [u8; 32],
    disabled: bool,
    identity: Arc<Identity>,
}

pub(super) fn row(settings: &AuthScheme, site: &Site<'_>) -> Option<Box<dyn Scheme>> {
    let settings = settings.as_key()?;
    let mut by_prefix: HashMap<u64, Vec<Known>> = HashMap::new();
    for row in settings.rows.iter() {
        for known in Known::of(row) {
            by_prefix.entry(prefix(&known.sha256)).or_default().push(known);
        }
    }
    let places = settings.places.iter().filter_map(|place| Place::of(place, site.shares_bearer)).collect();
    let challenge = challenge(settings, site.realm);
    Some(Box::new(Keys { by_prefix, places, keeps: settings.keeps, challenge }))
}

/// Bearer where a key may stand there; else a name that says where it does.
fn challenge(settings: &KeyAuth, realm: &str) -> Challenge {
    if settings.reads_bearer() {
        return Challenge::bearer(realm, "");
    }
    let place = settings.places.first().map(|place| place.words()).unwrap_or_default();
    Challenge::silent("ApiKey", realm, &format!(", in=\"{}\", name=\"{}\"", place.0, place.1))
}

impl Known {
    /// The key, and the one before it while that holds.
    fn of(row: &KeyRow) -> Vec<Self> {
        let known = |sha256, identity: Identity| Self {
            sha256,
            disabled: row.holder.disabled,
            identity: Arc::new(identity),
        };
        let mut all = vec![known(row.sha256, Identity::of(NAME, &row.holder))];
        if let Some((sha256, until_s)) = row.previous {
            let mut identity = Identity::of(NAME, &row.holder);
            identity.expires_s = Some(identity.expires_s.map_or(until_s, |end_s| end_s.min(until_s)));
            all.push(known(sha256, identity));
        }
        all
    }
}

impl Scheme for Keys {
    fn name(&self) -> &'static str {
        NAME
    }

    fn authenticate(&self, presented: &mut Presented<'_>) -> Verdict {
        for place in &self.places {
            let key = match place.find(presented) {
                Found::Nothing => continue,
                Found::Several => return Verdict::Refused(Reason::Ambiguous),
                Found::Key(key) => key,
            };
            let identity = match self.judge(&key, presented.unix_s) {
                Ok(identity) => identity,
                Err(reason) => return Verdict::Refused(reason),
            };
            drop(key);
            if !self.keeps {
                place.strip(presented);
            }
            return Verdict::Pass(identity);
        }
        Verdict::Absent
    }

    fn challenge(&self, why: Option<Reason>) -> Option<HeaderValue> {
        Some(self.challenge.of(why))
    }
}

impl Keys {
    fn judge(&self, key: &[u8], unix_s: u64) -> Result<Arc<Identity>, Reason> {
        let digest: [u8; 32] = Sha256::digest(key).into();
        let rows = self.by_prefix.get(&prefix(&digest)).ok_or(Reason::Unknown)?;
        let known = rows.iter().find(|row| bool::from(row.sha256.ct_eq(&digest))).ok_or(Reason::Unknown)?;
        if known.disabled {
            return Err(Reason::Disabled);
        }
        if known.identity.is_expired(unix_s) {
            return Err(Reason::Expired);
        }
        Ok(Arc::clone(&known.identity))
    }
}

fn prefix(digest: &[u8; 32]) -> u64 {
    digest.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}
