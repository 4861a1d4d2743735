//! JSON Web Tokens: a compact JWS (RFC 7515) whose claims say who calls (RFC 7519, RFC 8725, RFC 9068). A
//! token that comes again is known by its digest; one that does not is verified with a configured key or
//! one of a configured set, by an algorithm that configuration and key allow. Nothing is ever fetched or
//! opened because a token says so: a name of a key that nobody knows has the configured sets fetched again,
//! and its request waits for that.

mod base64url;

mod claims;

mod flaw;

mod json;

mod key;

mod key_set;

mod token;

mod tokens;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use hyper::header::{AUTHORIZATION, HeaderValue};
use sha2::Sha256;

pub use self::flaw::Flaw;
pub use self::key_set::{KEYS_MAX, KeySet};
use self::token::Unverified;
pub use self::tokens::Tokens;
use self::tokens::{TokenDigest, Verified};
use super::challenge::Challenge;
use super::key_sets::{Source, Wait};
use super::presented::looks_like_jws;
use super::{Identity, Presented, Reason, Scheme, Site, Verdict};
use crate::model::{self, AuthScheme, JwtKeys, Revoked};
use crate::plane::{now_ns, unix_s};

const NAME: &str = "jwt";

struct Jwt {
    verifier: Arc<Verifier>,
    challenge: Challenge,
    /// What does not look like a JWT is left to the scheme that reads keys.
    leaves_keys: bool,
}

/// What is needed to judge a token, also once its request's snapshot is an old one.
struct Verifier {
    settings: model::Jwt,
    revoked: Revoked,
    /// Claims that limits and headers of this API repeat.
    facts: Vec<Arc<str>>,
    keys: Keys,
    tokens: Arc<Tokens>,
    digests: Sha256,
}

enum Keys {
    Sources(Vec<Arc<Source>>),
    Fixed(Arc<KeySet>),
}

/// Why a token does not pass now.
enum Miss {
    Flaw(Flaw),
    /// Keys that are not here yet may be the ones.
    NewKey(Flaw),
}

pub(super) fn row(settings: &AuthScheme, site: &Site<'_>) -> Option<Box<dyn Scheme>> {
    let AuthScheme::Jwt(settings) = settings else { return None };
    let verifier = Arc::new(Verifier::new(settings, site));
    let challenge = Challenge::bearer(site.realm, "");
    Some(Box::new(Jwt { verifier, challenge, leaves_keys: site.shares_bearer }))
}

impl Scheme for Jwt {
    fn name(&self) -> &'static str {
        NAME
    }

    fn authenticate(&self, presented: &mut Presented<'_>) -> Verdict {
        let token = match presented.authorization("Bearer") {
            Ok(Some(token)) if !self.leaves_keys || looks_like_jws(token) => token,
            Ok(_) => return Verdict::Absent,
            Err(reason) => return Verdict::Refused(reason),
        };
        let verifier = &self.verifier;
        let verdict = match verifier.judge(token, presented.unix_s, presented.now_ns) {
            Ok(identity) => Verdict::Pass(identity),
            Err(Miss::Flaw(flaw)) => Verdict::Refused(Reason::Jwt(flaw)),
            Err(Miss::NewKey(flaw)) => {
                let waits = verifier.want_keys(presented.now_ns);
                if waits.is_empty() {
                    Verdict::Refused(verifier.without_key(flaw))
                } else {
                    Verdict::Wait(Box::pin(Arc::clone(verifier).judge_after(waits, token.into())))
                }
            }
        };
        if !matches!(verdict, Verdict::Refused(_)) && !verifier.settings.forward {
            presented.headers.remove(AUTHORIZATION);
        }
        verdict
    }

    fn challenge(&self, why: Option<Reason>) -> Option<HeaderValue> {
        Some(self.challenge.of(why))
    }
}

impl Verifier {
    fn new(settings: &model::JwtAuth, site: &Site<'_>) -> Self {
        let model::JwtAuth { jwt, revoked } = settings;
        let tokens = site.kept.tokens();
        let keys = match &jwt.keys {
            JwtKeys::Sets(sets) => Keys::Sources(sets.iter().map(|set| site.kept.key_sets.of(set)).collect()),
            JwtKeys::Secret(secret) => Keys::Fixed(Arc::new(KeySet::of_secret(secret))),
        };
        Self {
            digests: tokens.prefix(&fingerprint(jwt, site.claims)),
            facts: site.claims.to_vec(),
            settings: jwt.clone(),
            revoked: revoked.clone(),
            keys,
            tokens,
        }
    }

    /// By its digest, or by all that makes a token.
    fn judge(&self, token: &[u8], unix_s: u64, now_ns: u64) -> Result<Arc<Identity>, Miss> {
        // Before anything is done with each byte of it.
        if token.len() > usize::try_from(self.settings.token_bytes).unwrap_or(usize::MAX) {
            return Err(Miss::Flaw(Flaw::TooLong));
        }
        let digest = Tokens::digest(&self.digests, token);
        let verified = match self.tokens.find(digest, unix_s, now_ns) {
            Some(verified) => verified,
            None => self.verify(token, digest, unix_s, now_ns)?,
        };
        if !self.revoked.is_empty() && self.is_revoked(&verified) {
            return Err(Miss::Flaw(Flaw::Revoked));
        }
        Ok(verified.identity)
    }

    fn verify(&self, token: &[u8], digest: TokenDigest, unix_s: u64, now_ns: u64) -> Result<Verified, Miss> {
        let unverified = Unverified::parse(token, &self.settings).map_err(Miss::Flaw)?;
        let key = match &self.keys {
            Keys::Fixed(set) => set_verifies(&unverified, std::slice::from_ref(set))?,
            Keys::Sources(sources) => {
                let sets: Vec<_> = sources.iter().filter_map(|source| source.set()).collect();
                set_verifies(&unverified, &sets)?
            }
        };
        let claims = unverified.claims().map_err(Miss::Flaw)?;
        let claimed = claims::check(&claims, &self.settings, &self.facts, unix_s).map_err(Miss::Flaw)?;
        let jti = claimed.jti.map(Into::into);
        let verified = Verified { identity: Arc::new(claimed.identity), jti, key };
        self.tokens.keep(digest, verified.clone(), unix_s, now_ns);
        Ok(verified)
    }

    fn is_revoked(&self, verified: &Verified) -> bool {
        let subjects = &self.revoked.subjects;
        verified.jti.as_deref().is_some_and(|jti| self.revoked.tokens.contains(jti))
            || subjects.contains(&*verified.identity.name)
            || verified.identity.subject.as_deref().is_some_and(|subject| subjects.contains(subject))
    }

    /// Fetches that may bring the key; none during the cool-downs.
    fn want_keys(&self, now_ns: u64) -> Vec<Wait> {
        match &self.keys {
            Keys::Fixed(_) => Vec::new(),
            Keys::Sources(sources) => sources.iter().filter_map(|source| source.want(now_ns)).collect(),
        }
    }

    async fn judge_after(
        self: Arc<Self>,
        waits: Vec<Wait>,
        token: Box<[u8]>,
    ) -> Result<Arc<Identity>, Reason> {
        for wait in waits {
            wait.end().await;
        }
        match self.judge(&token, unix_s(), now_ns()) {
            Ok(identity) => Ok(identity),
            Err(Miss::Flaw(flaw)) => Err(Reason::Jwt(flaw)),
            Err(Miss::NewKey(flaw)) => Err(self.without_key(flaw)),
        }
    }

    /// Where a set could not be had at all, nobody can tell whose the token is.
    fn without_key(&self, flaw: Flaw) -> Reason {
        match &self.keys {
            Keys::Sources(sources) if sources.iter().any(|source| source.set().is_none()) => {
                Reason::Unavailable
            }
            Keys::Sources(_) | Keys::Fixed(_) => Reason::Jwt(flaw),
        }
    }
}

/// Over all settings, a secret too: what was verified under others is nothing here.
fn fingerprint(jwt: &model::Jwt, facts: &[Arc<str>]) -> Vec<u8> {
    let secret = match &jwt.keys {
        JwtKeys::Secret(secret) => &**secret,
        JwtKeys::Sets(_) => &[],
    };
    // Names of fields and their values, so that a field that joins is part of it.
    [format!("{jwt:?} {facts:?}").as_bytes(), secret].concat()
}

fn set_verifies(token: &Unverified<'_>, sets: &[Arc<KeySet>]) -> Result<Arc<key::Key>, Miss> {
    key_set::verify(token, sets).map_err(|flaw| match key_set::knows(token, sets) {
        true => Miss::Flaw(flaw),
        false => Miss::NewKey(flaw),
    })
}
