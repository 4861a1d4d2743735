//! The world of the packet table, of the fuzzer and of its corpus: one host with clients of every kind,
//! once over maps of the process and once in the kernel. Whoever asks both the same must get one answer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use anyhow::Result;
use weir::model::Rate;
use weir::plane::{Aggregate, AggregatePorts, AggregatePrefix, BanReason, List, Wanted, fresh_seed, now_ns};
use weir_ebpf::abi::{CLASSES, ClientKey, Rules, Sentence, Word};
use weir_ebpf::gcra::Limit;
use weir_ebpf::scope::PortCell;

use crate::host_path::{HostPath, JIFFIES};
use crate::kernel_path::{KernelPath, ONE_EPOCH};

pub const PORT: u16 = 8_080;
pub const DNS: u16 = 53;

pub const OWN4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub const OWN6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1);

/// The third octet, or the third group, says what kind of client it is.
pub const NEW: u8 = 0;
pub const ALLOWED: u8 = 1;
pub const DENIED: u8 = 2;
pub const BANNED: u8 = 3;
pub const PROVED: u8 = 4;
pub const OVER_PACKETS: u8 = 5;
pub const OVER_BYTES: u8 = 6;
pub const OVER_SYNS: u8 = 7;
pub const BAN_OVER: u8 = 8;
pub const ALLOWED_AND_DENIED: u8 = 9;

pub fn v4_client(kind: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, kind, 1)
}

pub fn v6_client(kind: u8) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, u16::from(kind), 0, 0, 0, 0, 0x99)
}

/// A world anew for each frame: frames say nothing about each other.
pub fn host_world() -> HostPath {
    thread_local! {
        static FIRST: HostPath = make_host_world();
    }
    FIRST.with(HostPath::clone)
}

fn make_host_world() -> HostPath {
    let mut host = HostPath::new(lists());
    for key in clients(BANNED) {
        host.ban(key, JIFFIES + 1);
    }
    for key in clients(BAN_OVER) {
        host.ban(key, JIFFIES);
    }
    for (kind, owes) in OWING {
        for key in clients(kind) {
            host.prove(key, owes);
        }
    }
    host
}

pub fn kernel_world() -> Result<KernelPath> {
    let kernel = KernelPath::small()?;
    kernel.maps.apply(&lists(), fresh_seed())?;
    let bans = kernel.bans()?;
    for key in clients(BANNED) {
        bans.add(key, BanReason::Operator, 0, None, now_ns())?;
    }
    for key in clients(BAN_OVER) {
        bans.add(key, BanReason::Operator, 0, Some(Duration::ZERO), now_ns())?;
    }
    arm(&kernel)?;
    Ok(kernel)
}

/// Proves the clients of the kernel's world, and brings what they owe to its height.
pub fn arm(kernel: &KernelPath) -> Result<()> {
    for (kind, owes) in OWING {
        for key in clients(kind) {
            kernel.charge.prove(key)?;
            if let Some((word, ahead_ns)) = owes {
                kernel.charge.raise(key, word, ahead_ns)?;
            }
        }
    }
    Ok(())
}

/// Generous enough that only those who owe are over.
fn limits() -> [Limit; 4] {
    let limit = |burst| Rate::new(burst, Duration::from_secs(1), burst).expect("fits").limit();
    [limit(100_000), limit(100_000_000), limit(10_000), limit(10_000)]
}

fn rules() -> Rules {
    Rules {
        limits: limits(),
        budget: [100_000; CLASSES],
        events_per_tick: 1_000,
        epoch_shift: ONE_EPOCH,
        ..Rules::default()
    }
}

/// Beyond every tolerance above.
const OWED_NS: u64 = 60_000_000_000;

/// Nobody reaches them.
fn aggregates() -> Vec<Aggregate> {
    use AggregatePrefix::{V4Net24, V6Net48, V6Net56};
    let limit = Limit::new(1 << 40, 1_000_000_000, 1 << 40).expect("fits");
    let all = [V4Net24, V6Net56, V6Net48].into_iter();
    all.flat_map(|prefix| {
        [AggregatePorts::Together, AggregatePorts::Each].map(|ports| Aggregate { prefix, ports, limit })
    })
    .collect()
}

pub fn lists() -> Wanted {
    let nets = |kinds: &[u8]| {
        kinds
            .iter()
            .flat_map(|kind| [format!("10.0.{kind}.0/24"), format!("2001:db8:{kind:x}::/48")])
            .map(|net| net.parse().expect("a prefix"))
            .collect::<Vec<_>>()
    };
    Wanted {
        rules: rules(),
        ports: vec![PortCell::tcp(PORT), PortCell::udp(DNS), PortCell::FRAGMENT],
        own: vec![IpAddr::V4(OWN4), IpAddr::V6(OWN6)],
        port_rules: Vec::new(),
        aggregates: aggregates(),
        overrides: Vec::new(),
        lists: vec![
            List::new("allow", Sentence::Allow, nets(&[ALLOWED, ALLOWED_AND_DENIED])),
            List::new("deny", Sentence::Deny, nets(&[DENIED, ALLOWED_AND_DENIED])),
        ],
    }
}

fn clients(kind: u8) -> [ClientKey; 2] {
    [ClientKey::of(v4_client(kind).into()), ClientKey::of(v6_client(kind).into())]
}

const OWING: [(u8, Option<(Word, u64)>); 4] = [
    (PROVED, None),
    (OVER_PACKETS, Some((Word::Packets, OWED_NS))),
    (OVER_BYTES, Some((Word::Bytes, OWED_NS))),
    (OVER_SYNS, Some((Word::Syns, OWED_NS))),
];
