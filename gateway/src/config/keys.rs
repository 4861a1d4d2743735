//! keys.toml: names of API keys and the SHA-256 of each; the keys themselves stand nowhere.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use super::Errors;
use super::error::{Findings, from_toml};
use super::raw::Keys;
use crate::model::KeyRow;

pub(super) fn load(file: &Path) -> Result<Arc<[KeyRow]>, Errors> {
    let text = std::fs::read_to_string(file).map_err(|error| Errors::unreadable(file, &error))?;
    let raw: Keys = toml::from_str(&text).map_err(|error| from_toml(&text, file, &error))?;
    let mut findings = Findings::new(&text, file);
    let (mut names, mut digests) = (HashSet::new(), HashSet::new());
    let mut rows = Vec::new();
    for key in &raw.key {
        let name: &str = key.name.get_ref();
        if name.is_empty() || !names.insert(name.to_owned()) {
            findings.at(key.name.span(), format!("key name `{name}` is empty or stands twice"));
        }
        match digest(key.sha256.get_ref()) {
            Some(sha256) if digests.insert(sha256) => rows.push(KeyRow { name: name.into(), sha256 }),
            Some(_) => findings.at(key.sha256.span(), "this hash stands twice"),
            None => findings
                .at(key.sha256.span(), "`sha256` is 64 hex digits: `printf %s KEY | sha256sum` prints them"),
        }
    }
    findings.finish()?;
    Ok(rows.into())
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
