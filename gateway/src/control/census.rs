//! Takes a census of CLIENTS every now and then, beside everything else that runs.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::Parts;
use crate::plane::{Memory, now_ns};

/// A walk over 262,144 entries takes a tenth of a second of one core.
const EVERY: Duration = Duration::from_secs(15);

/// Keeps `parts.census` fresh.
pub async fn take_census(parts: Arc<Parts>) {
    let Some(maps) = parts.maps.clone() else { return };
    let mut memory = Memory::default();
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let maps = Arc::clone(&maps);
        let taken = tokio::task::spawn_blocking(move || {
            let census = memory.census(&maps, now_ns());
            (memory, census)
        });
        let Ok((kept, census)) = taken.await else { return };
        memory = kept;
        match census {
            Ok(census) => parts.census.store(Arc::new(Some(census))),
            Err(error) => tracing::warn!(%error, "no census of the clients"),
        }
    }
}
