//! `[admin]`.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// /metrics, /healthz, /readyz. Port 0 takes a free one, printed at start.
    pub admin: SocketAddr,
    /// The control socket; mode 0600.
    pub socket: PathBuf,
}

impl Config {
    /// Loopback only.
    pub const DEFAULT_ADMIN: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9180));
}
