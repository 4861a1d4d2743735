//! Weighted round robin: whose turn it is, laid out at publish.

/// Turns of a round at most; larger weights are scaled down, and each target keeps one.
const TURNS_MAX: u64 = 1_024;

/// Smooth weighted round robin, as nginx spreads it: the one that waited longest for its weight is next.
pub(super) fn interleave(weights: &[u32]) -> Vec<usize> {
    let sum: u64 = weights.iter().copied().map(u64::from).sum();
    let scale = sum.div_ceil(TURNS_MAX).max(1).cast_signed();
    let weights: Vec<i64> = weights.iter().map(|weight| (i64::from(*weight) / scale).max(1)).collect();
    let total: i64 = weights.iter().sum();
    let mut waited = vec![0_i64; weights.len()];
    let mut turns = Vec::new();
    for _ in 0..total {
        for (waited, weight) in waited.iter_mut().zip(&weights) {
            *waited += weight;
        }
        let longest =
            waited.iter().enumerate().max_by_key(|(idx, waited)| (**waited, std::cmp::Reverse(*idx)));
        let Some(chosen) = longest.map(|(idx, _)| idx) else { break };
        if let Some(waited) = waited.get_mut(chosen) {
            *waited -= total;
        }
        turns.push(chosen);
    }
    turns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_follow_the_weights_and_are_spread() {
        for (weights, expected) in [
            (&[1][..], &[0][..]),
            (&[1, 1], &[0, 1]),
            (&[5, 1, 1], &[0, 0, 1, 0, 2, 0, 0]),
            (&[2, 1], &[0, 1, 0]),
        ] {
            assert_eq!(interleave(weights), expected, "{weights:?}");
        }
        assert!(interleave(&[4_000_000_000, 1]).len() <= 1_026);
    }
}
