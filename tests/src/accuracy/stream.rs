//! The events of a scenario in the order of time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::clients::{Class, Client, Group, Random};
use super::flood::Flood;
use crate::replay::{Event, Family};

/// Who sends, for how long.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub groups: Vec<Group>,
    pub flood: Option<Flood>,
    pub seconds: u64,
    pub seed: u64,
}

/// The virtual clock's begin, where a tick begins too. Not 0: a TAT of 0 must be the past.
const BEGIN_NS: u64 = 1_000_000_000_000;

pub(super) struct Stream {
    clients: Vec<Client>,
    /// When each client's next event is due, its number among the clients, and the event's.
    due: BinaryHeap<Reverse<(u64, usize, u64)>>,
    flood: Option<(Flood, u64)>,
    family: Family,
    end_ns: u64,
}

impl Stream {
    pub(super) fn new(scenario: &Scenario, family: Family) -> Self {
        let mut random = Random(scenario.seed);
        let classes = scenario.groups.iter().flat_map(|group| (0..group.n).map(|_| group.class));
        let clients: Vec<_> = (0..)
            .zip(classes)
            .map(|(number, class)| Client::new(class, number, family, &mut random))
            .collect();
        let due = clients
            .iter()
            .enumerate()
            .map(|(idx, client)| Reverse((client.due_ns(client.first()), idx, client.first())))
            .collect();
        let flood = scenario.flood.map(|flood| (flood, 0));
        Self { clients, due, flood, family, end_ns: scenario.seconds * 1_000_000_000 }
    }

    fn next_of_flood(&mut self) -> Option<(Class, Event)> {
        let (flood, n) = self.flood.as_mut()?;
        let event = flood.event(*n, self.family, BEGIN_NS + flood.due_ns(*n));
        *n += 1;
        Some(event)
    }

    fn next_of_clients(&mut self) -> Option<(Class, Event)> {
        let Reverse((due_ns, idx, n)) = self.due.pop()?;
        let client = self.clients.get(idx)?;
        self.due.push(Reverse((client.due_ns(n + 1), idx, n + 1)));
        Some((client.class, Event { key: client.key, at_ns: BEGIN_NS + due_ns, kind: client.kind(n) }))
    }
}

impl Iterator for Stream {
    type Item = (Class, Event);

    fn next(&mut self) -> Option<Self::Item> {
        let of_clients_ns = self.due.peek().map(|Reverse((due_ns, ..))| *due_ns).unwrap_or(u64::MAX);
        let of_flood_ns = self.flood.map(|(flood, n)| flood.due_ns(n)).unwrap_or(u64::MAX);
        if of_clients_ns.min(of_flood_ns) >= self.end_ns {
            return None;
        }
        if of_flood_ns < of_clients_ns { self.next_of_flood() } else { self.next_of_clients() }
    }
}
