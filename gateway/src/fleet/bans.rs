//! Bans of the whole fleet: an operator's, and flagrant clients'. Each has a version that the store gave
//! it, so that what arrives late or twice changes nothing, and an old ban cannot come back after its end.

use std::collections::HashMap;
use std::time::Duration;

use super::{AnswerError, Subject, Wire};
use crate::model::ClientKey;
use crate::plane::BanReason;

/// Versions that are kept at once. Beyond it all are forgotten: what comes next is taken at its word.
const KNOWN_MAX: usize = 1 << 17;

/// A decision on a client, as nodes tell each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BanWord {
    pub client: ClientKey,
    pub what: What,
    generation: u64,
    version: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// None: for ever.
    Ban { left: Option<Duration>, reason: BanReason, level: u32 },
    /// And not to be shed again for so long.
    Unban { grace: Duration },
}

/// A decision of this node's, to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    pub client: ClientKey,
    pub what: What,
    /// Told again after the store lost its data: it holds unless the store knows better.
    pub again: bool,
}

/// What the store answered to a [`Order`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ordered {
    generation: u64,
    version: u64,
    pub is_in_force: bool,
}

/// A part of a tag's bans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Learned {
    pub generation: u64,
    /// None: that was all.
    pub cursor: Option<String>,
    pub words: Vec<BanWord>,
}

/// The versions that this node has seen.
#[derive(Debug, Default)]
pub struct BanBook {
    known: HashMap<ClientKey, (u64, u64)>,
}

impl BanBook {
    /// Whether the word is news. Of another generation it is: the store lost what it knew.
    pub fn take(&mut self, word: &BanWord) -> bool {
        self.note(word.client, word.generation, word.version)
    }

    pub fn ordered(&mut self, client: ClientKey, ordered: &Ordered) {
        if ordered.is_in_force {
            self.note(client, ordered.generation, ordered.version);
        }
    }

    fn note(&mut self, client: ClientKey, generation: u64, version: u64) -> bool {
        if let Some((of, known)) = self.known.get(&client)
            && *of == generation
            && *known >= version
        {
            return false;
        }
        if self.known.len() >= KNOWN_MAX {
            self.known.clear();
        }
        self.known.insert(client, (generation, version));
        true
    }
}

impl BanWord {
    /// `B c:192.0.2.1 generation version left_ms reason level`, or `U` with the same words.
    pub fn parse(message: &str, age: Duration) -> Option<Self> {
        let mut words = message.split(' ');
        let kind = words.next()?;
        let Some(Subject::Client(client)) = Subject::parse(words.next()?) else { return None };
        let (generation, version) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let left_ms: u64 = words.next()?.parse().ok()?;
        let (reason, level) = (words.next()?, words.next()?.parse().ok()?);
        let what = match kind {
            "U" => What::Unban { grace: Duration::from_millis(left_ms).saturating_sub(age) },
            "B" => {
                let reason = if reason == "operator" { BanReason::Operator } else { BanReason::Shed };
                let left = (left_ms > 0).then(|| Duration::from_millis(left_ms).saturating_sub(age));
                What::Ban { left, reason, level }
            }
            _ => return None,
        };
        Some(Self { client, what, generation, version })
    }
}

impl Order {
    pub fn subject(&self) -> Subject {
        Subject::Client(self.client)
    }

    /// In the script's order, for a decision that is so old.
    pub fn arguments(&self, age: Duration) -> Vec<String> {
        let (word, length_ms, reason, level) = match self.what {
            What::Ban { left, reason, level } => {
                let word = if self.again { "keep" } else { "ban" };
                // What is over meanwhile is told as over within the millisecond: 0 would be for ever.
                let left_ms = left.map_or(0, |left| left.saturating_sub(age).as_millis().max(1));
                let reason = match reason {
                    BanReason::Operator => "operator",
                    BanReason::Shed => "shed",
                };
                (word, left_ms, reason, level)
            }
            What::Unban { grace } => ("unban", grace.saturating_sub(age).as_millis(), "operator", 0),
        };
        vec![
            self.subject().to_string(),
            word.to_owned(),
            length_ms.to_string(),
            reason.to_owned(),
            level.to_string(),
            age.as_micros().to_string(),
        ]
    }
}

impl Ordered {
    pub fn parse(wire: &Wire) -> Result<Self, AnswerError> {
        match wire {
            Wire::List(words) => match words.as_slice() {
                [Wire::Int(generation), Wire::Int(version), Wire::Int(in_force)] => Ok(Self {
                    generation: generation.cast_unsigned(),
                    version: version.cast_unsigned(),
                    is_in_force: *in_force == 1,
                }),
                _ => Err(AnswerError),
            },
            Wire::Int(_) | Wire::Text(_) => Err(AnswerError),
        }
    }
}

impl Learned {
    pub fn parse(wire: &Wire) -> Result<Self, AnswerError> {
        let Wire::List(parts) = wire else { return Err(AnswerError) };
        let [Wire::Int(generation), Wire::Text(cursor), Wire::List(messages)] = parts.as_slice() else {
            return Err(AnswerError);
        };
        let word = |message: &Wire| match message {
            Wire::Text(text) => BanWord::parse(text, Duration::ZERO),
            Wire::Int(_) | Wire::List(_) => None,
        };
        Ok(Self {
            generation: generation.cast_unsigned(),
            cursor: (cursor != "0").then(|| cursor.clone()),
            words: messages.iter().filter_map(word).collect(),
        })
    }
}
