//! Values by prefix, the longest that holds an address deciding: sorted ranges, searched by halves, so
//! that a list of a million prefixes costs a request twenty comparisons. Built whole, never changed.

use std::net::IpAddr;

use ipnet::IpNet;

#[cfg(test)]
mod tests;

/// A value for each address that a prefix names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefixMap<T> {
    v4: Vec<(u32, Option<T>)>,
    v6: Vec<(u128, Option<T>)>,
}

/// Prefixes without a value.
pub type PrefixSet = PrefixMap<()>;

impl<T: Copy + PartialEq> PrefixMap<T> {
    /// Of two equal prefixes the later row holds.
    pub fn new(rows: impl IntoIterator<Item = (IpNet, T)>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (net, value) in rows {
            match net {
                IpNet::V4(net) => {
                    let (first, last) = (u32::from(net.network()), u32::from(net.broadcast()));
                    v4.push((u128::from(first), u128::from(last), value));
                }
                IpNet::V6(net) => v6.push((u128::from(net.network()), u128::from(net.broadcast()), value)),
            }
        }
        // What begins behind the last address begins nowhere.
        let v4 = ranges(v4).into_iter();
        let v4 = v4.filter_map(|(first, value)| Some((u32::try_from(first).ok()?, value)));
        Self { v4: v4.collect(), v6: ranges(v6) }
    }

    /// What the longest prefix that holds `address` says.
    pub fn find(&self, address: IpAddr) -> Option<T> {
        match address {
            IpAddr::V4(v4) => find(&self.v4, u32::from(v4)),
            IpAddr::V6(v6) => find(&self.v6, u128::from(v6)),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }
}

impl PrefixSet {
    pub fn of(prefixes: impl IntoIterator<Item = IpNet>) -> Self {
        Self::new(prefixes.into_iter().map(|net| (net, ())))
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        self.find(address).is_some()
    }
}

impl<T> Default for PrefixMap<T> {
    fn default() -> Self {
        Self { v4: Vec::new(), v6: Vec::new() }
    }
}

/// Where each range begins, from nested (first, last) to disjoint.
fn ranges<T: Copy + PartialEq>(mut rows: Vec<(u128, u128, T)>) -> Vec<(u128, Option<T>)> {
    // Stable, so that of two equal prefixes the later row is the inner one.
    rows.sort_by_key(|(first, last, _)| (*first, u128::MAX - *last));
    let mut ranges: Vec<(u128, Option<T>)> = Vec::new();
    let mut around: Vec<(u128, T)> = Vec::new();
    for (first, last, value) in rows {
        close(&mut ranges, &mut around, Some(first));
        begin(&mut ranges, first, Some(value));
        around.push((last, value));
    }
    close(&mut ranges, &mut around, None);
    ranges.shrink_to_fit();
    ranges
}

/// Ends the ranges that end before `next`; all of them where nothing comes.
fn close<T: Copy + PartialEq>(
    ranges: &mut Vec<(u128, Option<T>)>,
    around: &mut Vec<(u128, T)>,
    next: Option<u128>,
) {
    while let Some((last, _)) =
        around.last().copied().filter(|(last, _)| next.is_none_or(|next| *last < next))
    {
        around.pop();
        let Some(after) = last.checked_add(1) else { continue };
        begin(ranges, after, around.last().map(|(_, value)| *value));
    }
}

fn begin<T: PartialEq>(ranges: &mut Vec<(u128, Option<T>)>, first: u128, value: Option<T>) {
    if ranges.last().is_some_and(|(begun, _)| *begun == first) {
        ranges.pop();
    }
    let goes_on = ranges.last().map_or(value.is_none(), |(_, present)| *present == value);
    if !goes_on {
        ranges.push((first, value));
    }
}

fn find<K: Ord + Copy, T: Copy>(ranges: &[(K, Option<T>)], address: K) -> Option<T> {
    let after = ranges.partition_point(|(first, _)| *first <= address);
    ranges.get(after.checked_sub(1)?)?.1
}
