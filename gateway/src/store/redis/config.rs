//! `[store]`: where Redis is and how it is spoken to. The password is not in here: its file is read
//! for each connection.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::model::UpstreamTls;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub topology: Topology,
    /// The server, the Sentinels, or seeds of the Cluster; at least one.
    pub addresses: Vec<Address>,
    /// Also between Weir and Sentinels.
    pub tls: Option<Arc<UpstreamTls>>,
    /// Of a Cluster always 0.
    pub database: u16,
    /// None: `default`.
    pub user: Option<String>,
    pub password_file: Option<PathBuf>,
    pub sentinel_user: Option<String>,
    pub sentinel_password_file: Option<PathBuf>,
    /// What every key begins with.
    pub prefix: String,
    /// Hash tags `{s0}` to `{s<tags - 1>}`: the same on every node.
    pub tags: u16,
    pub timeouts: Timeouts,
}

impl Config {
    /// Masters that may be connected to at once.
    pub fn masters_max(&self) -> u64 {
        match self.topology {
            Topology::Standalone | Topology::Sentinel(_) => 1,
            // Every tag's keys have one master.
            Topology::Cluster => u64::from(self.tags),
        }
    }

    /// Read again for each connection.
    pub fn password_files(&self) -> impl Iterator<Item = &PathBuf> {
        self.password_file.iter().chain(&self.sentinel_password_file)
    }

    pub const DEFAULT_PREFIX: &str = "weir";
    pub const DEFAULT_TAGS: u16 = 16;
    pub const PORT: u16 = 6379;
    pub const SENTINEL_PORT: u16 = 26379;
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topology {
    Standalone,
    /// The master's name.
    Sentinel(String),
    Cluster,
}

impl Topology {
    pub fn label(&self) -> &'static str {
        match self {
            Self::Standalone => "standalone",
            Self::Sentinel(_) => "sentinel",
            Self::Cluster => "cluster",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// To a connection that is authenticated and whose role is known.
    pub connect: Duration,
    /// An answer after it is late: used, and told.
    pub late: Duration,
    /// A connection that owes an answer for so long is given up.
    pub give_up: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_millis(1_200),
            late: Duration::from_millis(250),
            give_up: Duration::from_secs(2),
        }
    }
}

/// A host, by name or address, and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    pub host: String,
    pub port: u16,
}

/// What an URL of `[store] redis` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    pub address: Address,
    pub is_tls: bool,
    pub database: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("write redis://HOST:PORT, or rediss:// for TLS")]
    Scheme,
    #[error("no password or user stands in an address: put them into `user` and `password_file`")]
    Secret,
    #[error("write a host, as in redis://127.0.0.1:6379")]
    Host,
    #[error("a port is 1 to 65535")]
    Port,
    #[error("a database is 0 to 65535")]
    Database,
}

impl Url {
    /// `redis://HOST[:PORT][/DATABASE]` or `rediss://..`.
    pub fn parse(text: &str, default_port: u16) -> Result<Self, AddressError> {
        let (is_tls, rest) = match text.split_once("://") {
            Some(("redis", rest)) => (false, rest),
            Some(("rediss", rest)) => (true, rest),
            _ => return Err(AddressError::Scheme),
        };
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        if authority.contains('@') {
            return Err(AddressError::Secret);
        }
        let database = match database {
            "" => 0,
            number => number.parse().map_err(|_| AddressError::Database)?,
        };
        Ok(Self { address: Address::parse(authority, default_port)?, is_tls, database })
    }
}

impl Address {
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port }
    }

    /// `host`, `host:port`, `[v6]` or `[v6]:port`.
    pub fn parse(text: &str, default_port: u16) -> Result<Self, AddressError> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']').ok_or(AddressError::Host)?;
                (host, port.strip_prefix(':').or(port.is_empty().then_some("")).ok_or(AddressError::Port)?)
            }
            None => text.split_once(':').unwrap_or((text, "")),
        };
        let is_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
        if host.is_empty() || !host.chars().all(is_host) {
            return Err(AddressError::Host);
        }
        let port = match port {
            "" => default_port,
            number => number.parse().ok().filter(|port| *port != 0).ok_or(AddressError::Port)?,
        };
        Ok(Self::new(host, port))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}
