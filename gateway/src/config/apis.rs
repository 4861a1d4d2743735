//! `[[api]]`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use toml::Spanned;

use super::compile::Compiler;
use super::{auth, policies, raw, shaping, upstreams};
use crate::model::{Answer, Api, BodyBound, Catalog, Certificates, LimitKey, LimitRow, StaticAnswer};

const CERTIFICATES: [(&str, Certificates); 2] =
    [("as_listener", Certificates::AsListener), ("required", Certificates::Required)];

pub(super) fn catalog(compiler: &mut Compiler<'_>, raw: &raw::Raw) -> Catalog {
    let policies = policies::policies(compiler, &raw.policy);
    let apis = apis(compiler, &raw.api);
    policies::check_apis(compiler, &raw.policy, &apis);
    Catalog { apis, policies }
}

fn apis(compiler: &mut Compiler<'_>, raw: &[Spanned<raw::Api>]) -> Vec<Arc<Api>> {
    let mut names = HashSet::new();
    let mut places = HashMap::new();
    let mut apis = Vec::new();
    for spanned in raw {
        let raw = spanned.get_ref();
        let Some(api) = api(compiler, spanned) else { continue };
        if !names.insert(api.name.clone()) {
            compiler.findings.at(raw.name.span(), format!("two APIs are named `{}`", api.name));
        }
        let place = (api.host.clone(), api.listen_path.trim_end_matches('/').to_owned());
        if let Some(other) = places.insert(place, api.name.clone()) {
            let message = format!("`{other}` listens on this host and path already");
            compiler.findings.at(raw.listen_path.span(), message);
        }
        apis.push(Arc::new(api));
    }
    apis
}

fn api(compiler: &mut Compiler<'_>, spanned: &Spanned<raw::Api>) -> Option<Api> {
    let raw = spanned.get_ref();
    let name = raw.name.get_ref();
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
        compiler.findings.at(raw.name.span(), "an API's name is letters, digits, - _ .");
    }
    let listen_path = raw.listen_path.get_ref();
    if !listen_path.starts_with('/') || crate::proxy::normalise(listen_path) != *listen_path {
        compiler.findings.at(raw.listen_path.span(), "a listen path starts with / and is in normal form");
    }
    let auth = raw.auth.as_ref().and_then(|auth| auth::auth(compiler, auth, name));
    let limits: Vec<_> =
        raw.limits.iter().filter_map(|row| limit_row(compiler, row, raw.auth.is_some())).collect();
    let lifts = raw.auth.as_ref().and_then(|auth| auth.get_ref().lift_client_limit.as_ref());
    if let Some(lift) = lifts.filter(|lift| *lift.get_ref())
        && !limits.iter().any(|row| row.key.is_identitys())
    {
        let message = "`lift_client_limit` needs a row of `limits` by credential, subject or claim instead";
        compiler.findings.at(lift.span(), message);
    }
    Some(Api {
        name: name.as_str().into(),
        host: raw.host.as_ref().map(|host| host.get_ref().to_ascii_lowercase().into()),
        listen_path: listen_path.as_str().into(),
        strip_listen_path: raw.strip_listen_path.as_ref().is_some_and(|strip| *strip.get_ref()),
        answer: answer(compiler, spanned)?,
        auth,
        limits,
        shaping: shaping::shaping(compiler, raw),
        body: body_bound(compiler, &raw.body_bytes),
        client_certificate: compiler
            .word(&raw.client_certificate, "client_certificate", &CERTIFICATES)
            .unwrap_or_default(),
        request_total: raw.request_total.as_ref().and_then(|total| compiler.time(total)),
    })
}

/// Nobody could ever show one.
pub(super) fn refuse_certificates(compiler: &mut Compiler<'_>, raw: &[Spanned<raw::Api>]) {
    for word in raw.iter().filter_map(|api| api.get_ref().client_certificate.as_ref()) {
        if word.get_ref() == "required" {
            let message = "no [[listener]] asks for certificates: give one `tls.client_ca`";
            compiler.findings.at(word.span(), message);
        }
    }
}

fn body_bound(compiler: &mut Compiler<'_>, raw: &raw::Text) -> BodyBound {
    match compiler.body_bytes(raw) {
        None => BodyBound::AsAll,
        Some(None) => BodyBound::Unlimited,
        Some(Some(bytes)) => BodyBound::AtMost(bytes),
    }
}

fn answer(compiler: &mut Compiler<'_>, spanned: &Spanned<raw::Api>) -> Option<Answer> {
    let raw = spanned.get_ref();
    match (&raw.respond, &raw.upstreams, &raw.redirect) {
        (Some(respond), None, None) => {
            upstreams::refuse_all(compiler, raw);
            Some(Answer::Respond(static_answer(compiler, respond.get_ref())?))
        }
        (None, None, Some(redirect)) => {
            upstreams::refuse_all(compiler, raw);
            Some(Answer::Redirect(shaping::redirect(compiler, redirect.get_ref())?))
        }
        (None, Some(upstreams), None) => {
            Some(Answer::Forward(upstreams::forwarding(compiler, raw, upstreams)))
        }
        (None, None, None) => {
            let span = raw.name.span();
            compiler.findings.at(span, "an API needs `upstreams`, `respond` or `redirect`");
            None
        }
        (respond, _, redirect) => {
            let span = respond.as_ref().map(Spanned::span).or(redirect.as_ref().map(Spanned::span));
            let message = "an API has one of `upstreams`, `respond` and `redirect`";
            compiler.findings.at(span.unwrap_or(raw.name.span()), message);
            None
        }
    }
}

fn static_answer(compiler: &mut Compiler<'_>, raw: &raw::Respond) -> Option<StaticAnswer> {
    let status = compiler.number(&raw.status, "status", 200..=599)?;
    let content_type = match &raw.content_type {
        Some(text) if text.get_ref().bytes().all(|byte| (b' '..=b'~').contains(&byte)) => {
            text.get_ref().as_str()
        }
        Some(text) => {
            compiler.findings.at(text.span(), "`content_type` is printable ASCII");
            return None;
        }
        None => "text/plain; charset=utf-8",
    };
    Some(StaticAnswer {
        status: u16::try_from(status).ok()?,
        body: raw.body.as_str().into(),
        content_type: content_type.into(),
    })
}

fn limit_row(compiler: &mut Compiler<'_>, raw: &raw::LimitRow, has_auth: bool) -> Option<LimitRow> {
    let key = limit_key(raw.key.get_ref());
    match &key {
        None => {
            let message = "`key` is one of client, credential, subject, claim:NAME, api";
            compiler.findings.at(raw.key.span(), message);
        }
        Some(key) if key.is_identitys() && !has_auth => {
            compiler.findings.at(raw.key.span(), format!("a limit by {} needs `auth`", raw.key.get_ref()));
        }
        Some(_) => {}
    }
    let rate = compiler.rate(&raw.rate, &raw.burst)?;
    Some(LimitRow { key: key?, rate })
}

fn limit_key(word: &str) -> Option<LimitKey> {
    match word {
        "client" => Some(LimitKey::Client),
        "credential" => Some(LimitKey::Credential),
        "subject" => Some(LimitKey::Subject),
        "api" => Some(LimitKey::Api),
        word => {
            let name = word.strip_prefix("claim:")?;
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/".contains(&byte);
            (!name.is_empty() && name.bytes().all(is_name)).then(|| LimitKey::Claim(name.into()))
        }
    }
}
