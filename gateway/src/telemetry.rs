//! What Weir says of itself: metrics and log lines. Called from everywhere but store and model; names nothing of them.

pub mod access_log;
pub mod log;
pub mod metrics;
pub mod utc;
