//! One node of the fleet, without clock, socket or store: notes and answers go in, batches and effects
//! come out.

use std::collections::HashMap;
use std::sync::Arc;

use super::answer::Sentenced;
use super::entry::Entry;
use super::gate::{Due, pass};
use super::{Answer, Ask, BanBook, BanWord, Batch, Heard, Item, Learned, Order, Ordered, Subject, Told};
use crate::model::{ClientKey, Limit};

const SECOND_NS: u64 = 1_000_000_000;
/// A share holds for so long without word from the store; while the store is away it is held on to.
const SHARE_NS: u64 = 60 * SECOND_NS;
/// The share of who heard a sentence and has not been asked by the client lately.
const BORROWED_SHARE_NS: u64 = 2 * SECOND_NS;
/// A tag that was not heard of for so long is away.
const AWAY_NS: u64 = SECOND_NS;
/// An entry without news is forgotten after.
const IDLE_NS: u64 = 10 * SECOND_NS;
/// How long a client that many nodes admit a little of is told exactly.
const EXACT_NS: u64 = 60 * SECOND_NS;
const BEAT_NS: u64 = SECOND_NS;
/// Subjects that all nodes tell together in a flush, about; a node tells its part of it, within bounds.
const FLEET_ROOM: u32 = 20_480;
const ROOM_MIN: u32 = 20;
const ROOM_MAX: u32 = 512;
/// Subjects of one tag in one call: what the script may cost.
const BATCH_MAX: usize = 256;
/// Of so many admitted requests of cold clients one is told as a sample, where there is little room.
const SAMPLED: u32 = 256;
/// A fleet so large reads quiet tags in every other flush.
const LARGE_FLEET: u32 = 128;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    pub tags: u16,
    /// Subjects that are known at once.
    pub capacity: usize,
}

/// What the request path saw of a subject since it was looked at last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noted {
    pub subject: Subject,
    pub limit: Limit,
    pub admitted: u32,
    /// Refused ones too.
    pub offered: u32,
    pub first_ns: u64,
    /// It is the peer of a socket: a ban would meet it and nobody else.
    pub from_peer: bool,
}

/// What is to be done on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The subject's TAT is at least so far ahead of now.
    Raise {
        subject: Subject,
        ahead_ns: u64,
    },
    /// Besides its limit the subject has this one here, until then.
    Share {
        subject: Subject,
        limit: Limit,
        until_ns: u64,
    },
    Unshare {
        subject: Subject,
    },
    /// To be banned on every node.
    Flagrant {
        client: ClientKey,
    },
    /// Another node's decision.
    Ban(BanWord),
}

/// Since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Subjects told and confirmed.
    pub pushed: u64,
    /// Hot ones that a flush had no room for.
    pub deferred: u64,
    /// Admitted here beyond the fleet's limit.
    pub overshoot: u64,
    pub sentences: u64,
    /// Found admitted in small parts by many nodes.
    pub wide: u64,
    /// Notes that found no place.
    pub untracked: u64,
}

pub struct Node {
    settings: Settings,
    entries: HashMap<Subject, Entry>,
    lanes: Vec<Lane>,
    nodes: u32,
    beat_ns: u64,
    /// The last flush had no room for all.
    is_short: bool,
    cold: u32,
    turn: u64,
    book: BanBook,
    counts: Counts,
}

/// What is under way for one hash tag.
#[derive(Debug, Default)]
struct Lane {
    number: u64,
    /// Not confirmed: asked again as it is.
    batch: Option<Arc<Batch>>,
    is_out: bool,
    sent_ns: u64,
    last_id: String,
    heard_ns: u64,
    offset_us: Option<i64>,
}

impl Node {
    pub fn new(settings: Settings, now_ns: u64) -> Self {
        let lane = || Lane { heard_ns: now_ns, ..Lane::default() };
        Self {
            settings,
            entries: HashMap::new(),
            lanes: (0..settings.tags).map(|_| lane()).collect(),
            nodes: 0,
            beat_ns: 0,
            is_short: false,
            cold: 0,
            turn: 0,
            book: BanBook::default(),
            counts: Counts::default(),
        }
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Nodes that were alive at the last look; 0 before it.
    pub fn nodes(&self) -> u32 {
        self.nodes
    }

    pub fn tracked(&self) -> usize {
        self.entries.len()
    }

    /// The longest that a tag has been silent.
    pub fn lag_ns(&self, now_ns: u64) -> u64 {
        self.lanes.iter().map(|lane| now_ns.saturating_sub(lane.heard_ns)).max().unwrap_or(0)
    }

    pub fn note(&mut self, noted: &Noted, now_ns: u64) {
        let is_full = self.entries.len() >= self.settings.capacity;
        if is_full && !self.entries.contains_key(&noted.subject) {
            self.entries.retain(|_, entry| !entry.is_idle() || entry.is_exact(now_ns));
            if self.entries.len() >= self.settings.capacity {
                self.counts.untracked += 1;
                return;
            }
        }
        let entry = self.entries.entry(noted.subject).or_insert_with(|| Entry::new(noted.limit, now_ns));
        entry.limit = noted.limit;
        entry.from_peer |= noted.from_peer;
        entry.note(noted.admitted, noted.offered, noted.first_ns, now_ns);
        if self.is_short && !entry.is_hot(now_ns) {
            self.cold = self.cold.saturating_add(noted.admitted);
            entry.samples += self.cold / SAMPLED;
            self.cold %= SAMPLED;
        }
    }

    /// What is asked now: of each tag that owes no answer, a batch and what is new on its stream.
    pub fn flush(&mut self, now_ns: u64, effects: &mut Vec<Effect>) -> Vec<Ask> {
        self.turn += 1;
        self.hold_shares(now_ns, effects);
        self.entries.retain(|_, entry| {
            let is_fresh = now_ns.saturating_sub(entry.seen_ns) < IDLE_NS;
            is_fresh || !entry.is_idle() || entry.is_exact(now_ns)
        });
        self.fill(now_ns);
        let beats = now_ns.saturating_sub(self.beat_ns) >= BEAT_NS;
        let reads = self.nodes < LARGE_FLEET || self.turn.is_multiple_of(2);
        let nodes = self.nodes.max(1);
        let mut asks = Vec::new();
        for (tag, lane) in (0..).zip(&mut self.lanes) {
            let is_wanted = lane.batch.is_some() || reads || beats && tag == 0;
            if lane.is_out || !is_wanted {
                continue;
            }
            (lane.is_out, lane.sent_ns) = (true, now_ns);
            let beats = beats && tag == 0;
            if beats {
                self.beat_ns = now_ns;
            }
            asks.push(Ask {
                tag,
                batch: lane.batch.clone(),
                last_id: lane.last_id.clone(),
                nodes,
                beats,
                offset_us: lane.offset_us,
            });
        }
        asks
    }

    /// Puts who is due into the batches of the tags that have none.
    fn fill(&mut self, now_ns: u64) {
        let tags = self.settings.tags;
        let is_open = |lanes: &[Lane], subject: &Subject| {
            lanes.get(usize::from(subject.tag(tags))).is_some_and(|lane| lane.batch.is_none() && !lane.is_out)
        };
        let due = self.entries.iter().filter(|(_, entry)| entry.is_due(now_ns));
        let due = due.filter(|(subject, _)| is_open(&self.lanes, subject));
        let due = due.map(|(subject, entry)| Due::new(*subject, entry, now_ns)).collect();
        let room = (FLEET_ROOM / self.nodes.max(1)).clamp(ROOM_MIN, ROOM_MAX);
        let passed = pass(due, room as usize);
        self.is_short = !passed.cold.is_empty() || passed.deferred > 0;
        self.counts.deferred += passed.deferred;
        let mut batches: HashMap<u16, Vec<Item>> = HashMap::new();
        for due in passed.now {
            let items = batches.entry(due.subject.tag(tags)).or_default();
            match self.entries.get_mut(&due.subject) {
                Some(entry) if items.len() < BATCH_MAX => items.push(entry.tell(due.subject, now_ns)),
                Some(_) => self.counts.deferred += 1,
                None => {}
            }
        }
        for (tag, items) in batches {
            if let Some(lane) = self.lanes.get_mut(usize::from(tag)) {
                lane.number += 1;
                lane.batch = Some(Arc::new(Batch { number: lane.number, items }));
            }
        }
    }

    /// The store confirms what was asked of `tag`, however late.
    pub fn answered(&mut self, tag: u16, answer: &Answer, now_ns: u64, effects: &mut Vec<Effect>) {
        let Some(lane) = self.lanes.get_mut(usize::from(tag)) else { return };
        lane.is_out = false;
        lane.heard_ns = now_ns;
        lane.last_id.clone_from(&answer.last_id);
        lane.offset_us = i64::try_from(lane.sent_ns / 1_000).ok().map(|us| answer.redis_us - us);
        let batch = lane.batch.take();
        if answer.nodes > 0 {
            self.nodes = answer.nodes;
        }
        // First all are confirmed: from here on the store's word has the batch in it.
        let items = batch.as_ref().map_or(&[][..], |batch| &batch.items);
        for item in items {
            if let Some(entry) = self.entries.get_mut(&item.subject) {
                entry.flight = 0;
            }
        }
        for (item, told) in items.iter().zip(&answer.told) {
            self.counts.pushed += 1;
            self.take(item, told, now_ns, effects);
        }
        for heard in &answer.heard {
            match heard {
                Heard::Sentence(sentenced) => self.sentenced(sentenced, now_ns, effects),
                Heard::Wide(sentenced) => self.found_wide(sentenced, now_ns),
                Heard::Ban(word) => self.hear(word, effects),
            }
        }
    }

    /// There is no answer and none will come: what was told is told again, as it was.
    pub fn failed(&mut self, tag: u16) {
        if let Some(lane) = self.lanes.get_mut(usize::from(tag)) {
            lane.is_out = false;
        }
    }

    /// What the store holds of a tag's bans.
    pub fn learned(&mut self, learned: &Learned, effects: &mut Vec<Effect>) {
        learned.words.iter().for_each(|word| self.hear(word, effects));
    }

    /// The store took an order of this node's, or knew better.
    pub fn ordered(&mut self, order: &Order, ordered: &Ordered) {
        self.book.ordered(order.client, ordered);
    }

    fn hear(&mut self, word: &BanWord, effects: &mut Vec<Effect>) {
        if self.book.take(word) {
            effects.push(Effect::Ban(*word));
        }
    }

    fn take(&mut self, item: &Item, told: &Told, now_ns: u64, effects: &mut Vec<Effect>) {
        let Some(entry) = self.entries.get_mut(&item.subject) else { return };
        let subject = item.subject;
        let ahead_ns = told.ahead_ns.saturating_add(entry.untold_ns(now_ns));
        if told.ahead_ns > 0 {
            effects.push(Effect::Raise { subject, ahead_ns });
        }
        if let (true, Subject::Client(client)) = (told.flagrant, subject) {
            effects.push(Effect::Flagrant { client });
        }
        let over_ns = told.ahead_ns.saturating_sub(item.limit.tau_ns);
        let over = (u128::from(over_ns) << 16) / u128::from(item.limit.interval.max(1));
        self.counts.overshoot += u64::try_from(over).unwrap_or(u64::MAX).min(u64::from(item.admitted));
        if is_over(&item.limit, told.offered, told.ahead_ns) {
            let least = 1_000_000 / told.offered.max(1);
            let share_ppm = told.share_ppm.max(least);
            entry.share(share_ppm, now_ns + SHARE_NS);
            effects.push(share(subject, &item.limit, share_ppm, now_ns + SHARE_NS));
        } else if is_well(&item.limit, told.offered, told.ahead_ns) && entry.unshare() {
            effects.push(Effect::Unshare { subject });
        }
    }

    /// Another node's push found the subject over the limit.
    fn sentenced(&mut self, found: &Sentenced, now_ns: u64, effects: &mut Vec<Effect>) {
        self.counts.sentences += 1;
        let Sentenced { subject, limit, ahead_ns, offered } = *found;
        let entry = self.entries.get_mut(&subject);
        let untold_ns = entry.as_ref().map_or(0, |entry| entry.untold_ns(now_ns));
        if ahead_ns > 0 {
            effects.push(Effect::Raise { subject, ahead_ns: ahead_ns.saturating_add(untold_ns) });
        }
        if !is_over(&limit, offered, ahead_ns) {
            return;
        }
        let part = |rate: u32| {
            let ppm = u64::from(rate.max(1)) * 1_000_000 / u64::from(offered.max(1));
            u32::try_from(ppm).unwrap_or(1_000_000).clamp(1, 1_000_000)
        };
        match entry {
            // What the script handed out stays: only then do all shares sum to one.
            Some(entry) if entry.share_ppm.is_some() => {}
            Some(entry) if entry.rate() > 0 => {
                let share_ppm = part(entry.rate());
                entry.share(share_ppm, now_ns + SHARE_NS);
                effects.push(share(subject, &limit, share_ppm, now_ns + SHARE_NS));
            }
            Some(_) | None => effects.push(share(subject, &limit, part(1), now_ns + BORROWED_SHARE_NS)),
        }
    }

    fn found_wide(&mut self, found: &Sentenced, now_ns: u64) {
        self.counts.wide += 1;
        if let Some(entry) = self.entries.get_mut(&found.subject) {
            entry.exact_until_ns = now_ns + EXACT_NS;
        } else if self.entries.len() < self.settings.capacity {
            let mut entry = Entry::new(found.limit, now_ns);
            entry.exact_until_ns = now_ns + EXACT_NS;
            self.entries.insert(found.subject, entry);
        }
    }

    /// Shares of tags that are away do not lapse; others do when nobody renews them.
    fn hold_shares(&mut self, now_ns: u64, effects: &mut Vec<Effect>) {
        for (subject, entry) in &mut self.entries {
            let Some(share_ppm) = entry.share_ppm else { continue };
            let lane = self.lanes.get(usize::from(subject.tag(self.settings.tags)));
            if lane.is_some_and(|lane| now_ns.saturating_sub(lane.heard_ns) > AWAY_NS) {
                entry.share(share_ppm, now_ns + SHARE_NS);
                effects.push(share(*subject, &entry.limit, share_ppm, now_ns + SHARE_NS));
            } else if entry.share_until_ns <= now_ns {
                entry.unshare();
                effects.push(Effect::Unshare { subject: *subject });
            }
        }
    }
}

/// The share is switched on by the bucket's level, not by the rate alone: who stays below its limit in
/// bursts is left alone.
fn is_over(limit: &Limit, offered: u32, ahead_ns: u64) -> bool {
    cost_ns(limit, offered) > u128::from(SECOND_NS)
        && u128::from(ahead_ns) * 10 > u128::from(limit.tau_ns) * 8
}

fn is_well(limit: &Limit, offered: u32, ahead_ns: u64) -> bool {
    cost_ns(limit, offered) * 10 < u128::from(SECOND_NS) * 8
        || u128::from(ahead_ns) * 10 < u128::from(limit.tau_ns) * 3
}

fn cost_ns(limit: &Limit, n: u32) -> u128 {
    (u128::from(limit.interval) * u128::from(n)) >> 16
}

/// A part of a limit: its rate, and a quarter of its burst, for the fleet's burst is spent already.
fn share(subject: Subject, limit: &Limit, share_ppm: u32, until_ns: u64) -> Effect {
    let interval = u128::from(limit.interval) * 1_000_000 / u128::from(share_ppm.max(1));
    let interval = u64::try_from(interval).unwrap_or(u64::MAX).min(Limit::TAU_MAX_NS << 16);
    let mut limit = Limit { interval, tau_ns: limit.tau_ns };
    limit.tau_ns = (limit.tau_ns / 4).max(limit.cost_ns(1));
    Effect::Share { subject, limit, until_ns }
}
