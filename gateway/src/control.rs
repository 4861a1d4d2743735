//! The write side: load and reload, the control socket, the admin listener.

mod config;

pub use config::Config;
