//! HTTP/1 (RFC 9112) on both sides of the proxy: heads are read strictly and written in one form, bodies
//! stream piece by piece. It knows nothing of APIs and limits.
//!
//! Ours and not hyper's, because a proxy must see what a lenient reader hides (a Content-Length behind a
//! Transfer-Encoding, a bare LF), must bound what a reader of its own answers need not (chunk extensions,
//! interim answers), and because an exchange then is one task without a channel between its two sides.

mod chunked;

mod framing;

mod marks;

mod lines;

mod head;

mod encode;

mod output;

mod wire;

mod link;

mod server;

mod tunnel;

pub mod reading;

pub(super) use self::chunked::keep_trailers;
pub(super) use self::encode::Date;
pub(super) use self::head::{Fields, HeadBounds};
pub(super) use self::lines::Lines;
pub(super) use self::link::{ExchangeError, Link, Pump, Sent};
pub(super) use self::marks::is_of_one_hop;
pub(super) use self::server::{Ended, Server, Settings, asks_websocket};
pub(super) use self::wire::{Broken, Received, Scratch, Wire};

/// What is wrong with a message; a label of metrics, and its words in a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Malformed(pub &'static str);
