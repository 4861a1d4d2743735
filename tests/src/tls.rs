//! A blocking TLS client: what it offers is a test's choice, what it was given is to be looked at.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use anyhow::{Context, Result};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, ServerConfig, SignatureScheme,
    StreamOwned, SupportedProtocolVersion,
};

use crate::http::{PATIENCE, Response, read_response};
use crate::pki::{Authority, Issued};

/// What a client offers. Clones share their session tickets.
#[derive(Clone)]
pub struct Client(Arc<ClientConfig>);

/// What to offer beside the usual.
#[derive(Default)]
pub struct Offer<'a> {
    pub alpn: &'a [&'a str],
    pub certificate: Option<&'a Issued>,
    /// Takes no ticket, so that every handshake is a whole one.
    pub forgets: bool,
    /// Empty: all.
    pub versions: &'a [&'static SupportedProtocolVersion],
}

impl Client {
    /// Believes the authority, whatever name the certificate has.
    pub fn new(authority: &Authority, offer: &Offer<'_>) -> Result<Self> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let chain = WebPkiServerVerifier::builder_with_provider(authority.roots()?, Arc::clone(&provider));
        let verifier = Arc::new(AnyName(chain.build()?));
        let versions = if offer.versions.is_empty() { rustls::ALL_VERSIONS } else { offer.versions };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match offer.certificate {
            Some(issued) => builder.with_client_auth_cert(vec![issued.certificate.clone()], issued.key()?)?,
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = offer.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config.enable_sni = true;
        if offer.forgets {
            config.resumption = rustls::client::Resumption::disabled();
        }
        Ok(Self(Arc::new(config)))
    }

    /// Shakes hands. An IP address as the name sends no SNI.
    pub fn connect(&self, server: SocketAddr, name: &str) -> Result<Connection> {
        self.over(TcpStream::connect_timeout(&server, PATIENCE)?, name)
    }

    /// Shakes hands over a connection that may have been used before.
    pub fn over(&self, socket: TcpStream, name: &str) -> Result<Connection> {
        let server = socket.peer_addr()?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let name = ServerName::try_from(name.to_owned())?;
        let tls = ClientConnection::new(Arc::clone(&self.0), name)?;
        let mut connection = Connection { stream: StreamOwned::new(tls, socket), host: server };
        let StreamOwned { conn, sock } = &mut connection.stream;
        while conn.is_handshaking() {
            conn.complete_io(sock).context("shaking hands")?;
        }
        Ok(connection)
    }
}

/// A server that shows `issued`, and asks clients for a certificate of `clients`, if given.
pub fn server(issued: &Issued, clients: Option<&Authority>) -> Result<ServerConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder =
        ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(clients.roots()?, provider).build()?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    Ok(builder.with_single_cert(vec![issued.certificate.clone()], issued.key()?)?)
}

/// A connection whose handshake is done.
pub struct Connection {
    stream: StreamOwned<ClientConnection, TcpStream>,
    host: SocketAddr,
}

impl Connection {
    /// The server's own certificate.
    pub fn certificate(&self) -> Result<CertificateDer<'static>> {
        let chain = self.stream.conn.peer_certificates().context("no certificate")?;
        Ok(chain.first().context("an empty chain")?.clone().into_owned())
    }

    pub fn alpn(&self) -> Option<&[u8]> {
        self.stream.conn.alpn_protocol()
    }

    /// Whether the session was resumed by a ticket.
    pub fn is_resumed(&self) -> bool {
        self.stream.conn.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    pub fn get(&mut self, path: &str) -> Result<Response> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.host);
        self.stream.write_all(request.as_bytes()).context("sending the request")?;
        read_response(&mut std::io::BufReader::new(&mut self.stream))
    }
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.stream.read(buffer)
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.stream.flush()
    }
}

/// Verifies the chain, and forgives the name.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            Err(rustls::Error::InvalidCertificate(
                rustls::CertificateError::NotValidForName
                | rustls::CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
