//! `[limit.client]`, `[[limit.aggregate]]` and `[[override]]`.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use crate::model::{LimitName, Rate};
use crate::plane::{self, AggregatePorts, AggregatePrefix};

/// Entries of each bounded table beside the process table: refusals, shed levels, graces, limits by
/// other keys, connections by client. 16 bytes each.
pub const TABLE_ENTRIES: u32 = 65_536;

/// Limits of each client address: IPv4 /32, IPv6 /64. A None is not limited.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    pub requests: Option<Rate>,
    pub packets: Option<Rate>,
    /// Burst at least 64 KiB.
    pub bytes: Option<Rate>,
    pub syns: Option<Rate>,
    pub shed: Shed,
    /// Of some prefixes; the longest holds.
    pub overrides: Vec<Override>,
    /// Above the single client; only the kernel plane holds them.
    pub aggregates: Vec<Aggregate>,
}

/// Packets that the clients of a prefix may send together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aggregate {
    /// What overrides call it.
    pub name: LimitName,
    pub prefix: AggregatePrefix,
    pub ports: AggregatePorts,
    pub packets: Rate,
}

/// `[[override]]`, whole: what it left out is everybody's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    pub name: LimitName,
    /// IPv6 no longer than /64.
    pub prefixes: Vec<IpNet>,
    pub requests: Option<Rate>,
    pub packets: Option<Rate>,
    pub bytes: Option<Rate>,
    pub syns: Option<Rate>,
    /// Those that hold for its clients.
    pub aggregates: Vec<Aggregate>,
}

impl Aggregate {
    /// As the kernel plane holds it.
    pub fn in_plane(&self) -> plane::Aggregate {
        plane::Aggregate { prefix: self.prefix, ports: self.ports, limit: self.packets.limit() }
    }
}

impl Config {
    /// The override that holds for `address`.
    pub fn over(&self, address: IpAddr) -> Option<&Override> {
        // Of two equal prefixes the first holds, as in the kernel: `max_by_key` would take the last.
        let all = self.overrides.iter().rev();
        let prefixes = all.flat_map(|one| one.prefixes.iter().map(move |net| (net, one)));
        let holding = prefixes.filter(|(net, _)| net.contains(&address));
        holding.max_by_key(|(net, _)| net.prefix_len()).map(|(_, one)| one)
    }
}

/// `shed_after` and `shed`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shed {
    /// So many refused requests...
    pub refused: u32,
    /// ...within this time shed the client.
    pub within: Duration,
    /// Length by level; empty: never shed.
    pub steps: Vec<Duration>,
}

impl Default for Shed {
    fn default() -> Self {
        Self {
            refused: 20,
            within: Duration::from_secs(10),
            steps: [10, 60, 600, 3600].map(Duration::from_secs).to_vec(),
        }
    }
}
