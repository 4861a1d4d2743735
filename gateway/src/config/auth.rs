//! `auth` of an API, a file for each scheme, and `[auth]`.

pub(super) mod basic;
pub(super) mod hmac;
pub(super) mod key;
pub(super) mod mtls;

pub(super) mod jwt;

mod jwks;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;

use super::compile::Compiler;
use super::keys::Known;
use super::{Errors, policies, raw};
use crate::model::{Auth, AuthBounds, AuthScheme, Require};

/// Requests that wait take a task's worth of memory each.
const WAITING_MAX: u64 = 1 << 16;
const CREDENTIALS_MAX: u64 = 1 << 22;
/// Verified tokens take up to 1.7 KiB each.
const TOKENS_MAX: u64 = 1 << 22;

pub(super) fn auth(compiler: &mut Compiler<'_>, spanned: &Spanned<raw::Auth>, api: &str) -> Option<Auth> {
    const REQUIRE: [(&str, Require); 2] = [("any", Require::Any), ("all", Require::All)];
    let raw = spanned.get_ref();
    let require = compiler.word(&raw.require, "require", &REQUIRE).unwrap_or_default();
    let realm = realm(compiler, &raw.realm).unwrap_or(api).into();
    let mut schemes = schemes(compiler, raw);
    if schemes.is_empty() {
        let message = "`auth` names a scheme, as in { key = { file = \"keys.toml\" } }";
        compiler.findings.at(spanned.span(), message);
    }
    // The order in the file is the order in which they are asked.
    schemes.sort_by_key(|(place, _)| place.start);
    let schemes = schemes.into_iter().filter_map(|(_, scheme)| scheme).collect();
    let headers = policies::headers(compiler, &raw.headers);
    let lifts_client_limit = raw.lift_client_limit.as_ref().is_some_and(|lift| *lift.get_ref());
    Some(Auth { schemes, require, realm, headers, lifts_client_limit })
}

type Placed = (Range<usize>, Option<AuthScheme>);

/// A line for each scheme: None is one whose mistakes were noted.
fn schemes(compiler: &mut Compiler<'_>, raw: &raw::Auth) -> Vec<Placed> {
    let mut schemes = Vec::new();
    if let Some(raw) = &raw.key {
        schemes.push((raw.span(), key::compile(compiler, raw.get_ref()).map(AuthScheme::Key)));
    }
    if let Some(raw) = &raw.basic {
        schemes.push((raw.span(), basic::compile(compiler, raw.get_ref()).map(AuthScheme::Basic)));
    }
    if let Some(raw) = &raw.mtls {
        schemes.push((raw.span(), mtls::compile(compiler, raw).map(AuthScheme::Mtls)));
    }
    if let Some(raw) = &raw.hmac {
        let hmac = hmac::compile(compiler, raw.get_ref());
        schemes.push((raw.span(), hmac.map(Arc::new).map(AuthScheme::Hmac)));
    }
    if let Some(raw) = &raw.jwt {
        let compiled = jwt::compile(compiler, raw).map(Box::new);
        schemes.push((raw.span(), compiled.map(AuthScheme::Jwt)));
    }
    schemes
}

/// A file of credentials beside the configuration: read, compiled by `rows`, followed.
fn rows_of<T>(
    compiler: &mut Compiler<'_>,
    file: &Spanned<String>,
    rows: impl FnOnce(&str, &Path, &Known<'_>) -> Result<Vec<T>, Errors>,
) -> Option<Arc<[T]>> {
    let file = compiler.folder.join(file.get_ref());
    compiler.also.push(file.clone());
    let text = std::fs::read_to_string(&file).map_err(|error| Errors::unreadable(&file, &error));
    match text.and_then(|text| rows(&text, &file, &compiler.known())) {
        Ok(rows) => Some(rows.into()),
        Err(errors) => {
            compiler.findings.extend(errors);
            None
        }
    }
}

fn realm<'a>(compiler: &mut Compiler<'_>, raw: &'a raw::Text) -> Option<&'a str> {
    let raw = raw.as_ref()?;
    let realm = raw.get_ref();
    if realm.is_empty() || !realm.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        compiler.findings.at(raw.span(), "`realm` is printable ASCII");
    }
    Some(realm)
}

/// `[auth]`.
pub(super) fn bounds(compiler: &mut Compiler<'_>, raw: Option<&raw::AuthBounds>) -> AuthBounds {
    let mut bounds = AuthBounds::default();
    let Some(raw) = raw else { return bounds };
    let weight = compiler.within(&raw.refused_weight, "refused_weight", 0..=AuthBounds::WEIGHT_MAX);
    bounds.refused_weight = weight.unwrap_or(bounds.refused_weight);
    let credentials = compiler.within(&raw.credentials, "credentials", 1..=CREDENTIALS_MAX);
    bounds.credentials = credentials.unwrap_or(bounds.credentials);
    bounds.waiting = compiler.within(&raw.waiting, "waiting", 1..=WAITING_MAX).unwrap_or(bounds.waiting);
    bounds.wait = raw.wait.as_ref().and_then(|wait| compiler.time(wait)).unwrap_or(bounds.wait);
    bounds.tokens = compiler.within(&raw.tokens, "tokens", 0..=TOKENS_MAX).unwrap_or(bounds.tokens);
    bounds
}
