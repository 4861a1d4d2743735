//! Chooses among an API's upstreams: weighted round robin, interleaved at publish.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hyper::header::HeaderValue;

use crate::model::Upstream;

/// The turns of one API, shared by all workers.
pub(in crate::proxy) struct Balance {
    targets: Vec<Target>,
    /// Indexes of `targets`, as often as their weight says, spread evenly.
    turns: Vec<usize>,
    next: AtomicUsize,
}

/// An upstream, ready to connect.
pub(in crate::proxy) struct Target {
    pub authority: Arc<str>,
    /// Where the authority is an address; names are resolved at each connect.
    pub address: Option<SocketAddr>,
    pub host: HeaderValue,
    pub path: Arc<str>,
}

/// Turns of a round at most; larger weights are scaled down.
const TURNS_MAX: u64 = 1_024;

impl Balance {
    pub fn new(upstreams: &[Upstream]) -> Self {
        let targets = upstreams.iter().map(Target::new).collect();
        Self { targets, turns: interleave(upstreams), next: AtomicUsize::new(0) }
    }

    /// Whose turn it is; None without upstreams.
    pub fn next(&self) -> Option<&Target> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed).checked_rem(self.turns.len())?;
        self.targets.get(*self.turns.get(turn)?)
    }
}

impl Target {
    fn new(upstream: &Upstream) -> Self {
        let authority = Arc::clone(&upstream.authority);
        let with_port =
            if has_port(&authority) { Arc::clone(&authority) } else { format!("{authority}:80").into() };
        Self {
            address: with_port.parse().ok(),
            host: HeaderValue::from_str(&authority).unwrap_or(HeaderValue::from_static("")),
            authority: with_port,
            path: Arc::clone(&upstream.path),
        }
    }
}

fn has_port(authority: &str) -> bool {
    authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok())
}

/// Smooth weighted round robin, as nginx spreads it: the one that waited longest for its weight is next.
fn interleave(upstreams: &[Upstream]) -> Vec<usize> {
    let sum: u64 = upstreams.iter().map(|upstream| u64::from(upstream.weight)).sum();
    let scale = sum.div_ceil(TURNS_MAX).max(1);
    let weights: Vec<i64> = upstreams
        .iter()
        .map(|upstream| i64::from(upstream.weight).div_euclid(scale.cast_signed()).max(1))
        .collect();
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
            let upstreams: Vec<_> = weights
                .iter()
                .map(|weight| Upstream { authority: "127.0.0.1:1".into(), path: "".into(), weight: *weight })
                .collect();
            assert_eq!(interleave(&upstreams), expected, "{weights:?}");
        }
        let heavy = [4_000_000_000, 1].map(|weight| Upstream {
            authority: "a.example".into(),
            path: "".into(),
            weight,
        });
        assert!(interleave(&heavy).len() <= 1_026);
    }
}
