//! What the store answers a batch with: how far the fleet's word is ahead, what the fleet is offered, the
//! node's share; and what others found meanwhile.

use std::time::Duration;

use super::{BanWord, Subject};
use crate::model::Limit;

/// Numbers and texts, nested: what a Lua script can answer. The link turns the wire into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wire {
    Int(i64),
    Text(String),
    List(Vec<Wire>),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Microseconds of Redis's clock.
    pub redis_us: i64,
    /// Nodes that are alive; 0 where it was not asked.
    pub nodes: u32,
    /// Of the stream, as far as it is read now.
    pub last_id: String,
    /// One an item of the batch.
    pub told: Vec<Told>,
    pub heard: Vec<Heard>,
}

/// Of one subject.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// How far the fleet's TAT is ahead of now.
    pub ahead_ns: u64,
    /// A second.
    pub offered: u32,
    /// The node's part of it, in millionths; of all nodes they sum to one.
    pub share_ppm: u32,
    /// Offered at least three times the limit for two seconds; told once, to one node.
    pub flagrant: bool,
}

/// A message on the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The subject is over the fleet's limit.
    Sentence(Sentenced),
    /// Many nodes admit a little of it: each tells exactly from now on.
    Wide(Sentenced),
    Ban(BanWord),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sentenced {
    pub subject: Subject,
    pub limit: Limit,
    pub ahead_ns: u64,
    pub offered: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the store's answer is not the script's: another version of Weir may have left something under its keys"
)]
pub struct AnswerError;

impl Answer {
    pub fn parse(wire: &Wire) -> Result<Self, AnswerError> {
        let Wire::List(parts) = wire else { return Err(AnswerError) };
        let [redis, nodes, last_id, told, heard] = parts.as_slice() else { return Err(AnswerError) };
        let (Wire::Text(last_id), Wire::List(told), Wire::List(heard)) = (last_id, told, heard) else {
            return Err(AnswerError);
        };
        Ok(Self {
            redis_us: number(redis)?,
            nodes: u32::try_from(number(nodes)?).unwrap_or(0),
            last_id: last_id.clone(),
            told: told.chunks(4).map(Told::parse).collect::<Result<_, _>>()?,
            // A message of a newer version is not for this one.
            heard: heard.chunks(2).filter_map(Heard::parse).collect(),
        })
    }
}

impl Told {
    fn parse(words: &[Wire]) -> Result<Self, AnswerError> {
        let [ahead, offered, share, flagrant] = words else { return Err(AnswerError) };
        Ok(Self {
            ahead_ns: nanos(number(ahead)?),
            offered: u32::try_from(number(offered)?).unwrap_or(u32::MAX),
            share_ppm: u32::try_from(number(share)?).unwrap_or(0).min(1_000_000),
            flagrant: number(flagrant)? == 1,
        })
    }
}

impl Heard {
    fn parse(words: &[Wire]) -> Option<Self> {
        let [age, Wire::Text(message)] = words else { return None };
        let age_ns = nanos(number(age).ok()?);
        let mut words = message.split(' ');
        let kind = words.next()?;
        if matches!(kind, "B" | "U") {
            return BanWord::parse(message, Duration::from_nanos(age_ns)).map(Self::Ban);
        }
        let (subject, ahead, offered) = (words.next()?, words.next()?, words.next()?);
        let (interval, tau) = (words.next()?.parse::<f64>().ok()?, words.next()?.parse::<u64>().ok()?);
        let sentenced = Sentenced {
            subject: Subject::parse(subject)?,
            limit: Limit { interval: (interval * 65_536_000.0) as u64, tau_ns: tau.saturating_mul(1_000) },
            ahead_ns: nanos(ahead.parse().ok()?).saturating_sub(age_ns),
            offered: offered.parse().ok()?,
        };
        match kind {
            "S" => Some(Self::Sentence(sentenced)),
            "W" => Some(Self::Wide(sentenced)),
            _ => None,
        }
    }
}

/// What one node told of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeCharge {
    /// Its name; it has a part of its own for each of its lives.
    pub node: String,
    /// In the last second of which it told.
    pub offered: u32,
    /// Since the store began to count, which it forgets when the client is quiet.
    pub admitted: u64,
}

impl NodeCharge {
    /// Of a client's hash, as the script writes it.
    pub fn all(wire: &Wire) -> Vec<Self> {
        let Wire::List(words) = wire else { return Vec::new() };
        let mut all: Vec<_> = words.chunks_exact(2).filter_map(Self::parse).collect();
        all.sort_by(|one, other| one.node.cmp(&other.node));
        all
    }

    fn parse(pair: &[Wire]) -> Option<Self> {
        let [Wire::Text(name), Wire::Text(counts)] = pair else { return None };
        let mut counts = counts.split(' ').skip(1).map(str::parse::<u64>);
        let (before, current) = (counts.next()?.ok()?, counts.next()?.ok()?);
        Some(Self {
            node: name.strip_prefix("n:")?.to_owned(),
            offered: u32::try_from(before.max(current)).unwrap_or(u32::MAX),
            admitted: counts.next()?.ok()?,
        })
    }
}

fn number(wire: &Wire) -> Result<i64, AnswerError> {
    match wire {
        Wire::Int(number) => Ok(*number),
        Wire::Text(_) | Wire::List(_) => Err(AnswerError),
    }
}

fn nanos(micros: i64) -> u64 {
    u64::try_from(micros).unwrap_or(0).saturating_mul(1_000)
}
