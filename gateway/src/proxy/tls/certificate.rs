//! What is read out of a certificate: names and expiry of ours, subject of a client's.

use std::net::IpAddr;

use rustls::pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::Certificate;

/// Of one of ours, for `weir check`, metrics and the choice by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// What it is called in messages: its file.
    pub name: String,
    /// DNS names, in lower case, `*.` for wildcards.
    pub names: Vec<String>,
    /// When it expires, in seconds of Unix time.
    pub not_after_s: i64,
    /// The same as people read it.
    pub not_after: String,
}

/// Of a client that showed a certificate and was believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// As RFC 4514 writes names.
    pub subject: Box<str>,
    /// Alternative names with their kind: `dns:`, `uri:`, `email:`, `ip:`.
    pub names: Vec<Box<str>>,
    pub not_after_s: i64,
    pub sha256: [u8; 32],
}

impl CertificateFacts {
    pub(super) fn of(certificate: &Certificate) -> Result<Self, String> {
        let leaf = certificate.chain.first().ok_or("no certificate in the file")?;
        let (_, parsed) =
            X509Certificate::from_der(leaf).map_err(|error| format!("no X.509 certificate: {error}"))?;
        let alternative = parsed.subject_alternative_name().map_err(|error| error.to_string())?;
        let names = alternative.map(|extension| dns_names(&extension.value.general_names));
        Ok(Self {
            name: certificate.name.clone(),
            names: names.unwrap_or_default(),
            not_after_s: parsed.validity().not_after.timestamp(),
            not_after: parsed.validity().not_after.to_string(),
        })
    }

    pub fn is_expired(&self, unix_s: u64) -> bool {
        u64::try_from(self.not_after_s).map_or(true, |end_s| end_s < unix_s)
    }
}

fn dns_names(names: &[GeneralName<'_>]) -> Vec<String> {
    let dns = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    };
    names.iter().filter_map(dns).collect()
}

/// Alternative names of one certificate that are looked at.
const NAMES_MAX: usize = 32;

fn general_name(name: &GeneralName<'_>) -> Option<Box<str>> {
    let text = match name {
        GeneralName::DNSName(name) => format!("dns:{}", name.to_ascii_lowercase()),
        GeneralName::URI(uri) => format!("uri:{uri}"),
        GeneralName::RFC822Name(address) => format!("email:{address}"),
        GeneralName::IPAddress(bytes) => format!("ip:{}", address(bytes)?),
        _ => return None,
    };
    Some(text.into())
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from).ok();
    v4.or_else(|| <[u8; 16]>::try_from(bytes).map(IpAddr::from).ok())
}

impl ClientCertificate {
    /// Of the leaf of a verified chain.
    pub(in crate::proxy) fn of(leaf: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(leaf).ok()?;
        let alternative = parsed.subject_alternative_name().ok().flatten();
        let names = alternative.map(|extension| {
            extension.value.general_names.iter().take(NAMES_MAX).filter_map(general_name).collect()
        });
        Some(Self {
            subject: parsed.subject().to_string().into(),
            names: names.unwrap_or_default(),
            not_after_s: parsed.validity().not_after.timestamp(),
            sha256: Sha256::digest(leaf).into(),
        })
    }
}
