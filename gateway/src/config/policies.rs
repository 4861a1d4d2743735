//! `[[policy]]`, and what headers say of who calls.

use std::collections::HashSet;
use std::sync::Arc;

use toml::Spanned;

use super::compile::Compiler;
use super::raw::{self, Fields};
use super::shaping;
use crate::model::{Api, Grant, Grants, HeaderText, PathPattern, Policy};

const NAME_BYTES_MAX: usize = 64;

pub(super) fn policies(compiler: &mut Compiler<'_>, raw: &[raw::Policy]) -> Vec<Arc<Policy>> {
    let mut policies = Vec::new();
    for one in raw {
        let name = one.name.get_ref();
        let letters = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(letters) {
            compiler.findings.at(one.name.span(), "a policy's name is 1 to 64 letters, digits, - _ .");
        }
        if !compiler.policies.insert(name.clone()) {
            compiler.findings.at(one.name.span(), format!("two policies are named `{name}`"));
        }
        policies.push(Arc::new(policy(compiler, one)));
    }
    policies
}

fn policy(compiler: &mut Compiler<'_>, raw: &raw::Policy) -> Policy {
    let rate = match (&raw.rate, &raw.burst) {
        (Some(rate), Some(burst)) => compiler.rate(rate, burst),
        (None, None) => None,
        (Some(one), None) => {
            compiler.findings.at(one.span(), "`rate` needs `burst`");
            None
        }
        (None, Some(one)) => {
            compiler.findings.at(one.span(), "`burst` needs `rate`");
            None
        }
    };
    let grants = match &raw.grants {
        None => Grants::Everything,
        Some(rows) => Grants::Listed(rows.iter().map(|row| grant(compiler, row)).collect()),
    };
    Policy {
        name: raw.name.get_ref().as_str().into(),
        grants,
        rate,
        headers: headers(compiler, &raw.headers),
    }
}

fn grant(compiler: &mut Compiler<'_>, raw: &raw::Grant) -> Grant {
    let paths = raw.paths.iter().flatten().filter_map(|path| pattern(compiler, path)).collect();
    let mut methods = Vec::new();
    for method in raw.methods.iter().flatten() {
        if method.get_ref().is_empty() || !method.get_ref().bytes().all(|byte| byte.is_ascii_uppercase()) {
            compiler.findings.at(method.span(), "a method is written in capitals, as in \"GET\"");
        }
        methods.push(method.get_ref().as_str().into());
    }
    Grant { api: raw.api.get_ref().as_str().into(), paths, methods }
}

fn pattern(compiler: &mut Compiler<'_>, raw: &Spanned<String>) -> Option<PathPattern> {
    let text = raw.get_ref();
    let folder = text.strip_suffix('*');
    let path = folder.unwrap_or(text);
    if !path.starts_with('/') || path.contains('*') || crate::proxy::normalise(path) != *path {
        let message = "a path starts with / and is in normal form; at its end * stands for all that follows";
        compiler.findings.at(raw.span(), message);
        return None;
    }
    if folder.is_some_and(|folder| !folder.ends_with('/')) {
        compiler.findings.at(raw.span(), "* stands for whole segments: write a / before it");
    }
    Some(if folder.is_some() { PathPattern::Under(path.into()) } else { PathPattern::Exact(path.into()) })
}

/// Headers with what they say of an identity.
pub(super) fn headers(compiler: &mut Compiler<'_>, fields: &Fields) -> Vec<(Arc<str>, HeaderText)> {
    for value in fields.values().filter(|value| header_text(value.get_ref()).is_none()) {
        let message =
            "in braces stands {credential}, {subject}, {scheme} or {claim:NAME}, and nothing beside it";
        compiler.findings.at(value.span(), message);
    }
    let plain = shaping::fields(compiler, fields).into_iter();
    plain.filter_map(|(name, value)| Some((name, header_text(&value)?))).collect()
}

fn header_text(value: &str) -> Option<HeaderText> {
    if !value.contains(['{', '}']) {
        return Some(HeaderText::Literal(value.into()));
    }
    match value.strip_prefix('{')?.strip_suffix('}')? {
        "credential" => Some(HeaderText::Credential),
        "subject" => Some(HeaderText::Subject),
        "scheme" => Some(HeaderText::Scheme),
        inside => inside.strip_prefix("claim:").map(|name| HeaderText::Claim(name.into())),
    }
}

/// Grants name APIs that are there.
pub(super) fn check_apis(compiler: &mut Compiler<'_>, raw: &[raw::Policy], apis: &[Arc<Api>]) {
    let names: HashSet<&str> = apis.iter().map(|api| &*api.name).collect();
    for grant in raw.iter().flat_map(|policy| policy.grants.iter().flatten()) {
        if !names.contains(grant.api.get_ref().as_str()) {
            let message = format!("no [[api]] is named `{}`", grant.api.get_ref());
            compiler.findings.at(grant.api.span(), message);
        }
    }
}
