//! `jwt = { .. }` of an API's `auth`.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use toml::{Spanned, Value};

use super::jwks;
use crate::config::compile::Compiler;
use crate::config::error::nearest;
use crate::config::raw::{Any, Flag, Text, Texts};
use crate::config::tls::pem_file;
use crate::config::units;
use crate::model::{Algorithm, Jwt, JwtAuth, JwtClaims, JwtKeys, Revoked};

const TOKEN_BYTES: std::ops::RangeInclusive<u64> = 512..=64 << 10;
/// More is no skew of clocks.
const SKEW_MAX: Duration = Duration::from_secs(3_600);
/// Of a file with a secret.
const SECRET_BYTES_MAX: usize = 4 << 10;
/// Issuers, audiences.
const NAMES_MAX: usize = 64;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Raw {
    pub jwks: Any,
    pub cache: Text,
    pub stale: Text,
    pub pin: Text,
    pub ca: Text,
    secret: Text,
    algorithms: Texts,
    issuer: Any,
    audience: Any,
    types: Texts,
    required: Texts,
    skew: Text,
    token_bytes: Text,
    claims: Option<Claims>,
    revoked: Text,
    forward: Flag,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    identity: Text,
    policies: Text,
    scopes: Text,
    #[serde(default)]
    scope_policies: BTreeMap<String, Spanned<String>>,
    default_policies: Texts,
}

pub(super) fn compile(compiler: &mut Compiler<'_>, spanned: &Spanned<Raw>) -> Option<JwtAuth> {
    let raw = spanned.get_ref();
    let algorithms = algorithms(compiler, &raw.algorithms);
    let keys = keys(compiler, spanned, &algorithms);
    let revoked = match &raw.revoked {
        Some(file) => revoked(compiler, file),
        None => Revoked::default(),
    };
    let issuers = names(compiler, raw.issuer.as_ref(), "issuer");
    let audiences = names(compiler, raw.audience.as_ref(), "audience");
    let claims = raw.claims.as_ref().map_or_else(JwtClaims::default, |raw| claims(compiler, raw));
    // What is wrong with them is noted.
    let mut jwt = Jwt::new(keys?);
    (jwt.algorithms, jwt.issuers, jwt.audiences, jwt.claims) = (algorithms, issuers, audiences, claims);
    if let Some(types) = &raw.types {
        let lower = types.iter().map(|one| one.get_ref().to_ascii_lowercase());
        jwt.types = lower.map(|one| one.strip_prefix("application/").unwrap_or(&one).into()).collect();
    }
    if let Some(required) = &raw.required {
        jwt.required = required.iter().map(|claim| claim.get_ref().as_str().into()).collect();
    }
    if let Some(skew) = &raw.skew {
        jwt.skew = compiler.time(skew).unwrap_or_default();
        if jwt.skew > SKEW_MAX {
            compiler.findings.at(skew.span(), "`skew` is at most 1h");
        }
    }
    if let Some(bytes) = &raw.token_bytes {
        match units::size(bytes.get_ref()).ok().filter(|bytes| TOKEN_BYTES.contains(bytes)) {
            Some(bytes) => jwt.token_bytes = u32::try_from(bytes).ok()?,
            None => compiler.findings.at(bytes.span(), "`token_bytes` is 512B to 64KiB"),
        }
    }
    jwt.forward = raw.forward.as_ref().is_some_and(|forward| *forward.get_ref());
    Some(JwtAuth { jwt, revoked })
}

fn algorithms(compiler: &mut Compiler<'_>, raw: &Texts) -> Vec<Algorithm> {
    let mut algorithms = Vec::new();
    for raw in raw.iter().flatten() {
        let name = raw.get_ref();
        let Some(algorithm) = Algorithm::parse(name) else {
            let known: Vec<_> = Algorithm::NAMES.iter().map(|(name, _)| *name).collect();
            let hint = nearest(name, known.iter().copied()).map(|near| format!("; did you mean `{near}`?"));
            let message = format!(
                "`{name}` is not supported: an algorithm is one of {}{}",
                known.join(", "),
                hint.unwrap_or_default()
            );
            compiler.findings.at(raw.span(), message);
            continue;
        };
        algorithms.push(algorithm);
    }
    algorithms
}

fn keys(compiler: &mut Compiler<'_>, spanned: &Spanned<Raw>, algorithms: &[Algorithm]) -> Option<JwtKeys> {
    let raw = spanned.get_ref();
    let named_at = raw.algorithms.iter().flatten().next().map_or(spanned.span(), Spanned::span);
    match (&raw.jwks, &raw.secret) {
        (Some(urls), None) => {
            if algorithms.iter().any(|one| one.is_hmac()) {
                let message = "HS is signed with a secret: name its file in `secret`, in the place of `jwks`";
                compiler.findings.at(named_at, message);
            }
            jwks::sources(compiler, raw, urls).map(JwtKeys::Sets)
        }
        (None, Some(file)) => {
            jwks::refuse_all(compiler, raw);
            if algorithms.is_empty() || algorithms.iter().any(|one| !one.is_hmac()) {
                let message = "with `secret`, `algorithms` names HS256, HS384 or HS512, and no others";
                compiler.findings.at(named_at, message);
            }
            secret(compiler, file, algorithms).map(JwtKeys::Secret)
        }
        (None, None) | (Some(_), Some(_)) => {
            let message = "`jwt` has one of `jwks`, the URL of a key set, and `secret`, a file";
            compiler.findings.at(spanned.span(), message);
            None
        }
    }
}

/// The bytes of the file; a line's end behind them is none of them.
fn secret(compiler: &mut Compiler<'_>, raw: &Spanned<String>, algorithms: &[Algorithm]) -> Option<Arc<[u8]>> {
    let (file, bytes) = pem_file(compiler, raw)?;
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let least = algorithms.iter().map(|one| one.secret_bytes()).max().unwrap_or(32);
    if !(least..=SECRET_BYTES_MAX).contains(&bytes.len()) {
        let message = format!(
            "{} holds {} bytes: a secret has {least} to {SECRET_BYTES_MAX} (`openssl rand -base64 64` makes one)",
            file.display(),
            bytes.len()
        );
        compiler.findings.at(raw.span(), message);
        return None;
    }
    Some(bytes.into())
}

fn claims(compiler: &mut Compiler<'_>, raw: &Claims) -> JwtClaims {
    let mut claims = JwtClaims::default();
    let mut claim = |raw: &Text| named(compiler, raw.as_ref()?);
    claims.policies = claim(&raw.policies);
    claims.identity = claim(&raw.identity).unwrap_or(claims.identity);
    claims.scopes = claim(&raw.scopes).unwrap_or(claims.scopes);
    for (scope, policy) in &raw.scope_policies {
        claims.scope_policies.push((scope.as_str().into(), self::policy(compiler, policy)));
    }
    let default = raw.default_policies.iter().flatten();
    claims.default_policies = default.map(|policy| self::policy(compiler, policy)).collect();
    claims
}

/// One that is there: a name that grants nothing would be a mistake here.
fn policy(compiler: &mut Compiler<'_>, raw: &Spanned<String>) -> Arc<str> {
    if !compiler.policies.contains(raw.get_ref()) {
        compiler.findings.at(raw.span(), format!("no [[policy]] is named `{}`", raw.get_ref()));
    }
    raw.get_ref().as_str().into()
}

fn named(compiler: &mut Compiler<'_>, raw: &Spanned<String>) -> Option<Arc<str>> {
    if raw.get_ref().is_empty() {
        compiler.findings.at(raw.span(), "a claim has a name, as in \"sub\" or \"realm.roles\"");
        return None;
    }
    Some(raw.get_ref().as_str().into())
}

/// A text or a list of them; "" is none.
fn names(compiler: &mut Compiler<'_>, raw: Option<&Spanned<Value>>, name: &str) -> Vec<Arc<str>> {
    let Some(raw) = raw else { return Vec::new() };
    let names = texts(raw).filter(|names| names.len() <= NAMES_MAX);
    if names.is_none() {
        let message = format!("`{name}` is a text or a list of at most {NAMES_MAX} of them");
        compiler.findings.at(raw.span(), message);
    }
    let texts = names.into_iter().flatten().filter(|(name, _)| !name.is_empty());
    texts.map(|(name, _)| name.into()).collect()
}

/// Texts of one value, with the value's place.
pub(super) fn texts(raw: &Spanned<Value>) -> Option<Vec<(&str, Range<usize>)>> {
    match raw.get_ref() {
        Value::String(text) => Some(vec![(text, raw.span())]),
        Value::Array(list) => list.iter().map(|one| Some((one.as_str()?, raw.span()))).collect(),
        _ => None,
    }
}

/// A file of what was taken back.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RevokedFile {
    #[serde(default)]
    revoked: Vec<Spanned<RevokedRow>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RevokedRow {
    jti: Option<String>,
    subject: Option<String>,
}

/// Rows of one file: each takes up to about 300 bytes.
const REVOKED_MAX: usize = 100_000;

fn revoked(compiler: &mut Compiler<'_>, raw: &Spanned<String>) -> Revoked {
    let mut revoked = Revoked::default();
    let Some((file, bytes)) = pem_file(compiler, raw) else { return revoked };
    let rows = match std::str::from_utf8(&bytes).map_err(|error| error.to_string()) {
        Ok(text) => match toml::from_str::<RevokedFile>(text) {
            Ok(file) => file.revoked,
            Err(error) => {
                compiler.findings.extend(crate::config::error::from_toml(text, &file, &error));
                return revoked;
            }
        },
        Err(error) => {
            compiler.findings.at(raw.span(), format!("{}: {error}", file.display()));
            return revoked;
        }
    };
    if rows.len() > REVOKED_MAX {
        compiler.findings.at(raw.span(), format!("{} has more than {REVOKED_MAX} rows", file.display()));
    }
    for row in rows {
        match row.into_inner() {
            RevokedRow { jti: Some(jti), subject: None } => revoked.tokens.insert(jti.into()),
            RevokedRow { jti: None, subject: Some(subject) } => revoked.subjects.insert(subject.into()),
            _ => {
                let message =
                    format!("{}: a row of [[revoked]] has one of `jti` and `subject`", file.display());
                compiler.findings.at(raw.span(), message);
                false
            }
        };
    }
    revoked
}
