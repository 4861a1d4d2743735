//! A JWS in its compact form (RFC 7515 section 7.1), as far as it can be read without a key. What the
//! header says chooses among what the configuration and the keys allow, never beyond: `jku`, `x5u` and
//! `x5c` are members that nobody here understands, and are read over as section 4 has it (issuers that
//! send `jku` in every token exist); `jwk`, a key that the token brings itself, has no honest use.

use super::base64url;
use super::flaw::Flaw;
use super::json::{Json, Object};
use crate::model::{Algorithm, Jwt};

/// Longer names of keys are nobody's.
const KID_BYTES_MAX: usize = 256;

/// A token whose signature nobody has looked at.
#[derive(Debug, PartialEq)]
pub struct Unverified<'a> {
    pub algorithm: Algorithm,
    /// Names a key of the configured sets, and nothing else.
    pub kid: Option<String>,
    /// What is signed: header and payload, as they came.
    pub signed: &'a [u8],
    payload: &'a [u8],
    pub signature: Vec<u8>,
}

impl<'a> Unverified<'a> {
    pub fn parse(token: &'a [u8], jwt: &Jwt) -> Result<Self, Flaw> {
        if token.len() > usize::try_from(jwt.token_bytes).unwrap_or(usize::MAX) {
            return Err(Flaw::TooLong);
        }
        let mut parts = token.split(|byte| *byte == b'.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Flaw::Compact);
        };
        let header = base64url::decode(header).ok_or(Flaw::Compact)?;
        let signature = base64url::decode(signature).ok_or(Flaw::Compact)?;
        let header = Object::parse(&header).ok_or(Flaw::Header)?;
        let signed = token.get(..token.len() - signature_length(token)).ok_or(Flaw::Compact)?;
        let (algorithm, kid) = read(&header, jwt)?;
        Ok(Self { algorithm, kid, signed, payload, signature })
    }

    /// To be called once the signature was found good: nothing else is a claim.
    pub fn claims(&self) -> Result<Object, Flaw> {
        let payload = base64url::decode(self.payload).ok_or(Flaw::Compact)?;
        Object::parse(&payload).ok_or(Flaw::Claims)
    }
}

/// With its dot.
fn signature_length(token: &[u8]) -> usize {
    token.iter().rev().position(|byte| *byte == b'.').map_or(0, |at| at + 1)
}

fn read(header: &Object, jwt: &Jwt) -> Result<(Algorithm, Option<String>), Flaw> {
    // No extension is understood here, so a token that needs one is not (section 4.1.11); `b64` is one.
    if header.get("crit").is_some() || header.get("b64").is_some() {
        return Err(Flaw::Critical);
    }
    if header.get("jwk").is_some() {
        return Err(Flaw::EmbeddedKey);
    }
    // `enc` and `zip` are words of encryption.
    if header.get("enc").is_some() || header.get("zip").is_some() {
        return Err(Flaw::Header);
    }
    let name = header.get("alg").and_then(Json::text).ok_or(Flaw::Header)?;
    let algorithm = Algorithm::parse(name).filter(|one| jwt.allows(*one)).ok_or(Flaw::Algorithm)?;
    if let Some(found) = header.get("typ") {
        let found = found.text().ok_or(Flaw::Header)?.to_ascii_lowercase();
        let found = found.strip_prefix("application/").unwrap_or(&found);
        if !jwt.types.is_empty() && !jwt.types.iter().any(|known| &**known == found) {
            return Err(Flaw::Type);
        }
    }
    let kid = match header.get("kid") {
        None => None,
        Some(Json::Text(kid)) if kid.len() <= KID_BYTES_MAX => Some(kid.clone()),
        Some(_) => return Err(Flaw::Header),
    };
    Ok((algorithm, kid))
}
