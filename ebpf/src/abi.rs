//! What kernel and user space both see: keys, values, map names and sizes. Layouts are `repr(C)`
//! without padding, asserted at compile time; a change of any of them is a new `LAYOUT_VERSION`,
//! which names the pin directory, so that a successor never reads another version's maps.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::gcra::Limit;

mod ports;

mod lists;

mod charge;

mod aggregates;

#[cfg(test)]
mod tests;

pub use aggregates::{
    AGGREGATE_ROWS, AGGREGATES_DEFAULT, AGGREGATES_MAX, AGGREGATES_MIN, AggregateKey, AggregateRow,
    aggregates_at,
};
pub use charge::{ChargeAnswer, Op, charge_arg};
pub use lists::{AddedKey, GENERATION_BITS, Mark, Sentence, list_key4, list_key6};
pub use ports::{CLASSES, Class, PORT_RULE_DEFAULT, PORT_RULES, PortRow};

/// Version of everything in this file; appended to the pin directory's name.
pub const LAYOUT_VERSION: u32 = 4;

/// Map names: the statics in `maps.rs` (bpf) carry the same identifiers; but CLIENTS, BANS and AGGREGATES,
/// which the keeper makes and puts into slots, so that their capacity can change under a running program.
///
/// A successor of another layout version takes these over where their sizes are its own: who
/// changes the meaning of an entry without its size renames the map.
pub mod maps {
    pub const SEEN: &str = "SEEN";
    pub const CLIENTS: &str = "CLIENTS";
    pub const FRONT: &str = "FRONT";
    pub const LISTENERS: &str = "LISTENERS";
    pub const KEPT: &str = "KEPT";
    pub const BUDGET: &str = "BUDGET";
    pub const BANS: &str = "BANS";
    pub const GATE: &str = "GATE";
    pub const LISTS4: &str = "LISTS4";
    pub const LISTS6: &str = "LISTS6";
    pub const LISTED: &str = "LISTED";
    pub const NAMES: &str = "NAMES";
    pub const ADDED: &str = "ADDED";
    pub const OWN: &str = "OWN";
    pub const OWN_NEAR: &str = "OWN_NEAR";
    pub const SCOPE: &str = "SCOPE";
    pub const PORTS: &str = "PORTS";
    pub const COUNTERS: &str = "COUNTERS";
    pub const RULES: &str = "RULES";
    pub const ACTIVE: &str = "ACTIVE";
    pub const CLOCK: &str = "CLOCK";
    pub const LEASES: &str = "LEASES";
    pub const EVENTS: &str = "EVENTS";
    pub const CLIENTS_SLOTS: &str = "CLIENTS_SLOTS";
    pub const BANS_SLOTS: &str = "BANS_SLOTS";
    pub const AGGREGATES: &str = "AGGREGATES";
    pub const AGGREGATE_ROWS: &str = "AGGREGATE_ROWS";
    pub const AGGREGATE_SLOTS: &str = "AGGREGATE_SLOTS";
    /// The pin of what CLIENTS was while its entries are carried over; no map of its own.
    pub const CLIENTS_BEFORE: &str = "CLIENTS_BEFORE";

    /// Every map, in the order of the packet path.
    pub const ALL: [&str; 28] = [
        RULES,
        ACTIVE,
        SCOPE,
        PORTS,
        OWN,
        OWN_NEAR,
        GATE,
        LISTS4,
        LISTS6,
        LISTED,
        NAMES,
        ADDED,
        SEEN,
        BANS_SLOTS,
        BANS,
        CLIENTS_SLOTS,
        CLIENTS,
        BUDGET,
        FRONT,
        AGGREGATE_ROWS,
        AGGREGATE_SLOTS,
        AGGREGATES,
        LISTENERS,
        COUNTERS,
        EVENTS,
        CLOCK,
        KEPT,
        LEASES,
    ];
}

/// Positions in `CLIENTS_SLOTS`, `BANS_SLOTS` and `AGGREGATE_SLOTS`.
pub mod slot {
    /// The map that the programs read and change.
    pub const NOW: u32 = 0;
    /// CLIENTS alone: where an entry is looked for that is not there; the map in [`NOW`], unless its
    /// capacity changes.
    pub const BEFORE: u32 = 1;
}

/// Program names.
pub mod programs {
    pub const PACKETS: &str = "packets";
    pub const CHARGE: &str = "charge";
    pub const PROOF: &str = "proof";
}

/// Smallest and default capacity of `CLIENTS`, in entries.
pub const CLIENTS_MIN: u32 = 4_096;
pub const CLIENTS_DEFAULT: u32 = 262_144;
/// Byte cells of `SEEN`: 1 MiB, eight a word.
pub const SEEN_CELLS: u32 = 1 << 20;
/// Lines of `FRONT`, 64 bytes each (8 slots): 8 MiB.
pub const FRONT_LINES: u32 = 1 << 17;
/// Default capacity of `BANS`.
pub const BANS_DEFAULT: u32 = 65_536;
/// Capacity of `LISTENERS`, in (address, port) of this host to which SYNs come beyond the budget.
pub const LISTENERS: u32 = 4_096;
/// Prefixes of all lists together, at most and by default (`[kernel] prefixes`).
pub const PREFIXES_MAX: u32 = 1 << 21;
pub const PREFIXES_DEFAULT: u32 = 16_384;
/// Capacity of each trie of prefixes: two generations. Tries allocate as they fill.
pub const TRIE_PREFIXES: u32 = 2 * (PREFIXES_MAX + OWN_ADDRESSES);
/// Rows of limits: 0 is everybody's, the others are overrides. Each is a whole set of rules in `RULES`,
/// at `place + 2 * row`, so that a packet goes on under one as it would under the other.
pub const LIMIT_ROWS: u32 = 64;
pub const RULES_ENTRIES: u32 = 2 * LIMIT_ROWS;

/// Cells of `LISTED`; cell 0 is nobody's. `NAMES` has the names of these, then those of the port rules and of the overrides.
pub const LIST_CELLS: u32 = 256;
pub const NAME_CELLS: u32 = LIST_CELLS + PORT_RULES + LIMIT_ROWS;
/// Bytes of a name in `NAMES`.
pub const NAME_BYTES: usize = 64;
/// Capacity of `OWN`, in addresses of this host.
pub const OWN_ADDRESSES: u32 = 4_096;
/// Words of `OWN_NEAR`, a power of two.
pub const OWN_NEAR_WORDS: u32 = 1_024;
/// Bytes of `EVENTS`.
pub const EVENTS_BYTES: u32 = 256 * 1024;

/// A client as every plane, log and store knows it: IPv6 is the upper half of the address (its
/// /64), IPv4 is [`ClientKey::V4_TAG`] with the address below. 4000::/3 is unassigned, so the two
/// cannot meet on a real network; packets that claim it are dropped as `bad_source`.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientKey(pub u64);

impl ClientKey {
    /// Upper 32 bits of every IPv4 key.
    pub const V4_TAG: u64 = 0x4000_0000_0000_0000;

    /// The key of an IPv4 address.
    pub const fn v4(octets: [u8; 4]) -> Self {
        Self(Self::V4_TAG | u32::from_be_bytes(octets) as u64)
    }

    /// The key of an IPv6 address as it stands on the wire; v4-mapped addresses are not folded.
    pub const fn v6(octets: [u8; 16]) -> Self {
        Self((u128::from_be_bytes(octets) >> 64) as u64)
    }

    /// The key of a socket's or header's address: ::ffff:a.b.c.d is the IPv4 client a.b.c.d.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self::v4(v4.octets()),
            IpAddr::V6(v6) => Self::v6(v6.octets()),
        }
    }

    /// Whether this is an IPv4 client.
    pub const fn is_v4(self) -> bool {
        self.0 >> 32 == Self::V4_TAG >> 32
    }

    /// The first address of what the key stands for: the IPv4 address or the /64's base.
    pub fn address(self) -> IpAddr {
        if self.is_v4() {
            IpAddr::V4(Ipv4Addr::from_bits((self.0 & 0xffff_ffff) as u32))
        } else {
            IpAddr::V6(Ipv6Addr::from_bits((self.0 as u128) << 64))
        }
    }
}

/// Canonical text: `192.0.2.1` or `2001:db8:0:1::/64`.
impl core::fmt::Display for ClientKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.address() {
            IpAddr::V4(v4) => v4.fmt(f),
            IpAddr::V6(v6) => write!(f, "{v6}/64"),
        }
    }
}

impl core::fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Display::fmt(self, f)
    }
}

/// Which GCRA word of an entry: the index into [`ClientEntry::tat`] and [`Rules::limits`].
#[repr(u64)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    Packets = 0,
    Bytes = 1,
    Syns = 2,
    Requests = 3,
}

/// Words in an entry.
pub const WORDS: usize = 4;

/// Words of `KEPT`: the value of net.ipv4.tcp_syncookies that was found, plus one (0: nothing to put
/// back), and the inode of the network namespace it belongs to.
pub const KEPT_WORDS: u32 = 2;

/// Flag of [`ClientEntry::flags`]: the client finished a handshake.
pub const PROVED: u64 = 1;

/// One client in `CLIENTS`. TAT words change by compare-and-swap only; `passed` and `dropped` are
/// statistics written by single stores (a lost count under contention is accepted).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientEntry {
    /// Theoretical arrival times, ns of CLOCK_MONOTONIC, indexed by [`Word`].
    pub tat: [u64; WORDS],
    /// Refusals in a jiffy (`hot`).
    pub hot: u64,
    pub flags: u64,
    pub passed: u64,
    pub dropped: u64,
}

/// A ban in `BANS`, written by user space only.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ban {
    /// First jiffy at which it is over; `u64::MAX` for ever.
    pub until_jiffies: u64,
    /// [`Ban::SHED`] or [`Ban::OPERATOR`].
    pub reason: u32,
    /// Step of `limit.client.shed`, from 0; 0 for an operator's.
    pub level: u32,
}

impl Ban {
    /// Made by shedding.
    pub const SHED: u32 = 1;
    /// Made by an operator; never displaced.
    pub const OPERATOR: u32 = 2;
    /// No end.
    pub const FOR_EVER: u64 = u64::MAX;
}

/// Until when the packet path may drop, in `LEASES`: whoever must stay alive for that renews his. After
/// one has run out nothing is dropped, until it is renewed or ended.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leases {
    /// First jiffy that the lease does not cover, by [`Lease`]; 0: there is none.
    pub ends: [u64; LEASES],
}

/// Whose lease: the index into [`Leases::ends`].
#[repr(u64)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lease {
    /// The keeper's: `[kernel] watchdog`.
    Keeper = 0,
    /// Of a configuration that waits to be confirmed.
    Apply = 1,
}

/// Number of [`Lease`]s.
pub const LEASES: usize = 2;

impl Leases {
    /// Whether one has run out.
    #[inline(always)]
    pub const fn over(&self, jiffies: u64) -> bool {
        let [keeper, apply] = self.ends;
        // One below 0 is above every jiffy: no lease never ends.
        keeper.wrapping_sub(1) < jiffies || apply.wrapping_sub(1) < jiffies
    }
}

/// What one CPU has spent in the present tick, in `BUDGET`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    pub tick: u64,
    /// Packets refused since load because the class's budget was spent.
    pub exhausted: [u64; CLASSES],
    /// Unproved sources that got an entry since load.
    pub promoted: u64,
    pub used: [u32; CLASSES],
    /// SYN cookies sent in this tick.
    pub cookies: u32,
    /// SYNs given to listeners in this tick, beyond the budget, so that they accept cookies.
    pub listener_syns: u32,
    /// Unproved sources that got an entry in this tick.
    pub promotions: u32,
    pub spare: u32,
}

/// Flags of [`Rules::flags`].
pub mod flags {
    /// Turn every drop into pass and count what would have been.
    pub const OBSERVE: u64 = 1;
    /// Drop frames that cannot be parsed, instead of leaving them to the stack.
    pub const DROP_MALFORMED: u64 = 1 << 1;
    /// Packets to addresses that are not this host's are in scope too.
    pub const FORWARDED: u64 = 1 << 4;
    /// Answer SYNs beyond the budget by SYN cookies.
    pub const SYN_COOKIES: u64 = 1 << 5;
    /// There are limits above the single client.
    pub const AGGREGATES: u64 = 1 << 6;
}

/// What the packet path applies. `RULES` has two; the word in `ACTIVE` says which one holds.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// By [`Word`]; [`Limit::NONE`] where there is none.
    pub limits: [Limit; WORDS],
    /// Unproved packets a CPU may pass in a tick, by [`Class`].
    pub budget: [u64; CLASSES],
    /// A tick is `jiffies >> tick_shift`.
    pub tick_shift: u64,
    /// Events of a verdict that a CPU may send in a tick.
    pub events_per_tick: u64,
    /// Secret of this boot, mixed into the hashes of SEEN and FRONT.
    pub seed: u64,
    /// Bits of `flags`.
    pub flags: u64,
    /// An epoch of SEEN is `jiffies >> epoch_shift`.
    pub epoch_shift: u64,
    /// SYN cookies a CPU may send in a tick.
    pub cookies_per_tick: u64,
    /// The generation of GATE and LISTS that holds: 0 or 1.
    pub lists: u64,
    /// Unproved sources that a CPU may give an entry in a tick.
    pub promotions_per_tick: u64,
    /// The generation of SCOPE and PORTS that holds.
    pub scope: u64,
    /// Where these rules stand in RULES; its lowest bit is what ACTIVE says of them.
    pub place: u64,
}

/// Packets and bytes of one verdict and action in `COUNTERS`, and what was told of them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub packets: u64,
    pub bytes: u64,
    pub tick: u64,
    /// Events sent in this tick.
    pub events: u64,
}

/// A sampled decision, in `EVENTS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Jiffies: reading the clock would cost what the sample saves.
    pub jiffies: u64,
    /// [`ClientKey`], 0 where parsing did not get that far.
    pub key: u64,
    pub ifindex: u32,
    pub length_bytes: u32,
    /// `verdict::Verdict` as its number.
    pub verdict: u8,
    /// `verdict::Action` as its number.
    pub action: u8,
    pub protocol: u8,
    pub class: u8,
    pub destination_port: u16,
    pub spare: u16,
}

const _: () = {
    assert!(size_of::<ClientEntry>() == 64);
    assert!(size_of::<Ban>() == 16);
    assert!(size_of::<Leases>() == 16);
    assert!(size_of::<Budget>() == 104);
    assert!(size_of::<PortRow>() == 8);
    assert!(size_of::<Rules>() == 192);
    assert!(size_of::<AggregateKey>() == 16);
    assert!(size_of::<AggregateRow>() == 32);
    assert!(size_of::<AddedKey>() == 20);
    assert!(size_of::<Count>() == 32);
    assert!(size_of::<Event>() == 32);
    assert!(size_of::<Limit>() == 16);
};

#[cfg(feature = "user")]
mod user {
    use super::{
        AddedKey, AggregateKey, AggregateRow, Ban, Budget, ClientEntry, Count, Event, Leases, PortRow, Rules,
    };

    // SAFETY: repr(C), integers only, no padding (sizes asserted above): every byte pattern is a value.
    unsafe impl aya::Pod for ClientEntry {}
    // SAFETY: as ClientEntry.
    unsafe impl aya::Pod for AddedKey {}
    // SAFETY: as ClientEntry.
    unsafe impl aya::Pod for AggregateKey {}
    // SAFETY: as ClientEntry.
    unsafe impl aya::Pod for AggregateRow {}
    // SAFETY: as ClientEntry.
    unsafe impl aya::Pod for Ban {}
    // SAFETY: as ClientEntry.
    unsafe impl aya::Pod for Leases {}
    // SAFETY: as ClientEntry.
    unsafe impl aya::Pod for Budget {}
    // SAFETY: as ClientEntry.
    unsafe impl aya::Pod for PortRow {}
    // SAFETY: as ClientEntry.
    unsafe impl aya::Pod for Rules {}
    // SAFETY: as ClientEntry.
    unsafe impl aya::Pod for Count {}
    // SAFETY: as ClientEntry.
    unsafe impl aya::Pod for Event {}
}
