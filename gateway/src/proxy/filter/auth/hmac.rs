//! Signatures of requests by a shared secret: HTTP Message Signatures (RFC 9421) with hmac-sha256. What the
//! API requires must be covered; a nonce passes once. The body is not read: a Content-Digest that is
//! covered is for the upstream to compare.

mod base;

mod input;

mod nonces;

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::hmac;
use base64ct::{Base64, Encoding as _};
use hyper::header::{HeaderName, HeaderValue};

use self::input::Input;
pub use self::nonces::{NONCES, Nonces};
use super::challenge::Challenge;
use super::presented::Single;
use super::{Identity, Presented, Reason, Scheme, Site, Verdict};
use crate::model::{AuthScheme, HmacAuth, SignerRow};

const NAME: &str = "hmac";
const SIGNATURE: HeaderName = HeaderName::from_static("signature");
const SIGNATURE_INPUT: HeaderName = HeaderName::from_static("signature-input");
const SIGNATURE_BYTES: usize = 32;
/// What a signer's clock may be ahead.
const AHEAD_S: u64 = 30;

struct Signatures {
    settings: Arc<HmacAuth>,
    by_name: HashMap<Arc<str>, Known>,
    nonces: Arc<Nonces>,
    challenge: Challenge,
}

struct Known {
    key: hmac::Key,
    disabled: bool,
    identity: Arc<Identity>,
}

pub(super) fn row(settings: &AuthScheme, site: &Site<'_>) -> Option<Box<dyn Scheme>> {
    let settings = settings.as_hmac()?;
    let known = |row: &SignerRow| {
        let identity = Arc::new(Identity::of(NAME, &row.holder));
        let key = hmac::Key::new(hmac::HMAC_SHA256, row.secret.bytes());
        (Arc::clone(&row.holder.name), Known { key, disabled: row.holder.disabled, identity })
    };
    Some(Box::new(Signatures {
        by_name: settings.rows.iter().map(known).collect(),
        settings: Arc::clone(settings),
        nonces: Arc::clone(&site.kept.nonces),
        challenge: Challenge::silent("Signature", site.realm, ""),
    }))
}

impl Scheme for Signatures {
    fn name(&self) -> &'static str {
        NAME
    }

    fn authenticate(&self, presented: &mut Presented<'_>) -> Verdict {
        let (input, signature) = match (presented.single(&SIGNATURE_INPUT), presented.single(&SIGNATURE)) {
            (Ok(Single::None), Ok(Single::None)) => return Verdict::Absent,
            (Ok(Single::One(input)), Ok(Single::One(signature))) => (input, signature),
            (Ok(_), Ok(_)) => return Verdict::Refused(Reason::Malformed),
            (Err(reason), _) | (_, Err(reason)) => return Verdict::Refused(reason),
        };
        match self.judge(input, signature, presented) {
            Ok(identity) => Verdict::Pass(identity),
            Err(reason) => Verdict::Refused(reason),
        }
    }

    fn challenge(&self, why: Option<Reason>) -> Option<HeaderValue> {
        Some(self.challenge.of(why))
    }
}

impl Signatures {
    fn judge(
        &self,
        input: &HeaderValue,
        signature: &HeaderValue,
        presented: &Presented<'_>,
    ) -> Result<Arc<Identity>, Reason> {
        let text = |value: &HeaderValue| value.to_str().map(str::to_owned).map_err(|_| Reason::Malformed);
        let (input, signature) = (text(input)?, text(signature)?);
        let input = Input::parse(&input).ok_or(Reason::Malformed)?;
        let signature = decode(&signature, input.label).ok_or(Reason::Malformed)?;
        self.check_terms(&input, presented.unix_s)?;
        let known = self.by_name.get(input.keyid.ok_or(Reason::Malformed)?).ok_or(Reason::Unknown)?;
        let base = base::of(&input, presented)?;
        hmac::verify(&known.key, base.as_bytes(), &signature).map_err(|_| Reason::Signature)?;
        if known.disabled {
            return Err(Reason::Disabled);
        }
        if known.identity.is_expired(presented.unix_s) {
            return Err(Reason::Expired);
        }
        // Last, so that nobody but who has the secret fills the memory of nonces.
        if let Some(nonce) = input.nonce {
            self.nonces.take(&known.identity.name, nonce, self.settings.max_age, presented.now_ns)?;
        }
        Ok(Arc::clone(&known.identity))
    }

    /// What must be said and covered, and when it holds.
    fn check_terms(&self, input: &Input<'_>, unix_s: u64) -> Result<(), Reason> {
        if input.alg.is_some_and(|alg| alg != "hmac-sha256") {
            return Err(Reason::Algorithm);
        }
        let covers = |name: &str| {
            let whole = ["@authority", "@path", "@query", "@scheme", "@request-target"].contains(&name);
            input.components.iter().any(|one| *one == name || (whole && *one == "@target-uri"))
        };
        if !self.settings.components.iter().all(|name| covers(name)) {
            return Err(Reason::Component);
        }
        if self.settings.needs_nonce && input.nonce.is_none() {
            return Err(Reason::Component);
        }
        let created = input.created.ok_or(Reason::Component)?;
        if created > unix_s.saturating_add(AHEAD_S) {
            return Err(Reason::Early);
        }
        let is_over = created.saturating_add(self.settings.max_age.as_secs()) < unix_s;
        if is_over || input.expires.is_some_and(|end| end <= unix_s) {
            return Err(Reason::Expired);
        }
        Ok(())
    }
}

/// `label=:BASE64:` among the members of Signature.
fn decode(field: &str, label: &str) -> Option<[u8; SIGNATURE_BYTES]> {
    let mut found = None;
    for member in field.split(',') {
        let (name, value) = member.trim_matches([' ', '\t']).split_once('=')?;
        if name != label {
            continue;
        }
        let encoded = value.strip_prefix(':')?.strip_suffix(':')?;
        let mut signature = [0; SIGNATURE_BYTES];
        let length = Base64::decode(encoded, &mut signature).ok()?.len();
        if length != SIGNATURE_BYTES || found.replace(signature).is_some() {
            return None;
        }
    }
    found
}

#[cfg(test)]
mod tests;
