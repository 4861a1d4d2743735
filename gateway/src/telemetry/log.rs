//! Log lines: lowercase, facts as fields, to standard error.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// Starts logging at `filter` (`info` without one), as in `debug` or `weir::kernel=debug,warn`.
pub fn start(filter: Option<&str>) {
    let filter = EnvFilter::new(filter.unwrap_or("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .compact()
        .init();
}
