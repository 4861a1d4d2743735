//! One limit over all nodes. Each decides alone; every flush it tells the store what it admitted, for its
//! hot clients only, and moves its own words up to what the fleet says. The core ([`Node`]) reads no
//! clock and no socket: it is the same in the gateway and in the simulation. No request comes through here.

mod answer;

mod bans;

mod batch;

mod config;

mod driver;

mod entry;

mod gate;

mod late;

mod flights;

mod node;

mod subject;

pub use answer::{Answer, AnswerError, Heard, NodeCharge, Sentenced, Told, Wire};
pub use bans::{BanBook, BanWord, Learned, Order, Ordered, What};
pub use batch::{Ask, Batch, Item};
pub use config::Config;
pub use driver::{Driver, ENTRY_BYTES, Fleet, News, Parts, TRACKED, View};
pub use late::{late_ns, soften_ns};
pub use node::{Counts, Effect, Node, Noted, Settings};
pub use subject::Subject;

/// What a node tells, and what it hears: keys, arguments and answer stand on its top.
pub const PUSH: &str = include_str!("fleet/push.lua");

/// Tells a ban or its end to all nodes.
pub const BAN: &str = include_str!("fleet/ban.lua");

/// What a node that joins has to know.
pub const LEARN: &str = include_str!("fleet/learn.lua");
