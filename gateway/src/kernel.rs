//! The keeper: loads, attaches, pins, watches; the only code with capabilities. Reads no byte of a client.

mod config;

pub use config::{Config, Interfaces, ModeWanted, Port, Protocol, Unproved};
