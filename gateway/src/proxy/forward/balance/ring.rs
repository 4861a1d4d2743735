//! Consistent hashing: each target owns many points of a ring, a key belongs to the next point. When a
//! target goes, only its own keys move.

use super::Target;
use std::sync::Arc;

/// Points of a target of average weight.
const POINTS: u64 = 160;
/// Of a whole ring, 16 B each.
const POINTS_MAX: u64 = 65_536;

/// Points in order, with the index of whose each is.
#[derive(Default)]
pub(super) struct Ring(Vec<(u64, usize)>);

impl Ring {
    pub fn new(targets: &[Arc<Target>]) -> Self {
        let weights: u64 = targets.iter().map(|target| u64::from(target.weight)).sum();
        let all = (POINTS * targets.len() as u64).min(POINTS_MAX);
        let mut points = Vec::new();
        for (idx, target) in targets.iter().enumerate() {
            let own = (all * u64::from(target.weight)).checked_div(weights).unwrap_or_default().max(1);
            let name = hash(target.name.as_bytes());
            points.extend((0..own).map(|point| (mix(name.wrapping_add(point)), idx)));
        }
        points.sort_unstable();
        Self(points)
    }

    /// Whose a key is.
    pub fn owner(&self, key: u64) -> Option<usize> {
        let next = self.0.partition_point(|(point, _)| *point < key);
        let (_, idx) = self.0.get(next).or(self.0.first())?;
        Some(*idx)
    }
}

/// FNV-1a, then mixed: the same on every node and in every version.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    mix(bytes.iter().fold(0xcbf2_9ce4_8422_2325, fold))
}

/// SplitMix64's step: every bit of the result depends on every bit.
pub(super) fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}
