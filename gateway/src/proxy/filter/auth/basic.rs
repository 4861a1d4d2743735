//! Names and passwords (RFC 7617). A password is known by its argon2id hash, which is slow on purpose: it
//! is checked on threads apart, and who passed is remembered for a while by a keyed digest. A name that
//! nobody has takes as long as one that somebody has.

use std::collections::HashMap;
use std::sync::Arc;

use base64ct::{Base64, Encoding as _};
use hyper::header::{AUTHORIZATION, HeaderValue};

use super::challenge::Challenge;
use super::passwords::{Asked, Passwords};
use super::{Identity, Presented, Reason, Scheme, Site, Verdict};
use crate::model::{AuthScheme, UserRow};

const NAME: &str = "basic";
/// Of name and password together, encoded.
const BYTES_MAX: usize = 1_024;

struct Basic {
    by_name: HashMap<Arc<str>, Known>,
    /// What names that nobody has are checked against.
    nobody: Arc<str>,
    passwords: Arc<Passwords>,
    keeps: bool,
    challenge: Challenge,
}

struct Known {
    phc: Arc<str>,
    disabled: bool,
    identity: Arc<Identity>,
}

pub(super) fn row(settings: &AuthScheme, site: &Site<'_>) -> Option<Box<dyn Scheme>> {
    let settings = settings.as_basic()?;
    let known = |row: &UserRow| {
        let identity = Arc::new(Identity::of(NAME, &row.holder));
        let known = Known { phc: Arc::clone(&row.phc), disabled: row.holder.disabled, identity };
        (Arc::clone(&row.holder.name), known)
    };
    Some(Box::new(Basic {
        by_name: settings.rows.iter().map(known).collect(),
        nobody: Arc::clone(&settings.nobody),
        passwords: Arc::clone(&site.kept.passwords),
        keeps: settings.keeps,
        challenge: Challenge::silent("Basic", site.realm, ", charset=\"UTF-8\""),
    }))
}

impl Scheme for Basic {
    fn name(&self) -> &'static str {
        NAME
    }

    fn authenticate(&self, presented: &mut Presented<'_>) -> Verdict {
        let verdict = match presented.authorization("Basic") {
            Ok(None) => return Verdict::Absent,
            Ok(Some(encoded)) => self.judge(encoded, presented.unix_s, presented.now_ns),
            Err(reason) => Verdict::Refused(reason),
        };
        if !self.keeps {
            presented.headers.remove(AUTHORIZATION);
        }
        verdict
    }

    fn challenge(&self, why: Option<Reason>) -> Option<HeaderValue> {
        Some(self.challenge.of(why))
    }
}

impl Basic {
    fn judge(&self, encoded: &[u8], unix_s: u64, now_ns: u64) -> Verdict {
        let mut buffer = [0; BYTES_MAX];
        let Ok(decoded) = Base64::decode(encoded, &mut buffer) else {
            return Verdict::Refused(Reason::Malformed);
        };
        let Some(colon) = decoded.iter().position(|byte| *byte == b':') else {
            return Verdict::Refused(Reason::Malformed);
        };
        let (name, password) = decoded.split_at(colon);
        let password = password.get(1..).unwrap_or_default();
        let known = std::str::from_utf8(name).ok().and_then(|name| self.by_name.get(name));
        let phc = known.map_or(&self.nobody, |known| &known.phc);
        let asked = Asked { phc, password };
        let end = Settled::of(known, unix_s);
        if self.passwords.remembers(&asked, now_ns) {
            return end.map_or_else(Verdict::Refused, Verdict::Pass);
        }
        let Some(checked) = self.passwords.check(&asked) else { return Verdict::Refused(Reason::Busy) };
        Verdict::Wait(Box::pin(async move {
            match checked.await {
                Ok(true) => end,
                Ok(false) => Err(Reason::Unknown),
                Err(_) => Err(Reason::Unavailable),
            }
        }))
    }
}

/// What a right password leads to.
struct Settled;

impl Settled {
    fn of(known: Option<&Known>, unix_s: u64) -> Result<Arc<Identity>, Reason> {
        match known {
            None => Err(Reason::Unknown),
            Some(known) if known.disabled => Err(Reason::Disabled),
            Some(known) if known.identity.is_expired(unix_s) => Err(Reason::Expired),
            Some(known) => Ok(Arc::clone(&known.identity)),
        }
    }
}
