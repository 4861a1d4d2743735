//! `[admin]`.

use std::net::SocketAddr;
use std::path::PathBuf;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// /metrics, /healthz, /readyz. Port 0 takes a free one, printed at start.
    pub admin: SocketAddr,
    /// The control socket; mode 0600.
    pub socket: PathBuf,
}
