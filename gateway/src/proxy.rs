//! The read side: a request's path, accept > exchange > dispatch > filter > forward > respond.

pub mod accept;

mod config;

mod tls;

mod snapshot;

mod connection;

mod exchange;

mod told;

mod client;

mod authority;

mod head;

mod dispatch;

mod filter;

mod forward;

mod respond;

mod ratelimit;

mod body;

mod compress;

mod stream;

mod timer;

mod http1;

#[cfg(test)]
mod tests;

pub use accept::proxy_protocol;
pub use accept::{HTTP2_CONNECTION_BYTES, HTTP2_HEADS, Shared, SharedParts, TLS_WRITE_BYTES, worker};
pub use client::hops;
pub use compress::{COMPRESSING_BYTES, COMPRESSING_MAX};
pub use config::{Bounds, Config, Listener, Timeouts};
pub use dispatch::normalise;
pub use filter::{
    HeldKeySetFacts, KEY_SET_BYTES_MAX, KEY_SETS_MAX, KEYS_OF_A_SET_MAX, KeptByAuth, KeySetFacts,
    VerifiedTokens, fetch_key_sets,
};
pub use forward::{
    Addresses, IDLE_ALL_MAX, TargetFacts, UpstreamFacts, Upstreams, check_upstream_tls, check_upstreams,
    http2_upstream_bytes,
};
pub use http1::reading;
pub use snapshot::Snapshot;
pub use tls::{Certificate, CertificateFacts, ClientAuth, MinVersion, SuiteName, Tls, TlsFault, TlsParts};
