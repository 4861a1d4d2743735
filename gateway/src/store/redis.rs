//! The link to Redis: standalone, behind Sentinels, or a Cluster. It keeps one connection to each
//! master, says at once when there is none, and finds the next one by itself. The crate `redis` brings
//! the protocol; reconnecting, roles and slots are ours, because its own managers keep a connection to
//! a server that turned read-only. It knows nothing of clients, limits or sentences.

mod backoff;

mod board;

mod call;

mod cluster;

mod config;

mod fault;

mod link;

mod open;

mod reader;

mod sentinel;

mod server;

mod slots;

mod status;

#[cfg(test)]
mod tests;

pub use self::board::State;
pub use self::call::{Call, Script, Tag};
pub use self::config::{Address, AddressError, Config, Timeouts, Topology, Url};
pub use self::fault::{Fault, Kind};
pub use self::link::Link;
pub use self::open::check_tls;
pub use self::reader::{Entry, Reader};
pub use self::status::{MasterStatus, Probe, Status};

/// What Redis answers.
pub use redis::Value;
