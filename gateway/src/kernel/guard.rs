//! Whom the kernel plane never drops, whatever lists, bans and limits say: this host itself, its
//! router, its name servers, its store and upstreams, its operator's session, its management ranges.
//! Found anew while Weir runs. It knows nothing of maps: `rules` puts it into ALLOW.

mod names;
mod ranges;
mod resolv;
mod routes;
mod ssh;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};

use super::{Config, own_addresses};

pub use names::Names;
pub use ranges::Ranges;
pub use ssh::sessions;

use routes::Gateway;

/// Rows that are found; [`kernel] management` comes on top, as long as it is written.
const FOUND_MAX: usize = 4_096;

/// Everybody who is guarded, in one immutable value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    rows: Vec<Guarded>,
    ranges: Ranges,
    own: Vec<IpAddr>,
}

/// Who is guarded, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guarded {
    pub prefix: IpNet,
    pub why: Why,
    /// Where that was found: an interface, a file, an API; may be empty.
    pub from: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// An address of this host.
    Own,
    /// A next hop of a default route.
    Gateway,
    Dns,
    Store,
    Upstream,
    /// The far end of an SSH session that started, reloaded or applied.
    Ssh,
    Management,
}

/// A host that the configuration names: an upstream, the store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Host {
    /// `host`, `host:port`, `[v6]` or `[v6]:port`.
    pub authority: Arc<str>,
    pub why: Why,
    pub from: String,
}

/// What the host itself says, read at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostFacts {
    own: Vec<IpAddr>,
    gateways: Vec<Gateway>,
    dns: Vec<(IpAddr, String)>,
}

impl HostFacts {
    /// Interfaces, routes and resolv.conf as they are now.
    pub fn read() -> io::Result<Self> {
        Ok(Self { own: own_addresses()?, gateways: routes::default_gateways()?, dns: resolv::servers() })
    }
}

impl Guard {
    /// `hosts` by `names`; `sessions` are the operators' addresses.
    pub fn of(config: &Config, facts: HostFacts, hosts: &[Host], names: &Names, sessions: &[IpAddr]) -> Self {
        let HostFacts { own, gateways, dns } = facts;
        // What another class names and is this host's own is guarded as that, or not at all.
        let is_own = |address: &IpAddr| address.is_loopback() || own.contains(address);
        let mut rows = Vec::new();
        if config.guard_own_addresses {
            let loopback = Ipv4Net::new_assert(std::net::Ipv4Addr::new(127, 0, 0, 0), 8);
            rows.push(Guarded { prefix: loopback.into(), why: Why::Own, from: "lo".to_owned() });
            let beyond = own.iter().filter(|address| !loopback_v4(address));
            rows.extend(beyond.map(|address| Guarded::one(*address, Why::Own, "")));
        }
        let gateways =
            gateways.iter().map(|gateway| (gateway.address, Why::Gateway, gateway.interface.as_str()));
        let dns = dns.iter().map(|(address, file)| (*address, Why::Dns, file.as_str()));
        let hosts = hosts.iter().flat_map(|host| {
            names
                .addresses(&host.authority)
                .into_iter()
                .map(|address| (address, host.why, host.from.as_str()))
        });
        let sessions = sessions.iter().map(|address| (*address, Why::Ssh, ""));
        for (address, why, from) in gateways.chain(dns).chain(hosts).chain(sessions) {
            let address = address.to_canonical();
            let known = |row: &Guarded| row.why == why && row.prefix == IpNet::from(address);
            if !is_own(&address)
                && !address.is_unspecified()
                && !rows.iter().any(known)
                && rows.len() < FOUND_MAX
            {
                rows.push(Guarded::one(address, why, from));
            }
        }
        let management = config.management.iter();
        rows.extend(management.map(|net| Guarded {
            prefix: *net,
            why: Why::Management,
            from: String::new(),
        }));
        let ranges = Ranges::of(rows.iter().map(|row| row.prefix));
        Self { rows, ranges, own }
    }

    pub fn rows(&self) -> &[Guarded] {
        &self.rows
    }

    pub fn prefixes(&self) -> impl Iterator<Item = IpNet> {
        self.rows.iter().map(|row| row.prefix)
    }

    /// Addresses of this host, guarded or not.
    pub fn own(&self) -> &[IpAddr] {
        &self.own
    }

    /// Those whom dropping `net` would hit.
    pub fn met_by(&self, net: &IpNet) -> impl Iterator<Item = &Guarded> + use<'_> {
        let rows = if self.ranges.meets(net) { self.rows.as_slice() } else { &[] };
        let net = *net;
        rows.iter().filter(move |row| row.prefix.contains(&net) || net.contains(&row.prefix))
    }
}

impl Guarded {
    fn one(address: IpAddr, why: Why, from: &str) -> Self {
        Self { prefix: IpNet::from(address), why, from: from.to_owned() }
    }

    /// The prefix as people write it: an address without its length.
    pub fn name(&self) -> String {
        let prefix = self.prefix;
        if prefix.prefix_len() == prefix.max_prefix_len() {
            prefix.addr().to_string()
        } else {
            prefix.to_string()
        }
    }
}

/// As in "covers the default gateway 10.0.0.1 (eth0)".
impl fmt::Display for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.why, self.name())?;
        if self.from.is_empty() { Ok(()) } else { write!(f, " ({})", self.from) }
    }
}

impl Why {
    /// For `--json`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Own => "own_address",
            Self::Gateway => "default_gateway",
            Self::Dns => "dns_server",
            Self::Store => "store",
            Self::Upstream => "upstream",
            Self::Ssh => "ssh_peer",
            Self::Management => "management",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Own => "this host's own address",
            Self::Gateway => "the default gateway",
            Self::Dns => "the DNS server",
            Self::Store => "the store",
            Self::Upstream => "the upstream",
            Self::Ssh => "the SSH peer",
            Self::Management => "the management range",
        })
    }
}

fn loopback_v4(address: &IpAddr) -> bool {
    address.is_ipv4() && address.is_loopback()
}
