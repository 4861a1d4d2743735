//! When a client that comes on after 429 is shed, and for how long. Three bounded tables: refusals in
//! the running window, the level that the client has reached, graces that an operator gave.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use ipnet::IpNet;
use tokio::sync::mpsc;

use super::{Shed, TABLE_ENTRIES};
use crate::model::{Client, ClientKey, Origin, prefix_of};
use crate::plane::Table;

#[cfg(test)]
mod tests;

/// Decides sheds; who bans hears of them by a channel.
pub struct Shedder {
    config: ArcSwap<Shed>,
    /// First refusal of the window in ms << 24 | refusals in it.
    refusals: Table,
    /// Last refusal in ms << 8 | steps that were taken.
    levels: Table,
    /// End of the grace in ms.
    graces: Table,
    /// Whose clients are never shed.
    spared: ArcSwap<Vec<IpNet>>,
    offenders: mpsc::Sender<Offender>,
}

/// A client to be shed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offender {
    pub key: ClientKey,
    /// Step of `limit.client.shed`, from 0.
    pub level: u32,
    pub length: Duration,
}

const COUNT_BITS: u32 = 24;
const LEVEL_BITS: u32 = 8;

impl Shedder {
    /// `offenders`: a full channel loses the shed; the client triggers it again with its next refusals.
    pub fn new(config: Shed, offenders: mpsc::Sender<Offender>) -> Self {
        Self {
            config: ArcSwap::from_pointee(config),
            refusals: Table::new(TABLE_ENTRIES),
            levels: Table::new(TABLE_ENTRIES),
            graces: Table::new(TABLE_ENTRIES),
            spared: ArcSwap::default(),
            offenders,
        }
    }

    /// Sheds none of these from now on.
    pub fn spare(&self, prefixes: Vec<IpNet>) {
        self.spared.store(Arc::new(prefixes));
    }

    /// Takes other settings; counts and levels stay.
    pub fn publish(&self, config: Shed) {
        self.config.store(Arc::new(config));
    }

    /// Counts a refusal; the shed that it triggers. Only a socket's peer is shed: who is known by a
    /// proxy's word keeps getting 429.
    pub fn refused(&self, client: Client, now_ns: u64) -> Option<Offender> {
        let config = self.config.load();
        if client.origin != Origin::Peer || config.steps.is_empty() {
            return None;
        }
        let now_ms = now_ns / 1_000_000;
        self.touch_level(client.key, now_ms);
        if !self.count(client.key, &config, now_ms)
            || self.in_grace(client.key, now_ms)
            || self.is_spared(client.key)
        {
            return None;
        }
        let level = self.climb(client.key, &config, now_ms);
        let length = *config.steps.get(level as usize)?;
        let offender = Offender { key: client.key, level, length };
        self.offenders.try_send(offender).is_ok().then_some(offender)
    }

    /// The step of a client that is offered many times its limit by the fleet; None for whom nobody sheds.
    pub fn flagrant(&self, key: ClientKey, now_ns: u64) -> Option<Offender> {
        let (config, now_ms) = (self.config.load(), now_ns / 1_000_000);
        if config.steps.is_empty() || self.in_grace(key, now_ms) || self.is_spared(key) {
            return None;
        }
        let level = self.climb(key, &config, now_ms);
        Some(Offender { key, level, length: *config.steps.get(level as usize)? })
    }

    /// Forgets refusals and level, and sheds the client for nothing within `grace`.
    pub fn pardon(&self, key: ClientKey, grace: Duration, now_ns: u64) {
        self.refusals.set_present(key.0, 0);
        self.levels.set_present(key.0, 0);
        let until_ms = now_ns / 1_000_000 + u64::try_from(grace.as_millis()).unwrap_or(u64::MAX >> 1);
        self.graces.update(key.0, 0, |_| (Some(until_ms), ()));
    }

    /// Refusals in the running window.
    pub fn refusals(&self, key: ClientKey, now_ns: u64) -> u32 {
        let word = self.refusals.read(key.0).unwrap_or(0);
        let within_ms = window_ms(&self.config.load());
        let (start_ms, count) = (word >> COUNT_BITS, word & ((1 << COUNT_BITS) - 1));
        let runs = (now_ns / 1_000_000).saturating_sub(start_ms) <= within_ms;
        if runs { u32::try_from(count).unwrap_or(u32::MAX) } else { 0 }
    }

    /// The step that the next shed would take; None before the first.
    pub fn level(&self, key: ClientKey, now_ns: u64) -> Option<u32> {
        let steps = steps_taken(self.levels.read(key.0)?, &self.config.load(), now_ns / 1_000_000);
        (steps > 0).then_some(steps)
    }

    /// One more refusal in the window that its first one began; whether it is one too many.
    fn count(&self, key: ClientKey, config: &Shed, now_ms: u64) -> bool {
        let within_ms = window_ms(config);
        self.refusals.update(key.0, 0, |word| {
            let (start_ms, count) = (word >> COUNT_BITS, word & ((1 << COUNT_BITS) - 1));
            let runs = word != 0 && now_ms.saturating_sub(start_ms) <= within_ms;
            let (start_ms, count) = if runs { (start_ms, count + 1) } else { (now_ms, 1) };
            if count >= u64::from(config.refused) {
                (Some(0), true)
            } else {
                (Some(start_ms << COUNT_BITS | count), false)
            }
        })
    }

    /// The step for this shed; the next one's is a step higher.
    fn climb(&self, key: ClientKey, config: &Shed, now_ms: u64) -> u32 {
        let last = u32::try_from(config.steps.len().saturating_sub(1)).unwrap_or(u32::MAX);
        self.levels.update(key.0, 0, |word| {
            let level = steps_taken(word, config, now_ms).min(last);
            let taken = u64::from(level.min(last) + 1).min((1 << LEVEL_BITS) - 1);
            (Some(now_ms << LEVEL_BITS | taken), level)
        })
    }

    /// A refusal holds the level where it has fallen to.
    fn touch_level(&self, key: ClientKey, now_ms: u64) {
        if self.levels.read(key.0).is_some_and(|word| word != 0) {
            let config = self.config.load();
            self.levels.update(key.0, 0, |word| {
                let steps = u64::from(steps_taken(word, &config, now_ms));
                (Some(if steps == 0 { 0 } else { now_ms << LEVEL_BITS | steps }), ())
            });
        }
    }

    fn is_spared(&self, key: ClientKey) -> bool {
        let net = prefix_of(key);
        self.spared.load().iter().any(|spared| spared.contains(&net) || net.contains(spared))
    }

    fn in_grace(&self, key: ClientKey, now_ms: u64) -> bool {
        self.graces.read(key.0).is_some_and(|until_ms| until_ms > now_ms)
    }
}

/// The level falls by one for each whole last step without a refusal.
fn steps_taken(word: u64, config: &Shed, now_ms: u64) -> u32 {
    let (at_ms, taken) = (word >> LEVEL_BITS, word & ((1 << LEVEL_BITS) - 1));
    let last_step_ms = config.steps.last().map_or(1, |step| as_ms(*step)).max(1);
    let fallen = now_ms.saturating_sub(at_ms) / last_step_ms;
    u32::try_from(taken.saturating_sub(fallen)).unwrap_or(u32::MAX)
}

fn window_ms(config: &Shed) -> u64 {
    as_ms(config.within)
}

fn as_ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
