//! `upstreams` of an `[[api]]`, and how they are used.

use toml::{Spanned, Value};

use super::compile::{Compiler, not_supported};
use crate::model::{Forwarding, Upstream};

const WEIGHT_MAX: i64 = 1_000;

pub(super) fn forwarding(compiler: &mut Compiler<'_>, raw: &Spanned<Vec<Spanned<Value>>>) -> Forwarding {
    if raw.get_ref().is_empty() {
        compiler.findings.at(raw.span(), "`upstreams` names at least one");
    }
    Forwarding { upstreams: raw.get_ref().iter().filter_map(|raw| upstream(compiler, raw)).collect() }
}

/// `"http://host:port/path"` or `{ url, weight }`.
fn upstream(compiler: &mut Compiler<'_>, raw: &Spanned<Value>) -> Option<Upstream> {
    let (url, weight) = match raw.get_ref() {
        Value::String(url) => (url.as_str(), 1),
        Value::Table(table) if table.keys().all(|key| key == "url" || key == "weight") => {
            let weight = table.get("weight").map_or(Some(1), Value::as_integer);
            match (table.get("url").and_then(Value::as_str), weight) {
                (Some(url), Some(weight)) => (url, weight),
                _ => ("", 0),
            }
        }
        _ => ("", 0),
    };
    if url.starts_with("https://") || url.starts_with("h2c://") {
        compiler.findings.at(raw.span(), not_supported("an https or h2c upstream"));
        return None;
    }
    let parsed = url.strip_prefix("http://").and_then(|rest| {
        let (authority, path) = rest.split_at_checked(rest.find('/').unwrap_or(rest.len()))?;
        is_authority(authority).then_some((authority, path.trim_end_matches('/')))
    });
    let (Some((authority, path)), 1..=WEIGHT_MAX) = (parsed, weight) else {
        let message = format!(
            "an upstream is \"http://HOST:PORT/PATH\" or {{ url = \"..\", weight = 1 to {WEIGHT_MAX} }}"
        );
        compiler.findings.at(raw.span(), message);
        return None;
    };
    Some(Upstream { authority: authority.into(), path: path.into(), weight: u32::try_from(weight).ok()? })
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
