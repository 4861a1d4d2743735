//! Follows what upstreams' names stand for: asked on a thread of its own, told to the guard and to the
//! data side. No request ever waits for a name server.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::Parts;
use crate::kernel::Names;

/// From one question to the next. The system's resolver (nsswitch, /etc/hosts, search domains) does not
/// say how long an answer holds, so a fixed period stands for it: as short as the times to live that
/// names in motion have, and a name server nearby answers from its cache.
const ASK: Duration = Duration::from_secs(5);

/// Asks every [`ASK`] for as long as this runs; the next question waits for the last one's end.
pub async fn follow_names(parts: Arc<Parts>) {
    let mut questions = interval(ASK);
    questions.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The start has just asked.
    questions.tick().await;
    loop {
        questions.tick().await;
        let hosts = parts.guarding.hosts(&parts.config.load());
        match tokio::task::spawn_blocking(move || Names::resolve(&hosts)).await {
            Ok(names) => {
                parts.shared.learn(names.addresses_by_name());
                parts.guarding.renew_names(names);
            }
            Err(error) => tracing::warn!(%error, "upstreams' names were not asked for"),
        }
    }
}
