//! `[admin]`: here and not in control/, which stands before config in the order of the parts.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// /metrics, /healthz, /readyz. Port 0 takes a free one, printed at start.
    pub address: SocketAddr,
    /// The control socket; mode 0600.
    pub socket: PathBuf,
}

impl Admin {
    /// Loopback only.
    pub const DEFAULT_ADDRESS: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9180));
}
