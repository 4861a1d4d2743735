//! What user space asks of the program `charge`, and its answer.

/// Operation of the program `charge`; `args[1]` of its test run.
#[repr(u64)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Take `n` from a word; a client without an entry gets one, PROVED: whoever charges has its connection.
    Charge = 0,
    /// Insert or mark the entry PROVED.
    Prove = 1,
    /// TAT = max(TAT, now + `n` ns): debt that others saw.
    Raise = 2,
    /// TAT = now on all words: forgiven.
    Forgive = 3,
    /// Answer the debt, change nothing.
    Peek = 4,
    /// Write the kernel's jiffies to `CLOCK`, for who needs a ban's moment; no entry is touched.
    Clock = 5,
    /// Mark the key's cell of `SEEN`: its packets meet BANS first.
    Mark = 6,
    /// Take the mark off; no entry is touched by either.
    Unmark = 7,
    /// The lease [`charge_arg::WORD`] ends `n` jiffies from now; 0: there is none any more.
    Lease = 8,
}

/// Positions in the arguments of `charge`.
pub mod charge_arg {
    pub const KEY: usize = 0;
    pub const OP: usize = 1;
    pub const WORD: usize = 2;
    /// Units for CHARGE, ns for RAISE, jiffies for LEASE.
    pub const N: usize = 3;
    pub const INTERVAL: usize = 4;
    pub const TAU_NS: usize = 5;
}

/// The answer of `charge`: bit 31 denied, bit 30 error, bits 0-29 debt (TAT - now) in microseconds,
/// rounded up, saturating.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChargeAnswer(pub u32);

impl ChargeAnswer {
    const DENIED: u32 = 1 << 31;
    const ERROR: u32 = 1 << 30;
    const DEBT: u32 = Self::ERROR - 1;

    /// An admitted charge, or the answer of any other operation.
    pub const fn admitted(debt_ns: u64) -> Self {
        Self(Self::debt_us(debt_ns))
    }

    pub const fn denied(debt_ns: u64) -> Self {
        Self(Self::DENIED | Self::debt_us(debt_ns))
    }

    /// The map refused (`errno` of the insert) or the arguments were wrong.
    pub const fn error(errno: u32) -> Self {
        Self(Self::ERROR | (errno & 0xffff))
    }

    pub const fn is_denied(self) -> bool {
        self.0 & Self::DENIED != 0
    }

    pub const fn is_error(self) -> bool {
        self.0 & Self::ERROR != 0
    }

    /// Debt in ns, up to one microsecond above the true one, never below (unless saturated).
    pub const fn debt_ns(self) -> u64 {
        (self.0 & Self::DEBT) as u64 * 1_000
    }

    /// The errno of an error.
    pub const fn errno(self) -> u32 {
        self.0 & 0xffff
    }

    const fn debt_us(debt_ns: u64) -> u32 {
        let us = debt_ns.wrapping_add(999) / 1_000;
        if us > Self::DEBT as u64 { Self::DEBT } else { us as u32 }
    }
}
