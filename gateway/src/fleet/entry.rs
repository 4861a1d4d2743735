//! What a node knows of one subject: what it admitted and has not told, what it told and is not
//! confirmed, and what it is offered a second.

use super::{Item, Subject, soften_ns};
use crate::model::Limit;

const SECOND_NS: u64 = 1_000_000_000;
/// Refused requests alone are told so often.
const OFFERED_EVERY_NS: u64 = SECOND_NS;
/// What waits for so long, and is more than a request or two, is told though it is little.
const AGED_NS: u64 = 5 * SECOND_NS;
const AGED_ADMITTED: u32 = 3;

#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub limit: Limit,
    /// Admitted and not told, and when the first of them was.
    pub pending: u32,
    first_ns: u64,
    /// Told, not confirmed.
    pub flight: u32,
    /// Not told, refused ones too.
    offered: u32,
    second: u64,
    before: u32,
    current: u32,
    pub samples: u32,
    told_ns: u64,
    pub seen_ns: u64,
    pub from_peer: bool,
    /// Told exactly until then, whatever the gate.
    pub exact_until_ns: u64,
    /// It has a share.
    pub share_ppm: Option<u32>,
    pub share_until_ns: u64,
}

impl Entry {
    pub fn new(limit: Limit, now_ns: u64) -> Self {
        Self {
            limit,
            pending: 0,
            first_ns: 0,
            flight: 0,
            offered: 0,
            second: now_ns / SECOND_NS,
            before: 0,
            current: 0,
            samples: 0,
            told_ns: 0,
            seen_ns: now_ns,
            from_peer: false,
            exact_until_ns: 0,
            share_ppm: None,
            share_until_ns: 0,
        }
    }

    pub fn note(&mut self, admitted: u32, offered: u32, first_ns: u64, now_ns: u64) {
        self.roll(now_ns);
        self.current = self.current.saturating_add(offered);
        self.offered = self.offered.saturating_add(offered);
        self.seen_ns = now_ns;
        if admitted > 0 {
            if self.pending == 0 {
                self.first_ns = first_ns;
            }
            self.pending = self.pending.saturating_add(admitted);
        }
    }

    fn roll(&mut self, now_ns: u64) {
        let second = now_ns / SECOND_NS;
        if second != self.second {
            self.before = if second == self.second + 1 { self.current } else { 0 };
            (self.current, self.second) = (0, second);
        }
    }

    /// Offered in a second: the larger of the last whole one and the one that runs.
    pub fn rate(&self) -> u32 {
        self.before.max(self.current)
    }

    pub fn is_due(&self, now_ns: u64) -> bool {
        self.flight == 0
            && (self.pending > 0
                || self.offered > 0 && now_ns.saturating_sub(self.told_ns) >= OFFERED_EVERY_NS)
    }

    /// Whether it is told even where there is little room: a fifth of the burst waits, or it has been
    /// found before, or it has waited for long.
    pub fn is_hot(&self, now_ns: u64) -> bool {
        let burst = (u128::from(self.limit.tau_ns) << 16) / u128::from(self.limit.interval.max(1));
        let is_aged = self.pending >= AGED_ADMITTED && now_ns.saturating_sub(self.first_ns) >= AGED_NS;
        u128::from(self.pending) * 5 >= burst || self.is_exact(now_ns) || is_aged || self.samples > 0
    }

    pub fn is_exact(&self, now_ns: u64) -> bool {
        self.exact_until_ns > now_ns || self.share_ppm.is_some()
    }

    pub fn share(&mut self, share_ppm: u32, until_ns: u64) {
        (self.share_ppm, self.share_until_ns) = (Some(share_ppm), until_ns);
    }

    /// Whether there was one.
    pub fn unshare(&mut self) -> bool {
        self.share_ppm.take().is_some()
    }

    pub fn is_idle(&self) -> bool {
        self.pending == 0 && self.flight == 0 && self.offered == 0
    }

    /// Takes what is to be told.
    pub fn tell(&mut self, subject: Subject, now_ns: u64) -> Item {
        self.roll(now_ns);
        // After a gap more than a second's requests wait: what is told is a rate.
        let offered = self.offered.min(self.rate().max(1));
        let item = Item {
            subject,
            limit: self.limit,
            admitted: self.pending,
            first_ns: self.first_ns,
            offered,
            samples: self.samples,
            bannable: self.from_peer,
        };
        self.flight = self.pending;
        (self.pending, self.offered, self.samples, self.told_ns) = (0, 0, 0, now_ns);
        item
    }

    /// What the store does not know of, in ns of the limit. What it may or may not have counted counts.
    pub fn untold_ns(&self, now_ns: u64) -> u64 {
        let age_ns = now_ns.saturating_sub(self.first_ns);
        let flight_ns = self.limit.interval.saturating_mul(u64::from(self.flight)) >> 16;
        soften_ns(&self.limit, self.pending, age_ns).saturating_add(flight_ns)
    }
}
