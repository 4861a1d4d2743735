//! `push.lua` in Rust, in the same doubles: what the simulation has for a store. A test holds it against
//! the script in a real Redis.

use std::collections::{BTreeMap, HashMap};

use weir::fleet::{Ask, Item, Wire};

/// The keys of one hash tag.
#[derive(Default)]
pub struct Twin {
    batches: HashMap<String, u64>,
    clients: HashMap<String, Client>,
    stream: Vec<(Id, String)>,
    nodes: BTreeMap<String, f64>,
}

/// Milliseconds and the number among those of the same.
type Id = (u64, u64);

#[derive(Default)]
struct Client {
    r: f64,
    offered: Offered,
    said: f64,
    since: f64,
    samples: f64,
    samples_since: f64,
    nodes: HashMap<String, Offered>,
}

#[derive(Clone, Copy, Default)]
struct Offered {
    second: f64,
    before: f64,
    current: f64,
}

const NEWS: usize = 64;
const SAID_EVERY: f64 = 100_000.0;

impl Twin {
    /// The script's answer to `ask` of `node`, sent at `sent_ns` of its own clock, at `now` microseconds
    /// of Redis's.
    pub fn push(&mut self, ask: &Ask, node: &str, sent_ns: u64, now: u64) -> Wire {
        let now_us = now as f64;
        let number = ask.batch.as_ref().map_or(0, |batch| batch.number);
        let mut seen = false;
        if number > 0 {
            seen = self.batches.get(node).copied().unwrap_or(0) >= number;
            self.batches.insert(node.to_owned(), number);
        }
        let mut alive = 0;
        if ask.beats {
            self.nodes.insert(node.to_owned(), now_us);
            self.nodes.retain(|_, at| *at > now_us - 10_000_000.0);
            alive = self.nodes.len();
        }
        let sent_us = ask.sent_us(sent_ns).map_or(now_us, |us| us as f64);
        let kept = (now_us - sent_us).clamp(0.0, 60_000_000.0);
        let mut told = Vec::new();
        for item in ask.items() {
            let age = (item.age_ns(sent_ns) / 1_000) as f64;
            let age = if seen || item.admitted == 0 { age } else { age + kept };
            self.take(item, node, seen, age, now_us, ask.nodes, &mut told);
        }
        let (last, news) = self.news(&ask.last_id, now_us);
        Wire::List(vec![int(now_us), int(alive as f64), Wire::Text(last), Wire::List(told), Wire::List(news)])
    }

    #[expect(clippy::too_many_arguments, reason = "the script's arguments")]
    fn take(
        &mut self,
        item: &Item,
        node: &str,
        seen: bool,
        age: f64,
        now: f64,
        known: u32,
        told: &mut Vec<Wire>,
    ) {
        let second = (now / 1_000_000.0).floor();
        // As it is written into the arguments.
        let interval = (item.limit.interval as f64 / 65_536_000.0 * 1_000.0).round_ties_even() / 1_000.0;
        let tau = (item.limit.tau_ns / 1_000) as f64;
        let of = |n: u32| if seen { 0.0 } else { f64::from(n) };
        let (admitted, offered, samples) = (of(item.admitted), of(item.offered), of(item.samples));
        let name = item.subject.to_string();
        let client = self.clients.entry(name.clone()).or_default();
        let late = (tau / 2.0).clamp(300_000.0, 1_000_000.0);
        let (mut charge, over) = (admitted * interval, (age - late).max(0.0));
        if over > 0.0 && admitted > 0.0 {
            let old = interval * (1.0 + (admitted - 1.0) * over / age);
            charge = charge - old + (old - over).max(0.0);
        }
        charge = charge.min(tau + age.min(late));
        let debt = (f64::from(known) * interval).clamp(10_000_000.0, 60_000_000.0);
        let r = (client.r.max(now - age) + charge).min(now + tau + debt);
        if second != client.offered.second && second != client.offered.second + 1.0 {
            client.since = 0.0;
        }
        client.offered.roll(second);
        let own = client.nodes.entry(node.to_owned()).or_default();
        own.roll(second);
        client.offered.current += offered;
        own.current += offered;
        let (ahead, rate) = (r - now, client.offered.before.max(client.offered.current));
        let sum = client.offered.before + client.offered.current;
        let share = if sum > 0.0 { (1_000_000.0 * (own.before + own.current) / sum).floor() } else { 0.0 };
        let mut flagrant = 0.0;
        if rate * interval >= 3_000_000.0 {
            if client.since == 0.0 {
                client.since = now;
            } else if now - client.since >= 2_000_000.0 && item.bannable {
                (client.since, flagrant) = (now, 1.0);
            }
        } else {
            client.since = 0.0;
        }
        let what = format!(" {name} {ahead:.0} {rate:.0} {interval:.3} {tau:.0}");
        let mut said = Vec::new();
        if samples > 0.0 {
            if second - client.samples_since > 10.0 {
                (client.samples, client.samples_since) = (0.0, second);
            }
            client.samples += samples;
            if client.samples >= 8.0 {
                client.samples = 0.0;
                said.push(format!("W{what}"));
            }
        }
        if ahead > tau && now - client.said >= SAID_EVERY {
            client.said = now;
            said.push(format!("S{what}"));
        }
        client.r = r.round_ties_even();
        for message in said {
            self.say(message, now);
        }
        told.extend([int(ahead.ceil()), int(rate), int(share), int(flagrant)]);
    }

    fn say(&mut self, message: String, now: f64) {
        let ms = (now / 1_000.0) as u64;
        let id = match self.stream.last() {
            Some(((last, number), _)) if *last >= ms => (*last, number + 1),
            _ => (ms, 0),
        };
        self.stream.push((id, message));
    }

    fn news(&self, last: &str, now: f64) -> (String, Vec<Wire>) {
        let tail = self.stream.last().map_or((0, 0), |(id, _)| *id);
        let Some(last) = parse(last) else { return (text(tail), Vec::new()) };
        let from = self.stream.partition_point(|(id, _)| *id <= last);
        let rows: Vec<_> = self.stream.iter().skip(from).take(NEWS).collect();
        let Some((read, _)) = rows.last() else {
            return (if tail.0 < last.0 { text((0, 0)) } else { text(tail) }, Vec::new());
        };
        let age = |id: &Id| int((now - (id.0 * 1_000) as f64).max(0.0));
        let news = rows.iter().flat_map(|(id, message)| [age(id), Wire::Text(message.clone())]);
        (text(*read), news.collect())
    }
}

impl Offered {
    fn roll(&mut self, second: f64) {
        if second != self.second {
            self.before = if second == self.second + 1.0 { self.current } else { 0.0 };
            (self.current, self.second) = (0.0, second);
        }
    }
}

fn int(number: f64) -> Wire {
    Wire::Int(number as i64)
}

fn text((ms, number): Id) -> String {
    format!("{ms}-{number}")
}

fn parse(id: &str) -> Option<Id> {
    let (ms, number) = id.split_once('-')?;
    Some((ms.parse().ok()?, number.parse().ok()?))
}
