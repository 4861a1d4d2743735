//! `hmac = { file, components, max_age, nonce }`, and the file's rows `[[signer]]`.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use base64ct::{Base64, Encoding as _};
use serde::Deserialize;
use toml::Spanned;

use crate::config::Errors;
use crate::config::compile::Compiler;
use crate::config::error::{Findings, from_toml};
use crate::config::keys::{self, Known, Who};
use crate::config::raw::{Any, Fields, Flag, Text, Texts};
use crate::model::{HmacAuth, Secret, SignerRow};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Raw {
    pub file: Spanned<String>,
    pub components: Texts,
    pub max_age: Text,
    pub nonce: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signers {
    #[serde(default)]
    pub signer: Vec<Signer>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signer {
    pub name: Spanned<String>,
    pub secret: Spanned<String>,
    #[serde(default)]
    pub policies: Vec<Spanned<String>>,
    pub expires: Any,
    #[serde(default)]
    pub metadata: Fields,
    pub disabled: Flag,
}

const COMPONENTS: [&str; 4] = ["@method", "@authority", "@path", "@query"];
const DERIVED: [&str; 7] =
    ["@method", "@authority", "@path", "@query", "@scheme", "@request-target", "@target-uri"];
const MAX_AGE: Duration = Duration::from_secs(300);
/// Nonces are remembered as long.
const MAX_AGE_MAX: Duration = Duration::from_secs(3_600);
/// Shorter secrets can be guessed (RFC 2104 section 3).
const SECRET_BYTES_MIN: usize = 16;
const SECRET_BYTES_MAX: usize = 256;

pub(super) fn compile(compiler: &mut Compiler<'_>, raw: &Raw) -> Option<HmacAuth> {
    const NONCE: [(&str, bool); 2] = [("optional", false), ("required", true)];
    let mut components: Vec<_> = COMPONENTS.map(Into::into).to_vec();
    if let Some(named) = &raw.components {
        components = named.iter().map(|name| name.get_ref().to_ascii_lowercase().into()).collect();
        for name in named.iter().filter(|name| name.get_ref().starts_with('@')) {
            if !DERIVED.contains(&name.get_ref().as_str()) {
                let message = format!("of the derived components {} are known", DERIVED.join(", "));
                compiler.findings.at(name.span(), message);
            }
        }
    }
    let max_age = raw.max_age.as_ref().and_then(|text| {
        let time = compiler.time(text)?;
        if time > MAX_AGE_MAX {
            compiler.findings.at(text.span(), "`max_age` is at most 1h: nonces are remembered as long");
        }
        Some(time)
    });
    let needs_nonce = compiler.word(&raw.nonce, "nonce", &NONCE).unwrap_or(false);
    let rows = super::rows_of(compiler, &raw.file, signers)?;
    Some(HmacAuth { rows, components, max_age: max_age.unwrap_or(MAX_AGE), needs_nonce })
}

fn signers(text: &str, file: &Path, known: &Known<'_>) -> Result<Vec<SignerRow>, Errors> {
    let raw: Signers = toml::from_str(text).map_err(|error| from_toml(text, file, &error))?;
    let mut findings = Findings::new(text, file);
    keys::check_length(&mut findings, &raw.signer, known);
    let (mut names, mut rows) = (HashSet::new(), Vec::new());
    for row in &raw.signer {
        let Signer { name, policies, expires, metadata, disabled, secret } = row;
        let who = Who { name, policies, expires, metadata, disabled };
        let holder = keys::holder(&mut findings, &who, &mut names, known);
        let bytes = Base64::decode_vec(secret.get_ref()).unwrap_or_default();
        if !(SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&bytes.len()) {
            findings.at(
                secret.span(),
                "`secret` is base64 of 16 to 256 bytes: `openssl rand -base64 32` prints one",
            );
        }
        rows.push(SignerRow { holder, secret: Secret::new(&bytes) });
    }
    findings.finish()?;
    Ok(rows)
}
