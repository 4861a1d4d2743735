//! THE limiter, for packets, bytes, SYNs, requests and everything else that Weir limits, in the
//! kernel and outside: the generic cell rate algorithm (ITU-T I.371) on one word. The word is the
//! theoretical arrival time (TAT) in ns; now and TAT are arguments. There is no clock, no division
//! and no 128-bit arithmetic here, so that the same code runs in BPF.

#[cfg(test)]
mod tests;

/// A rate and a burst as GCRA wants them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limit {
    /// Emission interval T: time that one unit costs, in 2^-16 ns. 0: unlimited.
    pub interval: u64,
    /// Burst tolerance tau = burst x T, in ns: how far TAT may run ahead of now.
    pub tau_ns: u64,
}

/// The answer to a charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Conforming: the word becomes this.
    Conforming { tat_ns: u64 },
    /// Not conforming: the word stays; `debt_ns` = TAT - now.
    Over { debt_ns: u64 },
}

impl Limit {
    /// No limit.
    pub const NONE: Self = Self { interval: 0, tau_ns: 0 };

    /// The longest tau (15 min): debt in microseconds must fit the 30 bits of a charge's answer,
    /// and no debt may deny for longer.
    pub const TAU_MAX_NS: u64 = 15 * 60 * 1_000_000_000;

    /// The largest charge in units (packets, SYNs, requests), and in bytes under a limit whose burst
    /// is at least [`Limit::BYTE_BURST_MIN`]. Within them [`Limit::cost_ns`] cannot wrap.
    pub const UNITS_MAX: u64 = 255;
    pub const BYTES_MAX: u64 = 1 << 20;

    /// The smallest burst of a byte limit: a frame on a loopback or a GRO interface is 64 KiB.
    pub const BYTE_BURST_MIN: u64 = 65_536;

    /// `amount` units per `per_ns`, `burst` at once. None when the limit cannot be held: a zero or a
    /// tau beyond [`Limit::TAU_MAX_NS`].
    ///
    /// An interval of a microsecond or more is rounded up to a whole ns, so that `burst` charges of
    /// one unit fit the burst exactly; the rate is at most 0.1 % below `amount`.
    #[cfg(not(target_arch = "bpf"))]
    pub fn new(amount: u64, per_ns: u64, burst: u64) -> Option<Self> {
        if amount == 0 || per_ns == 0 || burst == 0 {
            return None;
        }
        let mut interval = (u128::from(per_ns) << 16).div_ceil(u128::from(amount));
        if interval >= 1_000 << 16 {
            interval = interval.next_multiple_of(1 << 16);
        }
        let tau_ns = interval.checked_mul(u128::from(burst))?.div_ceil(1 << 16);
        if tau_ns > u128::from(Self::TAU_MAX_NS) {
            return None;
        }
        Some(Self { interval: u64::try_from(interval).ok()?, tau_ns: u64::try_from(tau_ns).ok()? })
    }

    /// Whether there is a limit at all.
    #[inline(always)]
    pub const fn is_set(&self) -> bool {
        self.interval != 0
    }

    /// What `n` units cost in ns, rounded up.
    #[inline(always)]
    pub const fn cost_ns(&self, n: u64) -> u64 {
        n.wrapping_mul(self.interval).wrapping_add(0xffff) >> 16
    }

    /// Decides a charge of `n` units against the word's value. Records nothing: the caller swaps the word.
    #[inline(always)]
    pub const fn decide(&self, tat_ns: u64, now_ns: u64, n: u64) -> Outcome {
        let start = if tat_ns > now_ns { tat_ns } else { now_ns };
        let debt_ns = start.wrapping_sub(now_ns);
        let cost_ns = self.cost_ns(n);
        if debt_ns > self.tau_ns || cost_ns > self.tau_ns.wrapping_sub(debt_ns) {
            return Outcome::Over { debt_ns };
        }
        // The clock's own end, 584 years after boot: a TAT that wrapped would be no debt at all.
        match start.checked_add(cost_ns) {
            Some(tat_ns) => Outcome::Conforming { tat_ns },
            None => Outcome::Over { debt_ns },
        }
    }

    /// How long after a refusal at `debt_ns` a charge of `n` units conforms, if nobody else charges;
    /// None when it never will (it costs more than the burst).
    pub const fn wait_ns(&self, debt_ns: u64, n: u64) -> Option<u64> {
        let cost_ns = self.cost_ns(n);
        if cost_ns > self.tau_ns {
            return None;
        }
        Some(debt_ns.saturating_sub(self.tau_ns - cost_ns))
    }

    /// Whole units that still conform at once at `debt_ns`.
    #[cfg(not(target_arch = "bpf"))]
    pub fn remaining(&self, debt_ns: u64) -> u64 {
        let room_ns = u128::from(self.tau_ns.saturating_sub(debt_ns));
        match (room_ns << 16).checked_div(u128::from(self.interval)) {
            Some(units) => u64::try_from(units).unwrap_or(u64::MAX),
            None => u64::MAX,
        }
    }
}

/// A word that several CPUs change: the kernel's map memory, or an atomic.
pub trait Cell: Copy {
    fn load(self) -> u64;
    /// Compare and swap; whether it took.
    fn swap(self, old: u64, new: u64) -> bool;
}

/// Swaps that one charge tries. A loss means that another charge on this word won; after so many
/// within nanoseconds the client is far above any limit, so it is refused and counted.
pub const TRIES: usize = 8;

/// What became of a charge on a shared word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charged {
    Conforming {
        debt_ns: u64,
    },
    Over {
        debt_ns: u64,
    },
    /// [`TRIES`] swaps were lost.
    Contended,
}

/// Charges `n` units to `cell`: decides and swaps until one of both is final.
#[inline(always)]
pub fn charge<C: Cell>(cell: C, limit: &Limit, n: u64, now_ns: u64) -> Charged {
    for _ in 0..TRIES {
        let present = cell.load();
        match limit.decide(present, now_ns, n) {
            Outcome::Over { debt_ns } => return Charged::Over { debt_ns },
            Outcome::Conforming { tat_ns } => {
                if cell.swap(present, tat_ns) {
                    return Charged::Conforming { debt_ns: tat_ns.wrapping_sub(now_ns) };
                }
            }
        }
    }
    Charged::Contended
}

/// Moves the word up to `tat_ns` where it is behind: debt that others saw.
#[inline(always)]
pub fn raise<C: Cell>(cell: C, tat_ns: u64) -> bool {
    for _ in 0..TRIES {
        let present = cell.load();
        if present >= tat_ns || cell.swap(present, tat_ns) {
            return true;
        }
    }
    false
}

/// Moves the word down to `now_ns` where it is ahead: forgiven.
#[inline(always)]
pub fn forgive<C: Cell>(cell: C, now_ns: u64) -> bool {
    for _ in 0..TRIES {
        let present = cell.load();
        if present <= now_ns || cell.swap(present, now_ns) {
            return true;
        }
    }
    false
}
