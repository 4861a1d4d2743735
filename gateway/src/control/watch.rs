//! Tasks that turn what happens into bans and news.

use std::sync::Arc;

use tokio::sync::mpsc;
use weir_ebpf::verdict::label;

use super::message::News;
use super::{Parts, bans};
use crate::limit::Offender;
use crate::model::ClientKey;
use crate::plane::{BanReason, Events, now_ns};

/// Bans whom the limits found to come on after 429.
pub async fn ban_offenders(parts: Arc<Parts>, mut offenders: mpsc::Receiver<Offender>) {
    while let Some(Offender { key, level, length }) = offenders.recv().await {
        let banned = parts.shared.bans.add(key, BanReason::Shed, level, Some(length), now_ns());
        if let Err(error) = banned {
            tracing::warn!(%error, "a client could not be shed");
            continue;
        }
        let news = News::Banned {
            client: key.to_string(),
            reason: "shed".to_owned(),
            level,
            seconds: Some(length.as_secs()),
        };
        bans::tell(&parts, news);
    }
}

/// Hands sampled decisions of the packet path to the watchers.
pub async fn pump_events(parts: Arc<Parts>, events: Events) {
    let mut events = match events.register() {
        Ok(events) => events,
        Err(error) => {
            tracing::warn!(%error, "events cannot be watched");
            return;
        }
    };
    loop {
        let Ok(mut ready) = events.readable_mut().await else { return };
        while let Some(event) = ready.get_inner_mut().next_event() {
            if parts.news.receiver_count() == 0 {
                continue;
            }
            let action = if event.action == 1 { "drop" } else { "pass" };
            let news = News::Packet {
                client: ClientKey(event.key).to_string(),
                verdict: label(event.verdict).to_owned(),
                action: action.to_owned(),
                port: event.destination_port,
                length_bytes: event.length_bytes,
                ifindex: event.ifindex,
            };
            bans::tell(&parts, news);
        }
        ready.clear_ready();
    }
}
