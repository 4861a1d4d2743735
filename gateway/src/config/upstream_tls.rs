//! `upstream_tls` of an `[[api]]`: whom to believe, what to show.

use std::ops::Range;
use std::sync::Arc;

use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use toml::Spanned;

use super::compile::Compiler;
use super::keys::digest;
use super::raw;
use super::tls::{certificates, pem_file, pem_item};
use crate::model::{Identity, UpstreamTls};

/// None where no upstream is `https`, or where something is wrong, which is noted. `wanted_at` is where
/// the upstreams stand.
pub(super) fn upstream_tls(
    compiler: &mut Compiler<'_>,
    raw: Option<&Spanned<raw::UpstreamTls>>,
    is_wanted: bool,
    wanted_at: Range<usize>,
) -> Option<Arc<UpstreamTls>> {
    if !is_wanted {
        if let Some(raw) = raw {
            compiler.findings.at(raw.span(), "`upstream_tls` is for https upstreams, and there are none");
        }
        return None;
    }
    let left_out = raw::UpstreamTls::default();
    let raw = raw.map_or(&left_out, Spanned::get_ref);
    let authorities = match &raw.ca {
        Some(file) => der(certificates(compiler, file)?),
        None => system(compiler, wanted_at)?,
    };
    let identity = match (&raw.cert, &raw.key) {
        (None, None) => None,
        (Some(cert), Some(key)) => Some(identity(compiler, cert, key)?),
        (Some(one), None) | (None, Some(one)) => {
            compiler.findings.at(one.span(), "`cert` and `key` come together");
            return None;
        }
    };
    let pins = raw.pins.iter().flatten().map(|pin| {
        let digest = digest(pin.get_ref());
        if digest.is_none() {
            compiler.findings.at(pin.span(), "a pin is 64 hex digits: the SHA-256 of a public key in DER");
        }
        digest
    });
    let pins = pins.collect::<Vec<_>>().into_iter().collect::<Option<_>>()?;
    let server_name = raw.server_name.as_ref().map(|name| name.get_ref().as_str().into());
    Some(Arc::new(UpstreamTls { authorities: authorities.into(), identity, server_name, pins }))
}

fn der(certificates: Vec<rustls::pki_types::CertificateDer<'static>>) -> Vec<Vec<u8>> {
    certificates.into_iter().map(|one| one.to_vec()).collect()
}

/// The authorities that this machine believes.
fn system(compiler: &mut Compiler<'_>, wanted_at: Range<usize>) -> Option<Vec<Vec<u8>>> {
    let found = der(rustls_native_certs::load_native_certs().certs);
    if found.is_empty() {
        let message = "this machine has no certificates of authorities: install `ca-certificates`, or name a file in `upstream_tls = { ca = .. }`";
        compiler.findings.at(wanted_at, message);
        return None;
    }
    Some(found)
}

fn identity(compiler: &mut Compiler<'_>, cert: &Spanned<String>, key: &Spanned<String>) -> Option<Identity> {
    let chain = certificates(compiler, cert);
    let (file, pem) = pem_file(compiler, key)?;
    let parsed = PrivateKeyDer::from_pem_slice(&pem);
    let parsed = pem_item(compiler, key, &file, parsed, "private key (BEGIN PRIVATE KEY)")?;
    Some(Identity { chain: der(chain?), key: parsed.secret_der().to_vec() })
}
