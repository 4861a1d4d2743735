//! keys.toml: names of API keys and the SHA-256 of each; the keys themselves stand nowhere.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use toml::{Spanned, Value};

use super::Errors;
use super::error::{Findings, from_toml};
use super::raw::{Any, Fields, Flag, Key, Keys};
use crate::model::{Holder, KeyRow};

/// What a row may refer to.
pub(super) struct Known<'a> {
    /// Names of policies.
    pub policies: &'a HashSet<String>,
    /// Rows of a file.
    pub most: u32,
}

/// Bytes of one credential's metadata, names and values.
const METADATA_BYTES_MAX: usize = 512;
const NAME_BYTES_MAX: usize = 64;
const POLICIES_MAX: usize = 16;

pub(super) fn load(file: &Path, known: &Known<'_>) -> Result<Arc<[KeyRow]>, Errors> {
    let text = std::fs::read_to_string(file).map_err(|error| Errors::unreadable(file, &error))?;
    parse(&text, file, known)
}

/// As [`load`], from a text.
pub(super) fn parse(text: &str, file: &Path, known: &Known<'_>) -> Result<Arc<[KeyRow]>, Errors> {
    let raw: Keys = toml::from_str(text).map_err(|error| from_toml(text, file, &error))?;
    let mut findings = Findings::new(text, file);
    let (mut names, mut digests) = (HashSet::new(), HashSet::new());
    check_length(&mut findings, &raw.key, known);
    let mut rows = Vec::new();
    for key in &raw.key {
        let holder = holder(&mut findings, &key.who(), &mut names, known);
        match digest(key.sha256.get_ref()) {
            Some(sha256) if digests.insert(sha256) => {
                let previous = previous(&mut findings, key, &mut digests);
                rows.push(KeyRow { holder, sha256, previous });
            }
            Some(_) => findings.at(key.sha256.span(), "this hash stands twice"),
            None => findings
                .at(key.sha256.span(), "`sha256` is 64 hex digits: `printf %s KEY | sha256sum` prints them"),
        }
    }
    findings.finish()?;
    Ok(rows.into())
}

/// It goes to logs, and to upstreams where a header says so.
fn name(findings: &mut Findings<'_>, name: &Spanned<String>, names: &mut HashSet<String>) {
    let text = name.get_ref();
    if !names.insert(text.clone()) {
        findings.at(name.span(), format!("key name `{text}` stands twice"));
    }
    if !is_name(text) {
        findings.at(name.span(), format!("a name is 1 to {NAME_BYTES_MAX} printable letters of ASCII"));
    }
}

/// Whether a credential may be called so.
pub fn is_name(text: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| (b'!'..=b'~').contains(&byte))
}

/// What rows of every kind of credential have in common, as it is written.
pub(super) struct Who<'a> {
    pub name: &'a Spanned<String>,
    pub policies: &'a [Spanned<String>],
    pub expires: &'a Any,
    pub metadata: &'a Fields,
    pub disabled: &'a Flag,
}

impl Key {
    fn who(&self) -> Who<'_> {
        let Self { name, policies, expires, metadata, disabled, .. } = self;
        Who { name, policies, expires, metadata, disabled }
    }
}

pub(super) fn holder(
    findings: &mut Findings<'_>,
    who: &Who<'_>,
    names: &mut HashSet<String>,
    known: &Known<'_>,
) -> Holder {
    name(findings, who.name, names);
    Holder {
        name: who.name.get_ref().as_str().into(),
        policies: policies(findings, who.policies, known),
        expires_s: expires(findings, who.expires),
        metadata: metadata(findings, who.metadata),
        disabled: who.disabled.as_ref().is_some_and(|disabled| *disabled.get_ref()),
    }
}

/// A file of credentials: not more rows than there may be.
pub(super) fn check_length<T>(findings: &mut Findings<'_>, rows: &[T], known: &Known<'_>) {
    if rows.len() > known.most as usize {
        findings.at(0..0, format!("more than {} credentials: raise [auth] credentials", known.most));
    }
}

fn previous(
    findings: &mut Findings<'_>,
    key: &Key,
    digests: &mut HashSet<[u8; 32]>,
) -> Option<([u8; 32], u64)> {
    let raw = key.previous.as_ref()?;
    let until_s = expires(findings, &Some(raw.until.clone()))?;
    match digest(raw.sha256.get_ref()) {
        Some(sha256) if digests.insert(sha256) => Some((sha256, until_s)),
        Some(_) => {
            findings.at(raw.sha256.span(), "this hash stands twice");
            None
        }
        None => {
            findings.at(raw.sha256.span(), "`sha256` is 64 hex digits");
            None
        }
    }
}

fn policies(findings: &mut Findings<'_>, names: &[Spanned<String>], known: &Known<'_>) -> Box<[Arc<str>]> {
    if let Some(beyond) = names.get(POLICIES_MAX) {
        findings.at(beyond.span(), format!("a credential has at most {POLICIES_MAX} policies"));
    }
    for name in names.iter().filter(|name| !known.policies.contains(name.get_ref())) {
        findings.at(name.span(), format!("no [[policy]] is named `{}`", name.get_ref()));
    }
    names.iter().map(|name| name.get_ref().as_str().into()).collect()
}

/// A moment with its offset, as a text or as TOML writes it.
fn expires(findings: &mut Findings<'_>, raw: &Any) -> Option<u64> {
    let raw = raw.as_ref()?;
    let text = match raw.get_ref() {
        Value::String(text) => text.clone(),
        Value::Datetime(moment) => moment.to_string(),
        _ => String::new(),
    };
    let Ok(moment) = text.parse::<jiff::Timestamp>() else {
        findings.at(raw.span(), "`expires` is a moment, as in 2027-01-31T12:00:00Z");
        return None;
    };
    Some(u64::try_from(moment.as_second()).unwrap_or(0))
}

fn metadata(findings: &mut Findings<'_>, fields: &Fields) -> Box<[(Arc<str>, Arc<str>)]> {
    let mut bytes = 0;
    for (name, value) in fields {
        bytes += name.get_ref().len() + value.get_ref().len();
        if bytes > METADATA_BYTES_MAX {
            let message = format!("`metadata` of one credential is at most {METADATA_BYTES_MAX} bytes");
            findings.at(value.span(), message);
            break;
        }
        if !value.get_ref().bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            findings.at(value.span(), "metadata is printable ASCII: it may go into a header");
        }
    }
    let pair = |(name, value): (&Spanned<String>, &Spanned<String>)| {
        (Arc::from(name.get_ref().as_str()), Arc::from(value.get_ref().as_str()))
    };
    fields.iter().map(pair).collect()
}

/// SHA-256 in hex.
pub(super) fn digest(hex: &str) -> Option<[u8; 32]> {
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    let mut digest = [0; 32];
    for (idx, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(2 * idx..2 * idx + 2)?, 16).ok()?;
    }
    Some(digest)
}
