//! Waiting: for a condition with a deadline, or for a span of a load's schedule. The only place of
//! the harness where a thread stands still.

use std::fmt::Display;
use std::time::Duration;

use anyhow::{Result, bail};
use weir::plane::now_ns;

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// Waits until `condition` gives a value; after `deadline` an error that names `what`.
pub fn wait_for<T>(
    what: impl Display,
    deadline: Duration,
    mut condition: impl FnMut() -> Option<T>,
) -> Result<T> {
    let until_ns = after(deadline);
    loop {
        if let Some(value) = condition() {
            return Ok(value);
        }
        if now_ns() >= until_ns {
            bail!("{what}: not within {deadline:?}");
        }
        std::thread::park_timeout(LOOK);
    }
}

/// Lets `span` of a measured run or of a load's schedule go by. Not for synchronisation.
pub fn let_pass(span: Duration) {
    pass_until(after(span));
}

/// As [`let_pass`], until a moment of [`now_ns`].
pub fn pass_until(moment_ns: u64) {
    loop {
        let now_ns = now_ns();
        if now_ns >= moment_ns {
            return;
        }
        std::thread::park_timeout(Duration::from_nanos(moment_ns - now_ns));
    }
}

/// The moment `span` from now.
pub fn after(span: Duration) -> u64 {
    now_ns().saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX))
}
