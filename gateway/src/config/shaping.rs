//! What an `[[api]]` changes of requests and answers: headers, https, CORS, request ids, redirects.

use std::sync::Arc;

use toml::Spanned;

use super::compile::Compiler;
use super::raw;
use crate::model::{Compress, Cors, HeaderChanges, Origins, Redirect, Shaping};

/// Of one hop, or of a message's form: not for anybody to change.
const NOT_CHANGED: [&str; 12] = [
    "connection",
    "content-length",
    "transfer-encoding",
    "host",
    "te",
    "trailer",
    "upgrade",
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
    "expect",
    "date",
];
/// Changes of one direction.
const CHANGES_MAX: usize = 100;
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
const METHODS_ALLOWED: [&str; 3] = ["GET", "HEAD", "POST"];
const REQUEST_ID: &str = "x-request-id";

pub(super) fn shaping(compiler: &mut Compiler<'_>, raw: &raw::Api) -> Shaping {
    Shaping {
        request_headers: changes(compiler, raw.request_headers.as_ref()),
        response_headers: changes(compiler, raw.response_headers.as_ref()),
        https_only: raw.https_only.as_ref().is_some_and(|only| *only.get_ref()),
        cors: raw.cors.as_ref().and_then(|raw| cors(compiler, raw)),
        request_id: raw.request_id.as_ref().and_then(|raw| request_id(compiler, raw)),
        compress: raw.compress.as_ref().map(|raw| compress(compiler, raw.get_ref())),
    }
}

pub(super) fn redirect(compiler: &mut Compiler<'_>, raw: &raw::Redirect) -> Option<Redirect> {
    let to = raw.to.get_ref();
    let has_host =
        ["https://", "http://"].iter().any(|scheme| to.len() > scheme.len() && to.starts_with(scheme));
    if !has_host || !to.bytes().all(|byte| byte.is_ascii_graphic()) {
        compiler.findings.at(raw.to.span(), "`to` is \"https://HOST/PATH\" or \"http://HOST/PATH\"");
        return None;
    }
    let status = match &raw.status {
        Some(status) if [301, 302, 303, 307, 308].contains(status.get_ref()) => *status.get_ref(),
        Some(status) => {
            compiler.findings.at(status.span(), "`status` is 301, 302, 303, 307 or 308");
            return None;
        }
        None => 308,
    };
    let keeps_path = raw.keep_path.as_ref().is_none_or(|keep| *keep.get_ref());
    Some(Redirect { to: to.trim_end_matches('/').into(), status: u16::try_from(status).ok()?, keeps_path })
}

fn changes(compiler: &mut Compiler<'_>, raw: Option<&Spanned<raw::HeaderChanges>>) -> HeaderChanges {
    let Some(spanned) = raw else { return HeaderChanges::default() };
    let raw = spanned.get_ref();
    if raw.remove.len() + raw.set.len() + raw.add.len() > CHANGES_MAX {
        compiler.findings.at(spanned.span(), format!("at most {CHANGES_MAX} headers"));
    }
    let remove = raw.remove.iter().filter_map(|raw| name(compiler, raw)).collect();
    HeaderChanges { remove, set: fields(compiler, &raw.set), add: fields(compiler, &raw.add) }
}

/// Names in lower case, and values.
pub(super) fn fields(compiler: &mut Compiler<'_>, raw: &raw::Fields) -> Vec<(Arc<str>, Arc<str>)> {
    let field = |(key, value): (&Spanned<String>, &Spanned<String>)| {
        Some((name(compiler, key)?, self::value(compiler, value)?))
    };
    raw.iter().filter_map(field).collect()
}

/// A header's, in lower case.
fn name(compiler: &mut Compiler<'_>, raw: &Spanned<String>) -> Option<Arc<str>> {
    let name = raw.get_ref().to_ascii_lowercase();
    if NOT_CHANGED.contains(&name.as_str()) {
        compiler.findings.at(raw.span(), format!("`{name}` belongs to the connection and cannot be changed"));
        return None;
    }
    if !is_token(&name) {
        compiler.findings.at(raw.span(), "a header's name is letters, digits and -_");
        return None;
    }
    Some(name.into())
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

fn value(compiler: &mut Compiler<'_>, raw: &Spanned<String>) -> Option<Arc<str>> {
    let value = raw.get_ref();
    if value.trim() != value || !value.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        compiler.findings.at(raw.span(), "a header's value is printable ASCII without blanks at its ends");
        return None;
    }
    Some(value.as_str().into())
}

/// `true`, for X-Request-Id, or another header's name.
fn request_id(compiler: &mut Compiler<'_>, raw: &Spanned<toml::Value>) -> Option<Arc<str>> {
    match raw.get_ref() {
        toml::Value::Boolean(false) => None,
        toml::Value::Boolean(true) => Some(REQUEST_ID.into()),
        toml::Value::String(text) => name(compiler, &Spanned::new(raw.span(), text.clone())),
        _ => {
            compiler.findings.at(raw.span(), "`request_id` is true or the name of a header");
            None
        }
    }
}

fn compress(compiler: &mut Compiler<'_>, raw: &raw::Compress) -> Compress {
    let mut compress = Compress::default();
    if let Some(types) = &raw.types {
        compress.types = types.iter().filter_map(|kind| media_type(compiler, kind)).collect();
    }
    if let Some(min) = &raw.min {
        compress.min_bytes = compiler.size(min).unwrap_or(compress.min_bytes);
    }
    compress.level = compiler.within(&raw.level, "level", 1..=9).unwrap_or(compress.level);
    compress.with_credentials = raw.with_credentials.as_ref().is_some_and(|with| *with.get_ref());
    compress
}

/// `type/subtype` or `type/*`, in lower case.
fn media_type(compiler: &mut Compiler<'_>, raw: &Spanned<String>) -> Option<Arc<str>> {
    let kind = raw.get_ref().to_ascii_lowercase();
    let is_word = |word: &str| {
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-+._".contains(&byte))
    };
    let is_type = |(kind, sub): (&str, &str)| is_word(kind) && (sub == "*" || is_word(sub));
    if !kind.split_once('/').is_some_and(is_type) {
        compiler.findings.at(raw.span(), "a type is \"text/html\" or \"text/*\"");
        return None;
    }
    Some(kind.into())
}

fn cors(compiler: &mut Compiler<'_>, spanned: &Spanned<raw::Cors>) -> Option<Cors> {
    let raw = spanned.get_ref();
    let origins = origins(compiler, &raw.origins)?;
    let credentials = raw.credentials.as_ref().is_some_and(|credentials| *credentials.get_ref());
    if credentials && origins == Origins::Any {
        compiler
            .findings
            .at(spanned.span(), "with `credentials` the origins are named: browsers refuse \"*\"");
    }
    let mut methods = Vec::new();
    for method in raw.methods.iter().flatten() {
        if METHODS.contains(&method.get_ref().as_str()) {
            methods.push(method.get_ref().as_str().into());
        } else {
            compiler.findings.at(method.span(), format!("a method is one of {}", METHODS.join(", ")));
        }
    }
    if raw.methods.is_none() {
        methods = METHODS_ALLOWED.map(Into::into).to_vec();
    }
    Some(Cors {
        origins,
        methods,
        headers: raw.headers.iter().flatten().filter_map(|raw| name(compiler, raw)).collect(),
        expose: raw.expose.iter().flatten().filter_map(|raw| name(compiler, raw)).collect(),
        credentials,
        max_age: raw.max_age.as_ref().and_then(|age| compiler.time(age)).unwrap_or(Cors::MAX_AGE),
    })
}

fn origins(compiler: &mut Compiler<'_>, raw: &Spanned<Vec<Spanned<String>>>) -> Option<Origins> {
    let origins = raw.get_ref();
    if origins.iter().any(|origin| origin.get_ref() == "*") && origins.len() == 1 {
        return Some(Origins::Any);
    }
    if origins.is_empty() {
        compiler.findings.at(raw.span(), "`origins` names at least one, or is [\"*\"]");
        return None;
    }
    let mut listed = Vec::new();
    for origin in origins {
        let text = origin.get_ref();
        let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let is_origin = |host: &str| {
            !host.is_empty()
                && host.bytes().all(|byte| {
                    byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._:[]".contains(&byte)
                })
        };
        if !host.is_some_and(is_origin) {
            compiler
                .findings
                .at(origin.span(), "an origin is \"https://HOST\" in lower case, without a path");
        }
        listed.push(text.as_str().into());
    }
    Some(Origins::Listed(listed))
}
