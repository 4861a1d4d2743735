//! `tls` of a `[[listener]]`: PEM files read, keys and certificates fitted together.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use toml::Spanned;

use super::compile::Compiler;
use super::error::nearest;
use super::raw;
use crate::proxy::{Certificate, ClientAuth, MinVersion, SuiteName, Tls, TlsFault, TlsParts};

/// Larger is no PEM file of certificates, nor an OCSP response.
const FILE_BYTES_MAX: u64 = 4 << 20;

const VERSIONS: [(&str, MinVersion); 2] = [("1.2", MinVersion::Tls12), ("1.3", MinVersion::Tls13)];

#[derive(Clone, Copy)]
enum Wanted {
    Optional,
    Required,
}

const CLIENT_AUTH: [(&str, Wanted); 2] = [("required", Wanted::Required), ("optional", Wanted::Optional)];

pub(super) fn tls(compiler: &mut Compiler<'_>, spanned: &Spanned<raw::Tls>) -> Option<Arc<Tls>> {
    let raw = spanned.get_ref();
    let rows = raw.certificates.get_ref();
    if rows.is_empty() {
        let message = "`certificates` names at least one, as in [{ cert = \"a.crt\", key = \"a.key\" }]";
        compiler.findings.at(raw.certificates.span(), message);
    }
    let certificates: Vec<_> = rows.iter().map(|row| certificate(compiler, row)).collect();
    let client_auth = client_auth(compiler, raw);
    let min_version = compiler.word(&raw.min_version, "min_version", &VERSIONS).unwrap_or_default();
    let suites: Vec<_> = raw.suites.iter().flatten().map(|name| suite(compiler, name)).collect();
    // What could not be read is noted.
    let parts = TlsParts {
        certificates: certificates.into_iter().collect::<Option<Vec<_>>>().filter(|all| !all.is_empty())?,
        client_auth: client_auth?,
        min_version,
        suites: suites.into_iter().collect::<Option<_>>()?,
    };
    match Tls::new(parts) {
        Ok(tls) => Some(Arc::new(tls)),
        Err(fault) => {
            let span = match &fault {
                TlsFault::Certificate(idx, _) => rows.get(*idx).map(|row| row.cert.span()),
                TlsFault::ClientCa(_) => raw.client_ca.as_ref().map(Spanned::span),
                TlsFault::Suites(_) => raw.suites.as_ref().and_then(|names| Some(names.first()?.span())),
            };
            compiler.findings.at(span.unwrap_or(spanned.span()), fault.to_string());
            None
        }
    }
}

fn certificate(compiler: &mut Compiler<'_>, raw: &raw::Certificate) -> Option<Certificate> {
    let chain = certificates(compiler, &raw.cert);
    let key = pem_file(compiler, &raw.key).and_then(|(file, pem)| {
        let key = PrivateKeyDer::from_pem_slice(&pem);
        pem_item(compiler, &raw.key, &file, key, "private key (BEGIN PRIVATE KEY)")
    });
    let ocsp = match &raw.ocsp {
        Some(file) => Some(pem_file(compiler, file)?.1),
        None => None,
    };
    Some(Certificate { name: raw.cert.get_ref().clone(), chain: chain?, key: key?, ocsp })
}

/// All certificates of a file, at least one.
pub(super) fn certificates(
    compiler: &mut Compiler<'_>,
    raw: &Spanned<String>,
) -> Option<Vec<CertificateDer<'static>>> {
    let (file, pem) = pem_file(compiler, raw)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let all = all.and_then(|all| if all.is_empty() { Err(PemError::NoItemsFound) } else { Ok(all) });
    pem_item(compiler, raw, &file, all, "certificate (BEGIN CERTIFICATE)")
}

pub(super) fn pem_item<T>(
    compiler: &mut Compiler<'_>,
    raw: &Spanned<String>,
    file: &Path,
    item: Result<T, PemError>,
    what: &str,
) -> Option<T> {
    let message = match item {
        Ok(item) => return Some(item),
        Err(PemError::NoItemsFound) => format!("{} holds no {what}", file.display()),
        Err(error) => format!("{} is no PEM file: {error}", file.display()),
    };
    compiler.findings.at(raw.span(), message);
    None
}

/// A file's bytes; it is followed from now on.
pub(super) fn pem_file(compiler: &mut Compiler<'_>, raw: &Spanned<String>) -> Option<(PathBuf, Vec<u8>)> {
    let file = compiler.folder.join(raw.get_ref());
    if !compiler.also.contains(&file) {
        compiler.also.push(file.clone());
    }
    let length = std::fs::metadata(&file).map(|facts| facts.len());
    let read = match length {
        Ok(length) if length > FILE_BYTES_MAX => Err("is larger than 4 MiB".to_owned()),
        _ => std::fs::read(&file).map_err(|error| format!("cannot be read: {error}")),
    };
    match read {
        Ok(bytes) => Some((file, bytes)),
        Err(why) => {
            compiler.findings.at(raw.span(), format!("{} {why}", file.display()));
            None
        }
    }
}

fn client_auth(compiler: &mut Compiler<'_>, raw: &raw::Tls) -> Option<ClientAuth> {
    let wanted = compiler.word(&raw.client_auth, "client_auth", &CLIENT_AUTH);
    match (&raw.client_ca, &raw.client_auth) {
        (None, None) => Some(ClientAuth::None),
        (None, Some(auth)) => {
            compiler.findings.at(auth.span(), "`client_auth` needs `client_ca`, a file of authorities");
            None
        }
        (Some(file), auth) => {
            let authorities = certificates(compiler, file)?;
            match (wanted, auth) {
                (Some(Wanted::Optional), _) => Some(ClientAuth::Optional(authorities)),
                // An authority without a word on it means that it is wanted.
                (Some(Wanted::Required), _) | (None, None) => Some(ClientAuth::Required(authorities)),
                (None, Some(_)) => None,
            }
        }
    }
}

fn suite(compiler: &mut Compiler<'_>, raw: &Spanned<String>) -> Option<SuiteName> {
    let found = SuiteName::parse(raw.get_ref());
    if found.is_none() {
        let known: Vec<_> = SuiteName::all().collect();
        let hint = match nearest(raw.get_ref(), known.iter().copied()) {
            Some(name) => format!("did you mean `{name}`?"),
            None => format!("there are {}", known.join(", ")),
        };
        compiler.findings.at(raw.span(), format!("no suite `{}`; {hint}", raw.get_ref()));
    }
    found
}
