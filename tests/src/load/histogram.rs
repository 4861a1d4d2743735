//! Durations in logarithmic buckets, sixteen to a doubling: a quantile is at most 7 % off, the size
//! is fixed.

const PER_DOUBLING_BITS: u32 = 4;
const BUCKETS: usize = 64 << PER_DOUBLING_BITS;

#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<u64>,
    n: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], n: 0 }
    }
}

impl Histogram {
    pub fn add(&mut self, ns: u64) {
        if let Some(count) = self.counts.get_mut(bucket(ns)) {
            *count += 1;
            self.n += 1;
        }
    }

    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.n += other.n;
    }

    pub fn n(&self) -> u64 {
        self.n
    }

    /// The duration in ns below which `share` (0 to 1) of them are; None when there are none.
    pub fn quantile_ns(&self, share: f64) -> Option<u64> {
        let wanted = ((self.n as f64 * share).ceil() as u64).max(1);
        let mut sum = 0;
        self.counts.iter().enumerate().find_map(|(bucket, count)| {
            sum += count;
            (sum >= wanted).then(|| floor_ns(bucket))
        })
    }

    /// As [`Histogram::quantile_ns`] in ms.
    pub fn quantile_ms(&self, share: f64) -> Option<f64> {
        self.quantile_ns(share).map(|ns| ns as f64 / 1e6)
    }
}

fn bucket(ns: u64) -> usize {
    let doublings = u64::BITS - (ns >> PER_DOUBLING_BITS).leading_zeros();
    let within = if doublings == 0 { ns } else { (ns >> (doublings - 1)) & ((1 << PER_DOUBLING_BITS) - 1) };
    ((doublings as usize) << PER_DOUBLING_BITS) + within as usize
}

fn floor_ns(bucket: usize) -> u64 {
    let doublings = bucket >> PER_DOUBLING_BITS;
    let within = (bucket & ((1 << PER_DOUBLING_BITS) - 1)) as u64;
    if doublings == 0 { within } else { ((1 << PER_DOUBLING_BITS) + within) << (doublings - 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_the_floor_of_its_bucket() {
        for ns in [0, 1, 15, 16, 17, 31, 32, 1_000, 123_456, 7_654_321, u64::MAX / 3] {
            let mut histogram = Histogram::default();
            histogram.add(ns);
            let found = histogram.quantile_ns(0.5).unwrap();
            assert!(found <= ns && ns - found <= ns / 15, "{ns} became {found}");
        }
        let mut histogram = Histogram::default();
        (1..=100).for_each(|ns| histogram.add(ns * 1_000));
        assert!((48_000..=50_000).contains(&histogram.quantile_ns(0.5).unwrap()));
        assert!((94_000..=99_000).contains(&histogram.quantile_ns(0.99).unwrap()));
    }
}
