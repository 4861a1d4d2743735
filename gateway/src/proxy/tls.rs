//! TLS of a listener: certificates chosen by the name that a client asks for, versions, suites, client
//! certificates. Made whole when the configuration is read, so that nothing of it can fail later.
//! Reads no file and no clock.

mod certificate;

mod resolver;

use std::fmt;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::{self, Ticketer};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion, version};
use sha2::{Digest as _, Sha256};

pub use self::certificate::{CertificateFacts, ClientCertificate};
use self::resolver::ByName;

pub(super) const H2: &[u8] = b"h2";
const HTTP_11: &[u8] = b"http/1.1";

/// What a listener's TLS is made of.
#[derive(Debug)]
pub struct TlsParts {
    /// The first serves clients that name nobody, and names that no certificate has.
    pub certificates: Vec<Certificate>,
    pub client_auth: ClientAuth,
    pub min_version: MinVersion,
    /// Empty: all that rustls has.
    pub suites: Vec<SuiteName>,
}

/// A chain, its key, and what its authority says of it.
#[derive(Debug)]
pub struct Certificate {
    /// What it is called in messages: its file.
    pub name: String,
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
    /// A stapled OCSP response.
    pub ocsp: Option<Vec<u8>>,
}

/// Whether clients show a certificate, and whose they must be.
#[derive(Debug, Default)]
pub enum ClientAuth {
    #[default]
    None,
    /// A certificate that is shown must be of these authorities.
    Optional(Vec<CertificateDer<'static>>),
    Required(Vec<CertificateDer<'static>>),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MinVersion {
    #[default]
    Tls12,
    Tls13,
}

/// A cipher suite that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SuiteName(rustls::CipherSuite);

impl SuiteName {
    /// By IANA's name, as `TLS13_AES_128_GCM_SHA256` or `TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256`.
    pub fn parse(name: &str) -> Option<Self> {
        let suites = aws_lc_rs::ALL_CIPHER_SUITES.iter().map(rustls::SupportedCipherSuite::suite);
        suites.into_iter().find(|suite| suite.as_str() == Some(name)).map(Self)
    }

    pub fn all() -> impl Iterator<Item = &'static str> {
        aws_lc_rs::ALL_CIPHER_SUITES.iter().filter_map(|suite| suite.suite().as_str())
    }
}

/// Which part does not work, and why.
#[derive(Debug, thiserror::Error)]
pub enum TlsFault {
    #[error("{1}")]
    Certificate(usize, String),
    #[error("{0}")]
    ClientCa(String),
    #[error("{0}")]
    Suites(String),
}

/// A listener's TLS, ready to serve.
pub struct Tls {
    pub(super) config: Arc<ServerConfig>,
    certificates: Vec<CertificateFacts>,
    /// Of all that it is made of, keys too: equal configurations have equal ones.
    fingerprint: [u8; 32],
    /// Of what a session's resumption skips: who may be a client.
    trust: [u8; 32],
    asks_clients: bool,
}

impl Tls {
    pub fn new(parts: TlsParts) -> Result<Self, TlsFault> {
        let (fingerprint, trust) = fingerprints(&parts);
        let TlsParts { certificates, client_auth, min_version, suites } = parts;
        let asks_clients = !matches!(client_auth, ClientAuth::None);
        let mut provider = aws_lc_rs::default_provider();
        if !suites.is_empty() {
            provider.cipher_suites.retain(|suite| suites.contains(&SuiteName(suite.suite())));
        }
        let provider = Arc::new(provider);
        let mut facts = Vec::new();
        let mut keys = Vec::new();
        for (idx, certificate) in certificates.into_iter().enumerate() {
            let fault = |message: String| TlsFault::Certificate(idx, message);
            facts.push(CertificateFacts::of(&certificate).map_err(fault)?);
            let mut key = CertifiedKey::from_der(certificate.chain, certificate.key, &provider)
                .map_err(|error| fault(unfit(&error)))?;
            key.ocsp = certificate.ocsp;
            keys.push(Arc::new(key));
        }
        let names: Vec<_> = facts.iter().map(|facts| facts.names.as_slice()).collect();
        let resolver = ByName::new(&names, keys);
        let versions: &[&SupportedProtocolVersion] = match min_version {
            MinVersion::Tls12 => &[&version::TLS13, &version::TLS12],
            MinVersion::Tls13 => &[&version::TLS13],
        };
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .map_err(|error| TlsFault::Suites(error.to_string()))?;
        let verifier = |authorities: Vec<CertificateDer<'static>>| {
            let mut roots = RootCertStore::empty();
            for authority in authorities {
                roots.add(authority).map_err(|error| TlsFault::ClientCa(error.to_string()))?;
            }
            Ok(WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider))
        };
        let unbuilt = |error: rustls::server::VerifierBuilderError| TlsFault::ClientCa(error.to_string());
        let builder = match client_auth {
            ClientAuth::None => builder.with_no_client_auth(),
            ClientAuth::Optional(authorities) => builder.with_client_cert_verifier(
                verifier(authorities)?.allow_unauthenticated().build().map_err(unbuilt)?,
            ),
            ClientAuth::Required(authorities) => {
                builder.with_client_cert_verifier(verifier(authorities)?.build().map_err(unbuilt)?)
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(resolver));
        // Without an overlap rustls refuses the handshake (RFC 7301 section 3.2).
        config.alpn_protocols = vec![H2.to_vec(), HTTP_11.to_vec()];
        // Sessions live in tickets, which cost no memory; their key rotates by itself.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = Ticketer::new().map_err(|error| TlsFault::Suites(error.to_string()))?;
        Ok(Self { config: Arc::new(config), certificates: facts, fingerprint, trust, asks_clients })
    }

    pub fn certificates(&self) -> &[CertificateFacts] {
        &self.certificates
    }

    /// Whether clients may show a certificate, or must.
    pub fn asks_clients(&self) -> bool {
        self.asks_clients
    }

    /// Tickets that `present` gave out stay good, where they prove the same of a client.
    pub fn taking_tickets_of(&self, present: &Self) -> Self {
        let mut config = ServerConfig::clone(&self.config);
        if self.trust == present.trust {
            config.ticketer = Arc::clone(&present.config.ticketer);
        }
        Self {
            config: Arc::new(config),
            certificates: self.certificates.clone(),
            fingerprint: self.fingerprint,
            trust: self.trust,
            asks_clients: self.asks_clients,
        }
    }
}

impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for Tls {}

/// Keys stay out.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("certificates", &self.certificates).finish_non_exhaustive()
    }
}

fn unfit(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InconsistentKeys(_) => "the key does not fit the certificate".to_owned(),
        error => error.to_string(),
    }
}

/// Of everything, and of who may be a client.
fn fingerprints(parts: &TlsParts) -> ([u8; 32], [u8; 32]) {
    let mut trust = Sha256::new();
    let (word, authorities) = match &parts.client_auth {
        ClientAuth::None => ("none", &[][..]),
        ClientAuth::Optional(authorities) => ("optional", authorities.as_slice()),
        ClientAuth::Required(authorities) => ("required", authorities.as_slice()),
    };
    piece(&mut trust, word.as_bytes());
    authorities.iter().for_each(|authority| piece(&mut trust, authority));
    let trust = trust.finalize();
    let mut whole = Sha256::new();
    piece(&mut whole, &trust);
    piece(&mut whole, format!("{:?} {:?}", parts.min_version, parts.suites).as_bytes());
    for certificate in &parts.certificates {
        piece(&mut whole, certificate.name.as_bytes());
        certificate.chain.iter().for_each(|one| piece(&mut whole, one));
        piece(&mut whole, certificate.key.secret_der());
        piece(&mut whole, certificate.ocsp.as_deref().unwrap_or_default());
    }
    (whole.finalize().into(), trust.into())
}

/// With its length, so that no two lists of pieces read the same.
fn piece(digest: &mut Sha256, bytes: &[u8]) {
    digest.update((bytes.len() as u64).to_be_bytes());
    digest.update(bytes);
}
