//! The store's clocks: a monotonic one for deadlines, and the wall's, which is only ever shown beside
//! Redis's own.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// For deadlines and ages.
pub(super) fn now() -> Instant {
    Instant::now()
}

/// Since 1970, by this host.
pub(super) fn unix_time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
