//! `weir jwks`: how published sets of keys stand, and fetching them now.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;

use super::Parts;
use super::collector::{counter, gauge};
use super::message::KeySetView;
use crate::proxy::KeySetFacts;
use crate::telemetry::metrics::collected as names;

/// Every set that an API names.
pub(super) fn list(parts: &Parts) -> Vec<KeySetView> {
    parts.shared.auth.key_sets().into_iter().map(view).collect()
}

/// Fetches all sets, or the one at `url`, and tells how they stand then.
pub(super) async fn refresh(parts: &Parts, url: Option<&str>) -> Result<Vec<KeySetView>, String> {
    if parts.shared.auth.refresh_key_sets(url).await == 0 {
        return Err(match url {
            Some(url) => format!("no API has a key set at {url}: `weir jwks status` lists them"),
            None => "no API has a key set: they stand in `auth = { jwt = { jwks = .. } }`".to_owned(),
        });
    }
    let is_asked = |set: &KeySetView| url.is_none_or(|url| url == set.url);
    Ok(list(parts).into_iter().filter(is_asked).collect())
}

fn view(facts: KeySetFacts) -> KeySetView {
    let held = facts.held.as_ref();
    KeySetView {
        url: facts.url.to_string(),
        keys: held.map(|held| held.keys.clone()).unwrap_or_default(),
        left_out: held.map(|held| held.left_out.clone()).unwrap_or_default(),
        bytes: held.map_or(0, |held| held.bytes),
        age_seconds: held.map(|held| held.age_s),
        is_stale: held.is_some_and(|held| held.is_stale),
        is_pinned: held.is_some_and(|held| held.is_pinned),
        is_fetching: facts.is_fetching,
        fetched: facts.fetched,
        failed: facts.failed,
        held_off: facts.held_off,
        error: facts.error.as_deref().map(str::to_owned),
    }
}

/// Verified tokens, and what all sets are together.
pub(super) fn collect(parts: &Parts, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let auth = &parts.shared.auth;
    let sets = auth.key_sets();
    let held = || sets.iter().filter_map(|set| set.held.as_ref());
    let oldest_s = held().map(|held| held.age_s).max().unwrap_or(0);
    for (metric, value) in [
        (names::JWT_TOKENS, auth.tokens_kept() as u64),
        (names::JWT_TOKENS_CAPACITY, auth.tokens_most() as u64),
        (names::JWKS_DOCUMENTS, held().count() as u64),
        (names::JWKS_KEYS, held().map(|held| held.keys.len() as u64).sum()),
        (names::JWKS_KEYS_LEFT_OUT, held().map(|held| held.left_out.len() as u64).sum()),
        (names::JWKS_BYTES, held().map(|held| held.bytes as u64).sum()),
        (names::JWKS_AGE, oldest_s),
    ] {
        gauge(encoder, metric, value)?;
    }
    let sum = |value: fn(&KeySetFacts) -> u64| sets.iter().map(value).sum::<u64>();
    let fetches: [(&[(&str, &str)], u64); 2] =
        [(&[("result", "ok")], sum(|set| set.fetched)), (&[("result", "failed")], sum(|set| set.failed))];
    counter(encoder, names::JWKS_FETCHES, &fetches)?;
    counter(encoder, names::JWKS_HELD_OFF, &[(&[], sum(|set| set.held_off))])
}
