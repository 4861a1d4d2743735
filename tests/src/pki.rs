//! An authority of our own, and what it issues: certificates for servers and clients.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PublicKeyData as _, date_time_ymd,
};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};

/// Signs whatever a test wants.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
}

/// A certificate and its key.
pub struct Issued {
    pub certificate: CertificateDer<'static>,
    key: KeyPair,
    pem: String,
}

impl Authority {
    pub fn new(name: &str) -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key)?;
        Ok(Self { issuer: Issuer::new(params, key), certificate })
    }

    /// For DNS names; the first is the subject's common name too.
    pub fn issue(&self, names: &[&str]) -> Result<Issued> {
        self.issue_until(names, 4096)
    }

    pub fn issue_expired(&self, names: &[&str]) -> Result<Issued> {
        self.issue_until(names, 2001)
    }

    fn issue_until(&self, names: &[&str], year: i32) -> Result<Issued> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names.iter().map(|&name| name.into()).collect::<Vec<_>>())?;
        if let Some(&name) = names.first() {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        params.not_after = date_time_ymd(year, 1, 1);
        params.not_before = date_time_ymd(2000, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Issued { certificate: certificate.der().clone(), pem: certificate.pem(), key })
    }

    /// Writes `NAME.crt`.
    pub fn write(&self, folder: &Path, name: &str) -> Result<()> {
        Ok(std::fs::write(folder.join(format!("{name}.crt")), self.certificate.pem())?)
    }

    pub fn roots(&self) -> Result<Arc<RootCertStore>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone())?;
        Ok(Arc::new(roots))
    }
}

impl Issued {
    /// Writes `NAME.crt` and `NAME.key`.
    pub fn write(&self, folder: &Path, name: &str) -> Result<()> {
        std::fs::write(folder.join(format!("{name}.crt")), &self.pem)?;
        Ok(std::fs::write(folder.join(format!("{name}.key")), self.key.serialize_pem())?)
    }

    /// SHA-256 of the public key, in hex.
    pub fn pin(&self) -> String {
        let digest = Sha256::digest(self.key.subject_public_key_info());
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub fn key(&self) -> Result<PrivateKeyDer<'static>> {
        PrivateKeyDer::try_from(self.key.serialize_der()).map_err(anyhow::Error::msg)
    }
}
