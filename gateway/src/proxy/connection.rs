//! What is known of a client's connection, and holds for every request on it.

use std::net::IpAddr;

use super::tls::ClientCertificate;

#[derive(Debug)]
pub(super) struct Connection {
    pub peer: IpAddr,
    pub scheme: Scheme,
    /// Shown in the handshake, of a chain that was verified.
    #[expect(dead_code, reason = "read by authentication with certificates, which is to come")]
    pub certificate: Option<ClientCertificate>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    Http,
    Https,
}

impl Scheme {
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}
