//! What is told at once. A batch keeps its number and its content until the store confirms it, so that
//! a late twin is not counted again; only its age grows.

use std::sync::Arc;

use super::Subject;
use crate::model::Limit;

/// Told of the subjects of one hash tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    pub number: u64,
    pub items: Vec<Item>,
}

/// One subject's part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    pub subject: Subject,
    pub limit: Limit,
    pub admitted: u32,
    /// When the first of them was.
    pub first_ns: u64,
    /// A second, refused ones too.
    pub offered: u32,
    /// Of a client that is reported by samples.
    pub samples: u32,
    /// It may be banned where it is flagrant.
    pub bannable: bool,
}

/// One call of the script.
#[derive(Clone, Debug)]
pub struct Ask {
    pub tag: u16,
    pub batch: Option<Arc<Batch>>,
    /// Of the tag's stream, as far as it was read; empty before the first answer.
    pub last_id: String,
    /// Alive, as far as it is known; at least 1.
    pub nodes: u32,
    /// Tells that the node is alive.
    pub beats: bool,
    /// Redis's clock when it did the last call less this node's when it sent it, in microseconds: the way
    /// there is in it, so what takes longer than the last time shows.
    pub offset_us: Option<i64>,
}

impl Ask {
    /// Keys behind `prefix:{s<tag>}:`, in the script's order.
    pub fn keys(&self, node: &str) -> Vec<String> {
        let mut keys = vec![format!("b:{node}"), "sentences".to_owned(), "nodes".to_owned()];
        keys.extend(self.items().iter().map(|item| item.subject.to_string()));
        keys
    }

    /// Arguments in the script's order, as they are sent at `now_ns`.
    pub fn arguments(&self, node: &str, now_ns: u64) -> Vec<String> {
        let number = self.batch.as_ref().map_or(0, |batch| batch.number);
        let mut arguments = vec![
            node.to_owned(),
            number.to_string(),
            self.last_id.clone(),
            self.nodes.to_string(),
            flag(self.beats),
            self.sent_us(now_ns).map_or(String::new(), |us| us.to_string()),
        ];
        for item in self.items() {
            arguments.extend([
                // 2^-16 ns; three digits, so that a rate of thousands a second is not off by its rounding.
                format!("{:.3}", item.limit.interval as f64 / 65_536_000.0),
                micros(item.limit.tau_ns).to_string(),
                item.admitted.to_string(),
                micros(item.age_ns(now_ns)).to_string(),
                item.offered.to_string(),
                item.samples.to_string(),
                flag(item.bannable),
            ]);
        }
        arguments
    }

    /// `now_ns` by Redis's clock, as far as it is known.
    pub fn sent_us(&self, now_ns: u64) -> Option<i64> {
        i64::try_from(now_ns / 1_000).ok()?.checked_add(self.offset_us?)
    }

    pub fn items(&self) -> &[Item] {
        self.batch.as_ref().map_or(&[], |batch| &batch.items)
    }
}

impl Item {
    pub fn age_ns(&self, now_ns: u64) -> u64 {
        if self.admitted == 0 { 0 } else { now_ns.saturating_sub(self.first_ns) }
    }
}

fn micros(ns: u64) -> u64 {
    ns / 1_000
}

fn flag(is_set: bool) -> String {
    u8::from(is_set).to_string()
}
