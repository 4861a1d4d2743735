//! The read side: a request's path, accept > dispatch > filter > forward > respond.

mod config;

pub use config::{Bounds, Config, Timeouts};
