//! What a verified token claims (RFC 7519 section 4): checked against the settings and the time, then made
//! an identity. A registered claim that is there has its registered type, whether or not anybody asks for it.

use std::sync::Arc;

use super::flaw::Flaw;
use super::json::{Json, Object};
use crate::model::{Jwt, JwtClaims};
use crate::proxy::filter::auth::Identity;

/// Of an identity, a policy's name, a scope.
const NAME_BYTES_MAX: usize = 256;
/// Policies, and scopes, of one token.
const NAMES_MAX: usize = 64;
/// Of a fact that a header may repeat.
const FACT_BYTES_MAX: usize = 1_024;

/// Claims that are one text, if they are there (RFC 7519 section 4.1, RFC 8693 section 4.3, OpenID Connect).
const TEXTS: [&str; 5] = ["iss", "sub", "jti", "client_id", "azp"];

/// What is kept of a token that passed.
#[derive(Debug)]
pub struct Claimed {
    pub identity: Identity,
    pub jti: Option<Box<str>>,
}

/// `facts`: claims that are kept, for limits and headers.
pub fn check(claims: &Object, jwt: &Jwt, facts: &[Arc<str>], unix_s: u64) -> Result<Claimed, Flaw> {
    if TEXTS.iter().filter_map(|name| claims.get(name)).any(|claim| claim.text().is_none()) {
        return Err(Flaw::Claims);
    }
    if jwt.required.iter().any(|name| claims.find(name).is_none_or(|claim| *claim == Json::Null)) {
        return Err(Flaw::Missing);
    }
    let expires_s = check_times(claims, jwt, unix_s)?;
    let is_one_of = |known: &[Arc<str>], found: &str| known.iter().any(|one| &**one == found);
    if !jwt.issuers.is_empty() {
        let issuer = claims.get("iss").and_then(Json::text).ok_or(Flaw::Issuer)?;
        is_one_of(&jwt.issuers, issuer).then_some(()).ok_or(Flaw::Issuer)?;
    }
    let audiences = claims.get("aud").map(|aud| aud.texts().ok_or(Flaw::Claims)).transpose()?;
    if !jwt.audiences.is_empty() {
        let audiences = audiences.ok_or(Flaw::Audience)?;
        let is_ours = audiences.into_iter().any(|audience| is_one_of(&jwt.audiences, audience));
        is_ours.then_some(()).ok_or(Flaw::Audience)?;
    }
    let identity = identity(claims, &jwt.claims, facts, expires_s)?;
    Ok(Claimed { identity, jti: claims.get("jti").and_then(Json::text).map(Into::into) })
}

/// The second of Unix time from which on it does not pass; None where it may last for ever.
fn check_times(claims: &Object, jwt: &Jwt, unix_s: u64) -> Result<Option<u64>, Flaw> {
    let skew_s = jwt.skew.as_secs();
    let expires_s = claims.get("exp").map(|exp| date(exp, f64::floor)).transpose()?;
    let expires_s = expires_s.map(|end_s| end_s.saturating_add(skew_s));
    if expires_s.is_some_and(|end_s| end_s <= unix_s) {
        return Err(Flaw::Expired);
    }
    let latest_s = unix_s.saturating_add(skew_s);
    for (name, flaw) in [("nbf", Flaw::NotYet), ("iat", Flaw::IssuedLater)] {
        let since_s = claims.get(name).map(|since| date(since, f64::ceil)).transpose()?;
        if since_s.is_some_and(|since_s| since_s > latest_s) {
            return Err(flaw);
        }
    }
    Ok(expires_s)
}

/// Whole numbers beyond this are not sure in JSON (RFC 8259 section 6); as a date it is in 285 million years.
const DATE_MAX: f64 = 9_007_199_254_740_992.0;

/// A NumericDate: seconds, with a fraction where an issuer writes one. What lies before 1970 is 0.
fn date(claim: &Json, round: fn(f64) -> f64) -> Result<u64, Flaw> {
    match claim {
        Json::Integer(seconds) => Ok(u64::try_from((*seconds).max(0)).unwrap_or(u64::MAX)),
        Json::Float(seconds) if seconds.is_finite() && *seconds <= DATE_MAX => {
            let seconds = round(*seconds).max(0.0);
            // Whole, not negative and below 2^53: nothing is lost.
            Ok(seconds as u64)
        }
        _ => Err(Flaw::Claims),
    }
}

fn identity(
    claims: &Object,
    named: &JwtClaims,
    facts: &[Arc<str>],
    expires_s: Option<u64>,
) -> Result<Identity, Flaw> {
    let name = claims.find(&named.identity).and_then(Json::text).filter(|name| is_name(name));
    let name = name.ok_or(Flaw::Identity)?;
    let subject = claims.get("sub").and_then(Json::text).filter(|subject| *subject != name);
    if subject.is_some_and(|subject| !is_name(subject)) {
        return Err(Flaw::Identity);
    }
    let scopes = claims.find(&named.scopes).map(|claim| names(claim, true)).transpose()?.unwrap_or_default();
    let found = facts.iter().filter_map(|path| Some((path, claims.find(path)?)));
    let found = found.filter(|(_, claim)| **claim != Json::Null);
    let kept = found.map(|(path, claim)| Ok((Arc::clone(path), fact(claim)?)));
    Ok(Identity {
        name: name.into(),
        subject: subject.map(Into::into),
        scheme: super::NAME,
        policies: policies(claims, named, &scopes)?,
        scopes,
        claims: kept.collect::<Result<_, _>>()?,
        headers: Box::default(),
        expires_s,
    })
}

/// What the token names, and what its scopes stand for; else the default. Somebody without a policy may do
/// everything, so where there are to be some, there are.
fn policies(claims: &Object, named: &JwtClaims, scopes: &[Arc<str>]) -> Result<Box<[Arc<str>]>, Flaw> {
    let claim = named.policies.as_deref().and_then(|path| claims.find(path));
    let mut policies = claim.map(|claim| names(claim, false)).transpose()?.unwrap_or_default().into_vec();
    let by_scope = named.scope_policies.iter().filter(|(scope, _)| scopes.contains(scope));
    policies.extend(by_scope.map(|(_, policy)| Arc::clone(policy)));
    if policies.is_empty() {
        policies.clone_from(&named.default_policies);
    }
    if policies.is_empty() && named.needs_policy() {
        return Err(Flaw::NoPolicy);
    }
    Ok(policies.into())
}

/// What logs, limits and fields may repeat.
fn is_name(text: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// A list of texts; or one, with blanks between its parts where that is how they are written.
fn names(claim: &Json, parts: bool) -> Result<Box<[Arc<str>]>, Flaw> {
    let texts = claim.texts().ok_or(Flaw::Claims)?;
    let names: Vec<&str> = match claim {
        Json::Text(text) if parts => text.split(' ').filter(|part| !part.is_empty()).collect(),
        _ => texts,
    };
    let fit = names.len() <= NAMES_MAX && names.iter().all(|name| is_name(name));
    fit.then(|| names.into_iter().map(Into::into).collect()).ok_or(Flaw::Claims)
}

/// A text, number or truth as it is; a list of texts as JSON, since any sign between them may stand in one.
/// What could end a line refuses the token.
fn fact(claim: &Json) -> Result<Arc<str>, Flaw> {
    let fact = match claim {
        Json::Text(text) => text.trim().to_owned(),
        Json::Integer(number) => number.to_string(),
        Json::Bool(truth) => truth.to_string(),
        Json::List(_) => {
            let texts = claim.texts().ok_or(Flaw::Claims)?;
            serde_json::to_string(&texts).map_err(|_| Flaw::Claims)?
        }
        Json::Null | Json::Float(_) | Json::Object(_) => return Err(Flaw::Claims),
    };
    let fits = fact.len() <= FACT_BYTES_MAX && !fact.chars().any(char::is_control);
    fits.then(|| fact.into()).ok_or(Flaw::Claims)
}
