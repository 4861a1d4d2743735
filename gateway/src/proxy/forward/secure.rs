//! TLS to upstreams: verified against authorities and name, and by pinned keys where some are given.

use std::io;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::target::host_and_port;
use crate::model::{Speaks, UpstreamTls};
use crate::proxy::stream::Stream;
use crate::proxy::tls::H2;

/// How one address of an upstream is spoken to.
pub(in crate::proxy) enum Security {
    Plain,
    Tls(Secure),
    /// Nothing is sent that was to be sent over TLS.
    Unusable,
}

/// Sessions are resumed: at most 256 names' are kept by rustls.
pub(in crate::proxy) struct Secure {
    connector: TlsConnector,
    name: ServerName<'static>,
    speaks: Speaks,
}

impl Security {
    pub fn new(tls: Option<&UpstreamTls>, authority: &str, speaks: Speaks) -> Self {
        match tls.map(|tls| Secure::new(tls, authority, speaks)) {
            None => Self::Plain,
            Some(Ok(secure)) => Self::Tls(secure),
            Some(Err(error)) => {
                tracing::error!(upstream = authority, error, "no TLS to this upstream");
                Self::Unusable
            }
        }
    }

    pub async fn over(&self, stream: TcpStream) -> io::Result<Stream> {
        match self {
            Self::Plain => Ok(Stream::Plain(stream)),
            Self::Tls(secure) => {
                let secured = secure.connector.connect(secure.name.clone(), stream).await?;
                // RFC 9113 section 3.2: without a word on it, it is not spoken.
                if secure.speaks == Speaks::Http2 && secured.get_ref().1.alpn_protocol() != Some(H2) {
                    return Err(io::Error::other("the upstream does not speak HTTP/2"));
                }
                Ok(Stream::Upstream(Box::new(secured)))
            }
            Self::Unusable => Err(io::Error::other("no TLS to this upstream")),
        }
    }
}

/// Whether TLS to `authority` can be had with it; why not.
pub fn check_upstream_tls(tls: &UpstreamTls, authority: &str) -> Result<(), String> {
    Secure::new(tls, authority, Speaks::default()).map(drop)
}

/// SHA-256 over all of it: another one is another upstream.
pub(super) fn fingerprint(tls: &UpstreamTls) -> [u8; 32] {
    let mut digest = Sha256::new();
    let mut piece = |bytes: &[u8]| {
        digest.update((bytes.len() as u64).to_be_bytes());
        digest.update(bytes);
    };
    tls.authorities.iter().for_each(|one| piece(one));
    piece(b"identity");
    if let Some(identity) = &tls.identity {
        identity.chain.iter().for_each(|one| piece(one));
        piece(&identity.key);
    }
    piece(tls.server_name.as_deref().unwrap_or_default().as_bytes());
    tls.pins.iter().for_each(|pin| piece(pin));
    digest.finalize().into()
}

impl Secure {
    fn new(tls: &UpstreamTls, authority: &str, speaks: Speaks) -> Result<Self, String> {
        let said = |error: &dyn std::fmt::Display| error.to_string();
        let (host, _) = host_and_port(authority);
        let name = ServerName::try_from(tls.server_name.as_deref().unwrap_or(host).to_owned())
            .map_err(|error| said(&error))?;
        let mut roots = RootCertStore::empty();
        let (n_added, _) = roots.add_parsable_certificates(tls.authorities.iter().map(|one| der(one)));
        if n_added == 0 {
            return Err("no certificate of an authority".to_owned());
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(|error| said(&error))?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| said(&error))?;
        let builder = match tls.pins.is_empty() {
            true => builder.with_webpki_verifier(chain),
            false => {
                let pinned = Pinned { chain, pins: tls.pins.clone() };
                builder.dangerous().with_custom_certificate_verifier(Arc::new(pinned))
            }
        };
        let mut config = match &tls.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let key = PrivateKeyDer::try_from(identity.key.clone()).map_err(|error| said(&error))?;
                let chain = identity.chain.iter().map(|one| der(one)).collect();
                builder.with_client_auth_cert(chain, key).map_err(|error| said(&error))?
            }
        };
        config.alpn_protocols = match speaks {
            Speaks::Http1 => vec![b"http/1.1".to_vec()],
            Speaks::Http2 => vec![H2.to_vec()],
        };
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), name, speaks })
    }
}

fn der(bytes: &[u8]) -> CertificateDer<'static> {
    CertificateDer::from(bytes.to_vec())
}

/// Verifies as ever, and the key besides.
#[derive(Debug)]
struct Pinned {
    chain: Arc<WebPkiServerVerifier>,
    pins: Vec<[u8; 32]>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified =
            self.chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        let is_pinned = X509Certificate::from_der(end_entity).is_ok_and(|(_, parsed)| {
            let key: [u8; 32] = Sha256::digest(parsed.public_key().raw).into();
            self.pins.contains(&key)
        });
        if is_pinned { Ok(verified) } else { Err(CertificateError::ApplicationVerificationFailure.into()) }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}
