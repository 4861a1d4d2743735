//! `[fleet]`: how this node takes part.

use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// None: the host's name. What a process is known by has a part of its own behind it.
    pub node: Option<String>,
    /// Between two flushes.
    pub period: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { node: None, period: Duration::from_millis(100) }
    }
}

impl Config {
    /// Debits older than 300 ms are late: several flushes have to fit.
    pub const PERIODS: std::ops::RangeInclusive<Duration> =
        Duration::from_millis(20)..=Duration::from_millis(150);
    pub const NODE_BYTES_MAX: usize = 64;
}
