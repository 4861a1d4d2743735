//! Clients by class: when each sends, and as whom. Everything random comes from the scenario's seed.

use weir_ebpf::abi::ClientKey;

use super::{BURST, RATE};
use crate::replay::{Family, Kind};

const SECOND_NS: u64 = 1_000_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Proved, at 50 to 95 % of the limit; half of them ten packets at a time.
    Good,
    /// Proved, at 1.5 times the limit.
    Moderate,
    /// Proved, at 20 times the limit.
    Heavy,
    /// Proved, a burst every half second: silent as long as it takes to be forgotten.
    Pulsed,
    /// As good as the good but for the bursts, over UDP: nothing ever proves it.
    UnprovedGood,
    /// As the heavy, over UDP.
    UnprovedHeavy,
    /// A spoofed source.
    Flood,
}

/// Clients of one class.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    pub class: Class,
    pub n: u32,
}

/// The proved are as many as would fill a third of a small LRU.
pub const CROWD: [Group; 6] = [
    Group { class: Class::Good, n: 1_000 },
    Group { class: Class::Moderate, n: 100 },
    Group { class: Class::Heavy, n: 50 },
    Group { class: Class::Pulsed, n: 100 },
    Group { class: Class::UnprovedGood, n: 20 },
    Group { class: Class::UnprovedHeavy, n: 5 },
];

/// `n` proved clients, four in five of them good.
pub fn proved_crowd(n: u32) -> Vec<Group> {
    let abusers = [(Class::Moderate, n * 3 / 25), (Class::Heavy, n / 25), (Class::Pulsed, n / 25)];
    let good = n - abusers.iter().map(|(_, n)| n).sum::<u32>();
    [(Class::Good, good)].into_iter().chain(abusers).map(|(class, n)| Group { class, n }).collect()
}

impl Class {
    /// Whether it stays below the limit by construction.
    pub fn is_good(self) -> bool {
        matches!(self, Self::Good | Self::UnprovedGood)
    }

    pub fn is_proved(self) -> bool {
        matches!(self, Self::Good | Self::Moderate | Self::Heavy | Self::Pulsed)
    }
}

/// One client's sending: `count` packets at once, every so often, up to `jitter_ns` late.
#[derive(Clone, Copy, Debug)]
pub(super) struct Client {
    pub class: Class,
    pub key: ClientKey,
    pub start_ns: u64,
    count: u64,
    every_ns: u64,
    jitter_ns: u64,
    jitter_seed: u64,
}

/// Between a client's handshake and its first packet, and between the packets of a burst.
const APART_NS: u64 = 20_000;

impl Client {
    /// The `number`th client of its scenario; all start in the first second.
    pub(super) fn new(class: Class, number: u32, family: Family, random: &mut Random) -> Self {
        let (count, every_ns) = match class {
            Class::Good | Class::UnprovedGood => {
                let share = 50 + random.below(46);
                let in_bursts = class == Class::Good && random.below(2) == 0;
                let count = if in_bursts { BURST / 2 } else { 1 };
                (count, count * SECOND_NS * 100 / (RATE * share))
            }
            Class::Moderate => (1, SECOND_NS * 2 / (RATE * 3)),
            Class::Heavy | Class::UnprovedHeavy => (1, SECOND_NS / (RATE * 20)),
            Class::Pulsed => (BURST, SECOND_NS / 2),
            Class::Flood => (1, SECOND_NS),
        };
        let base = match family {
            Family::V4 => ClientKey::V4_TAG | 0x0a00_0000,
            Family::V6 => 0x2001_0db8_0a00_0000,
        };
        Self {
            class,
            key: ClientKey(base | u64::from(number)),
            start_ns: random.below(SECOND_NS),
            count,
            every_ns,
            jitter_ns: every_ns / 4,
            jitter_seed: random.next(),
        }
    }

    /// When its `n`th event is due, after the stream's begin; the 0th of a proved client is its handshake.
    pub(super) fn due_ns(&self, n: u64) -> u64 {
        let Some(packet) = n.checked_sub(1) else { return self.start_ns };
        let burst = packet / self.count;
        let late = Random(self.jitter_seed ^ burst).below(self.jitter_ns.max(1));
        self.start_ns + burst * self.every_ns + late + (packet % self.count + 1) * APART_NS
    }

    pub(super) fn kind(&self, n: u64) -> Kind {
        match (self.class.is_proved(), n) {
            (true, 0) => Kind::Prove,
            (true, _) => Kind::Connected,
            (false, _) => Kind::Udp,
        }
    }

    /// The number of its first event: those that are never proved have no handshake.
    pub(super) fn first(&self) -> u64 {
        u64::from(!self.class.is_proved())
    }
}

/// splitmix64.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    }

    /// Uniform, but for a bias that ranges this small do not show.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}
