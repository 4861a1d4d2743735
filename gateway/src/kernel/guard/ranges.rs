//! Sets of prefixes as sorted intervals that do not touch: asking whether a prefix meets one costs a
//! binary search, so that a list of a million is held against the guard at once.

use std::net::IpAddr;

use ipnet::IpNet;

/// Intervals in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges(Vec<Range>);

/// From first to last address, both in it. IPv4 stands before IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Range {
    first: Place,
    last: Place,
}

/// Family, then address.
type Place = (u8, u128);

impl Ranges {
    pub fn of(nets: impl Iterator<Item = IpNet>) -> Self {
        let mut sorted: Vec<_> = nets.map(|net| Range::of(&net)).collect();
        sorted.sort_unstable();
        let mut merged: Vec<Range> = Vec::new();
        for range in sorted {
            match merged.last_mut() {
                Some(before) if before.reaches(range.first) => before.last = before.last.max(range.last),
                _ => merged.push(range),
            }
        }
        Self(merged)
    }

    /// Whether an address of `net` is in the set.
    pub fn meets(&self, net: &IpNet) -> bool {
        let range = Range::of(net);
        self.last_before(range.last).is_some_and(|found| found.last >= range.first)
    }

    /// Whether every address of `net` is in the set.
    pub fn covers(&self, net: &IpNet) -> bool {
        let range = Range::of(net);
        self.last_before(range.first).is_some_and(|found| found.last >= range.last)
    }

    /// The last interval that begins at `place` or before.
    fn last_before(&self, place: Place) -> Option<&Range> {
        let after = self.0.partition_point(|range| range.first <= place);
        self.0.get(after.checked_sub(1)?)
    }
}

impl Range {
    fn of(net: &IpNet) -> Self {
        Self { first: place(net.network()), last: place(net.broadcast()) }
    }

    /// Whether one that begins at `first` overlaps this one or follows without a gap.
    fn reaches(&self, first: Place) -> bool {
        let (family, last) = self.last;
        first.0 == family && first.1 <= last.saturating_add(1)
    }
}

fn place(address: IpAddr) -> Place {
    match address {
        IpAddr::V4(v4) => (4, u128::from(v4.to_bits())),
        IpAddr::V6(v6) => (6, v6.to_bits()),
    }
}
