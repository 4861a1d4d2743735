//! What all lists together say about an address: lists of prefixes become rows of (prefix, mark) in
//! which each prefix knows what shorter ones say, so that the packet path needs one look-up. Knows no maps.

use std::net::IpAddr;

use ipnet::IpNet;
use weir_ebpf::abi::{Mark, Sentence};

#[cfg(test)]
mod tests;

/// Lists of one configuration; each needs a cell to count in.
pub const LISTS_MAX: usize = 200;

/// A named list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// Unique; its counters go by it.
    pub name: String,
    pub sentence: Sentence,
    pub prefixes: Vec<IpNet>,
}

impl List {
    pub fn new(name: &str, sentence: Sentence, prefixes: impl IntoIterator<Item = IpNet>) -> Self {
        Self { name: name.to_owned(), sentence, prefixes: prefixes.into_iter().collect() }
    }
}

/// All lists, compiled: sorted, each prefix once, a prefix before those inside it. Rows that change
/// nothing are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    rows: Vec<Row>,
}

pub type Row = (IpNet, Mark);

/// What makes one set of rows the other. Written in this order, inner prefixes first and outer ones
/// removed first, a packet meets at every moment what it would meet before or after.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Change {
    pub inserted: Vec<Row>,
    pub updated: Vec<Row>,
    pub removed: Vec<IpNet>,
}

impl Marks {
    /// `cells` are the lists' cells of LISTED, in their order; `overrides` are rows of limits and who has them.
    pub fn compile(lists: &[List], cells: &[u8], overrides: &[(u8, &[IpNet])]) -> Self {
        let mut rows: Vec<Row> = Vec::with_capacity(lists.iter().map(|list| list.prefixes.len()).sum());
        for (list, cell) in lists.iter().zip(cells) {
            let mark = Mark::of(list.sentence, *cell);
            rows.extend(list.prefixes.iter().map(|net| (net.trunc(), mark)));
        }
        for (row, prefixes) in overrides {
            rows.extend(prefixes.iter().map(|net| (net.trunc(), Mark::limits(*row))));
        }
        // The first list in order counts, where several say the same.
        rows.sort_by_key(|(net, _)| *net);
        rows.dedup_by(|(net, mark), (kept_net, kept)| {
            let same = net == kept_net;
            if same {
                *kept = kept.under(*mark);
            }
            same
        });
        let mut around: Vec<Row> = Vec::new();
        rows.retain_mut(|(net, mark)| {
            while around.last().is_some_and(|(outer, _)| !outer.contains(&*net)) {
                around.pop();
            }
            let outer = around.last().map_or(Mark::NONE, |(_, mark)| *mark);
            *mark = mark.under(outer);
            let says_more = *mark != outer;
            if says_more {
                around.push((*net, *mark));
            }
            says_more
        });
        rows.shrink_to_fit();
        Self { rows }
    }

    /// From rows in any order, as they were compiled before.
    pub(super) fn from_rows(mut rows: Vec<Row>) -> Self {
        rows.sort_by_key(|(net, _)| *net);
        Self { rows }
    }

    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// What the longest prefix says; looks at every row.
    pub fn find(&self, address: IpAddr) -> Mark {
        let holding = self.rows.iter().filter(|(net, _)| net.contains(&address));
        holding.max_by_key(|(net, _)| net.prefix_len()).map_or(Mark::NONE, |(_, mark)| *mark)
    }

    /// What makes `self` into `wanted`.
    pub fn change_to(&self, wanted: &Self) -> Change {
        let mut change = Change::default();
        let (mut old, mut new) = (self.rows.iter().peekable(), wanted.rows.iter().peekable());
        loop {
            match (old.peek().copied(), new.peek().copied()) {
                (None, None) => break,
                (Some((net, _)), None) => {
                    change.removed.push(*net);
                    old.next();
                }
                (None, Some(row)) => {
                    change.inserted.push(*row);
                    new.next();
                }
                (Some((old_net, _)), Some(row)) if row.0 < *old_net => {
                    debug_assert!(row.0 != *old_net, "each prefix stands once");
                    change.inserted.push(*row);
                    new.next();
                }
                (Some((old_net, _)), Some(row)) if *old_net < row.0 => {
                    change.removed.push(*old_net);
                    old.next();
                }
                (Some((_, before)), Some(row)) => {
                    if *before != row.1 {
                        change.updated.push(*row);
                    }
                    old.next();
                    new.next();
                }
            }
        }
        // Rows are in the order of outer before inner.
        change.inserted.reverse();
        change
    }
}

impl Change {
    pub fn len(&self) -> usize {
        self.inserted.len() + self.updated.len() + self.removed.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
