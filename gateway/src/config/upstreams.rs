//! `upstreams` of an `[[api]]`, and how they are used.

use std::sync::Arc;
use std::time::Duration;

use toml::{Spanned, Value};

use super::compile::Compiler;
use super::{raw, upstream_tls};
use crate::model::{
    Admit, BalanceBy, Check, Eject, Forwarding, Question, Retry, Speaks, Upstream, UpstreamTls,
};
use crate::proxy::check_upstream_tls;

const WEIGHT_MAX: i64 = 1_000;

/// Of `in_flight`: more than descriptors allow.
const IN_FLIGHT_MAX: u64 = 1 << 20;
/// Each waits with its connection, its request half read.
const QUEUE_MAX: u64 = 65_536;
const RETRIES_MAX: u64 = 5;
const RESERVE_MAX: u64 = 100_000;
const FAILURES_MAX: u64 = 1_000;
/// More often would be a load.
const CHECK_EVERY_MIN: Duration = Duration::from_millis(100);
/// Its length is one byte in the question.
const GRPC_SERVICE_BYTES_MAX: usize = 127;
/// Good or bad checks in a row.
const CHECKS_MAX: u64 = 100;

pub(super) fn forwarding(
    compiler: &mut Compiler<'_>,
    raw: &raw::Api,
    upstreams: &Spanned<Vec<Spanned<Value>>>,
) -> Forwarding {
    if upstreams.get_ref().is_empty() {
        compiler.findings.at(upstreams.span(), "`upstreams` names at least one");
    }
    let wants_tls =
        upstreams.get_ref().iter().any(|raw| scheme(url_and_weight(raw).0).is_some_and(|one| one.is_tls));
    let tls = upstream_tls::upstream_tls(compiler, raw.upstream_tls.as_ref(), wants_tls, upstreams.span());
    let upstreams: Vec<Upstream> =
        upstreams.get_ref().iter().filter_map(|raw| upstream(compiler, raw, tls.as_ref())).collect();
    let has_http2 = upstreams.iter().any(|one| one.speaks == Speaks::Http2);
    if let Some(path) =
        raw.check.as_ref().and_then(|check| check.get_ref().path.as_ref()).filter(|_| has_http2)
    {
        let message = "checks of a path speak HTTP/1: take `grpc`, or leave it out, a connection is enough";
        compiler.findings.at(path.span(), message);
    }
    let has_http1 = upstreams.iter().any(|one| one.speaks == Speaks::Http1);
    if let Some(service) =
        raw.check.as_ref().and_then(|check| check.get_ref().grpc.as_ref()).filter(|_| has_http1)
    {
        compiler.findings.at(service.span(), "gRPC speaks HTTP/2: write upstreams as h2c:// or h2://");
    }
    Forwarding {
        upstreams,
        balance: balance(compiler, raw.balance.as_ref()),
        slow_start: raw.slow_start.as_ref().and_then(|time| compiler.time(time)).unwrap_or_default(),
        eject: eject(compiler, raw.eject.as_ref().map(Spanned::get_ref)),
        admit: admit(compiler, raw.in_flight.as_ref().map(Spanned::get_ref)),
        retry: retry(compiler, raw.retry.as_ref().map(Spanned::get_ref)),
        check: raw.check.as_ref().map(|raw| check(compiler, raw)),
    }
}

/// Of an API that answers by itself.
pub(super) fn refuse_all(compiler: &mut Compiler<'_>, raw: &raw::Api) {
    let spans = [
        raw.upstream_tls.as_ref().map(Spanned::span),
        raw.balance.as_ref().map(Spanned::span),
        raw.slow_start.as_ref().map(Spanned::span),
        raw.eject.as_ref().map(Spanned::span),
        raw.in_flight.as_ref().map(Spanned::span),
        raw.retry.as_ref().map(Spanned::span),
        raw.check.as_ref().map(Spanned::span),
    ];
    for span in spans.into_iter().flatten() {
        compiler.findings.at(span, "this says how `upstreams` are used, and there are none");
    }
}

/// A word, or `{ header_hash = "NAME" }`.
fn balance(compiler: &mut Compiler<'_>, raw: Option<&Spanned<Value>>) -> BalanceBy {
    let Some(raw) = raw else { return BalanceBy::default() };
    let header = |table: &toml::Table| {
        let name = table.get("header_hash")?.as_str()?;
        let is_name = !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        (table.len() == 1 && is_name).then(|| BalanceBy::HeaderHash(name.to_ascii_lowercase().into()))
    };
    let found = match raw.get_ref() {
        Value::String(word) => match word.as_str() {
            "round_robin" => Some(BalanceBy::RoundRobin),
            "least_pending" => Some(BalanceBy::LeastPending),
            "client_hash" => Some(BalanceBy::ClientHash),
            _ => None,
        },
        Value::Table(table) => header(table),
        _ => None,
    };
    if found.is_none() {
        let message = "`balance` is round_robin, least_pending, client_hash or { header_hash = \"NAME\" }";
        compiler.findings.at(raw.span(), message);
    }
    found.unwrap_or_default()
}

fn eject(compiler: &mut Compiler<'_>, raw: Option<&raw::Eject>) -> Eject {
    let mut eject = Eject::default();
    let Some(raw) = raw else { return eject };
    eject.failures = compiler.within(&raw.failures, "failures", 0..=FAILURES_MAX).unwrap_or(eject.failures);
    eject.percent = compiler.within(&raw.percent, "percent", 0..=100).unwrap_or(eject.percent);
    if let Some(statuses) = &raw.statuses {
        let statuses = statuses.iter().filter_map(|raw| compiler.number(raw, "statuses", 500..=599));
        eject.statuses = statuses.filter_map(|status| u16::try_from(status).ok()).collect();
    }
    for (text, field) in [(&raw.time, &mut eject.time), (&raw.most, &mut eject.most)] {
        *field = text.as_ref().and_then(|text| compiler.time(text)).unwrap_or(*field);
    }
    if let Some(time) = raw.time.as_ref().or(raw.most.as_ref()).filter(|_| eject.most < eject.time) {
        compiler.findings.at(time.span(), "`time` is longer than `most`");
    }
    eject
}

fn admit(compiler: &mut Compiler<'_>, raw: Option<&raw::InFlight>) -> Admit {
    let mut admit = Admit::default();
    let Some(raw) = raw else { return admit };
    admit.in_flight = compiler.within(&raw.most, "most", 1..=IN_FLIGHT_MAX).unwrap_or(admit.in_flight);
    admit.queue = compiler.within(&raw.queue, "queue", 0..=QUEUE_MAX).unwrap_or(admit.queue);
    admit.wait = raw.wait.as_ref().and_then(|wait| compiler.time(wait)).unwrap_or(admit.wait);
    admit
}

fn check(compiler: &mut Compiler<'_>, spanned: &Spanned<raw::Check>) -> Check {
    let (mut check, raw) = (Check::default(), spanned.get_ref());
    if let Some(path) = &raw.path {
        let is_path =
            path.get_ref().starts_with('/') && path.get_ref().bytes().all(|byte| byte.is_ascii_graphic());
        if !is_path {
            compiler.findings.at(path.span(), "`path` starts with / and is printable ASCII");
        }
        check.question = Question::Http(path.get_ref().as_str().into());
    }
    if let Some(service) = &raw.grpc {
        let name = service.get_ref();
        if name.len() > GRPC_SERVICE_BYTES_MAX || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
            let message =
                format!("`grpc` is a service's name, {GRPC_SERVICE_BYTES_MAX} bytes at most, or \"\"");
            compiler.findings.at(service.span(), message);
        }
        if raw.path.is_some() {
            compiler.findings.at(service.span(), "a check has `path` or `grpc`");
        }
        check.question = Question::Grpc(name.as_str().into());
    }
    for (text, field) in [(&raw.every, &mut check.every), (&raw.timeout, &mut check.timeout)] {
        *field = text.as_ref().and_then(|text| compiler.time(text)).unwrap_or(*field);
    }
    if check.every < CHECK_EVERY_MIN {
        compiler.findings.at(spanned.span(), "`every` is at least 100ms");
    }
    check.up = compiler.within(&raw.up, "up", 1..=CHECKS_MAX).unwrap_or(check.up);
    check.down = compiler.within(&raw.down, "down", 1..=CHECKS_MAX).unwrap_or(check.down);
    check
}

fn retry(compiler: &mut Compiler<'_>, raw: Option<&raw::Retry>) -> Retry {
    let mut retry = Retry::default();
    let Some(raw) = raw else { return retry };
    retry.times = compiler.within(&raw.times, "times", 0..=RETRIES_MAX).unwrap_or(retry.times);
    retry.percent = compiler.within(&raw.percent, "percent", 0..=100).unwrap_or(retry.percent);
    retry.reserve = compiler.within(&raw.reserve, "reserve", 0..=RESERVE_MAX).unwrap_or(retry.reserve);
    retry
}

/// `"URL"` or `{ url, weight }`; anything else has no URL.
fn url_and_weight(raw: &Spanned<Value>) -> (&str, i64) {
    match raw.get_ref() {
        Value::String(url) => (url.as_str(), 1),
        Value::Table(table) if table.keys().all(|key| key == "url" || key == "weight") => {
            let weight = table.get("weight").map_or(Some(1), Value::as_integer);
            match (table.get("url").and_then(Value::as_str), weight) {
                (Some(url), Some(weight)) => (url, weight),
                _ => ("", 0),
            }
        }
        _ => ("", 0),
    }
}

struct Scheme {
    prefix: &'static str,
    is_tls: bool,
    speaks: Speaks,
}

const SCHEMES: [Scheme; 4] = [
    Scheme { prefix: "http://", is_tls: false, speaks: Speaks::Http1 },
    Scheme { prefix: "https://", is_tls: true, speaks: Speaks::Http1 },
    Scheme { prefix: "h2c://", is_tls: false, speaks: Speaks::Http2 },
    Scheme { prefix: "h2://", is_tls: true, speaks: Speaks::Http2 },
];

fn scheme(url: &str) -> Option<&'static Scheme> {
    SCHEMES.iter().find(|scheme| url.starts_with(scheme.prefix))
}

/// Over TLS.
const PORT: &str = "443";

/// `"http://host:port/path"`, one of the other schemes, or `{ url, weight }`.
fn upstream(
    compiler: &mut Compiler<'_>,
    raw: &Spanned<Value>,
    tls: Option<&Arc<UpstreamTls>>,
) -> Option<Upstream> {
    let (url, weight) = url_and_weight(raw);
    let parsed = scheme(url).and_then(|scheme| {
        let rest = url.strip_prefix(scheme.prefix)?;
        let (authority, path) = rest.split_at_checked(rest.find('/').unwrap_or(rest.len()))?;
        is_authority(authority).then_some((scheme, authority, path.trim_end_matches('/')))
    });
    let (Some((scheme, authority, path)), 1..=WEIGHT_MAX) = (parsed, weight) else {
        let message = format!(
            "an upstream is \"http://HOST:PORT/PATH\", \"https://..\", \"h2c://..\", \"h2://..\" or {{ url = \"..\", weight = 1 to {WEIGHT_MAX} }}"
        );
        compiler.findings.at(raw.span(), message);
        return None;
    };
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let authority =
        if scheme.is_tls && !has_port { format!("{authority}:{PORT}") } else { authority.to_owned() };
    // What is wrong with `upstream_tls` is noted.
    let tls = if scheme.is_tls { Some(Arc::clone(tls?)) } else { None };
    if let Some(Err(error)) = tls.as_deref().map(|tls| check_upstream_tls(tls, &authority)) {
        compiler.findings.at(raw.span(), format!("no TLS to this upstream: {error}"));
    }
    let weight = u32::try_from(weight).ok()?;
    Some(Upstream { authority: authority.into(), path: path.into(), weight, tls, speaks: scheme.speaks })
}

fn is_authority(text: &str) -> bool {
    let host = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            if port.parse::<u16>().is_err() {
                return false;
            }
            host
        }
        _ => text,
    };
    !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._[]:".contains(&byte))
}
