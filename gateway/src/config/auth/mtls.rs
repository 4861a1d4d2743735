//! `mtls = { file, any }`, and the file's rows `[[certificate]]`.

use std::collections::HashSet;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use crate::config::Errors;
use crate::config::compile::Compiler;
use crate::config::error::{Findings, from_toml};
use crate::config::keys::{self, Known, Who};
use crate::config::raw::{Any, Fields, Flag, Text};
use crate::model::{CertificateMatch, CertificateRow, MtlsAuth};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Raw {
    pub file: Text,
    pub any: Flag,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificates {
    #[serde(default)]
    pub certificate: Vec<Certificate>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    pub name: Spanned<String>,
    pub sha256: Text,
    pub san: Text,
    pub subject: Text,
    #[serde(default)]
    pub policies: Vec<Spanned<String>>,
    pub expires: Any,
    #[serde(default)]
    pub metadata: Fields,
    pub disabled: Flag,
}

const KINDS: [&str; 4] = ["dns:", "uri:", "email:", "ip:"];

pub(super) fn compile(compiler: &mut Compiler<'_>, spanned: &Spanned<Raw>) -> Option<MtlsAuth> {
    let raw = spanned.get_ref();
    let any = raw.any.as_ref().is_some_and(|any| *any.get_ref());
    let rows = match &raw.file {
        Some(file) => super::rows_of(compiler, file, certificates)?,
        None => {
            if !any {
                let message = "`mtls` needs a `file` of certificates, or `any = true`";
                compiler.findings.at(spanned.span(), message);
            }
            [].into()
        }
    };
    Some(MtlsAuth { rows, any })
}

fn certificates(text: &str, file: &Path, known: &Known<'_>) -> Result<Vec<CertificateRow>, Errors> {
    let raw: Certificates = toml::from_str(text).map_err(|error| from_toml(text, file, &error))?;
    let mut findings = Findings::new(text, file);
    keys::check_length(&mut findings, &raw.certificate, known);
    let (mut names, mut rows) = (HashSet::new(), Vec::<CertificateRow>::new());
    for row in &raw.certificate {
        let Certificate { name, policies, expires, metadata, disabled, .. } = row;
        let who = Who { name, policies, expires, metadata, disabled };
        let holder = keys::holder(&mut findings, &who, &mut names, known);
        let Some(by) = by(&mut findings, row) else { continue };
        if rows.iter().any(|other| other.by == by) {
            findings.at(name.span(), "another row knows its certificate by the same");
        }
        rows.push(CertificateRow { holder, by });
    }
    findings.finish()?;
    Ok(rows)
}

fn by(findings: &mut Findings<'_>, row: &Certificate) -> Option<CertificateMatch> {
    match (&row.sha256, &row.san, &row.subject) {
        (Some(digest), None, None) => {
            // As `openssl x509 -fingerprint -sha256` prints it, too.
            let sha256 = keys::digest(&digest.get_ref().replace(':', "").to_ascii_lowercase());
            if sha256.is_none() {
                findings.at(digest.span(), "`sha256` is 64 hex digits: `openssl x509 -in a.crt -noout -fingerprint -sha256` prints them");
            }
            sha256.map(CertificateMatch::Sha256)
        }
        (None, Some(san), None) => {
            if !KINDS.iter().any(|kind| san.get_ref().starts_with(kind)) {
                findings.at(san.span(), "`san` begins with dns:, uri:, email: or ip:");
            }
            Some(CertificateMatch::Name(san.get_ref().as_str().into()))
        }
        (None, None, Some(subject)) => Some(CertificateMatch::Subject(subject.get_ref().as_str().into())),
        _ => {
            findings.at(row.name.span(), "a certificate is known by one of `sha256`, `san` and `subject`");
            None
        }
    }
}
