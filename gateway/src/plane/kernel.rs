//! The program `charge`, by test run: the one way in which user space changes a client's entry.

use std::time::Duration;

use aya::programs::{ProgramError, RawTracePoint, RawTracePointRunOptions, TestRun as _};
use weir_ebpf::abi::{ChargeAnswer, Lease, Op, Word, charge_arg, programs};

use super::clock::jiffies_hz;
use super::pins::PinDir;
use crate::model::{ClientKey, Decision, Limit, Standing};

/// The loaded program; runs without a capability, from any thread, in 0.65 us.
pub struct Charge {
    program: RawTracePoint,
}

#[derive(Debug, thiserror::Error)]
pub enum ChargeError {
    #[error("the kernel did not run `charge`: {0}")]
    Run(#[from] Box<ProgramError>),
    #[error("`charge` failed with errno {0}")]
    Refused(u32),
}

/// Another thread inserted the client between look-up and insert: errno of the answer.
const EEXIST: u32 = 17;
/// Tries after [`EEXIST`]; an entry that vanishes as often is evicted faster than it is used.
const TRIES: usize = 4;

impl Charge {
    /// Opens the pinned program.
    pub fn open(pins: &PinDir) -> Result<Self, ChargeError> {
        let program = RawTracePoint::from_pin(pins.program(programs::CHARGE)).map_err(Box::new)?;
        Ok(Self { program })
    }

    /// Takes `n` from `word`.
    pub fn take(&self, key: ClientKey, word: Word, limit: &Limit, n: u64) -> Result<Decision, ChargeError> {
        let answer = self.run(key, Op::Charge, word, n, limit)?;
        let standing = Standing { debt_ns: answer.debt_ns() };
        if answer.is_denied() {
            return Ok(super::deny(limit, standing.debt_ns, n));
        }
        Ok(Decision::Allow(standing))
    }

    /// Debt on `word` in ns.
    pub fn peek(&self, key: ClientKey, word: Word) -> Result<u64, ChargeError> {
        Ok(self.run(key, Op::Peek, word, 0, &Limit::NONE)?.debt_ns())
    }

    /// Moves the TAT of `word` to at least `ahead_ns` from now.
    pub fn raise(&self, key: ClientKey, word: Word, ahead_ns: u64) -> Result<(), ChargeError> {
        self.run(key, Op::Raise, word, ahead_ns, &Limit::NONE).map(drop)
    }

    /// Forgives the debt of every word.
    pub fn forgive(&self, key: ClientKey) -> Result<(), ChargeError> {
        self.run(key, Op::Forgive, Word::Requests, 0, &Limit::NONE).map(drop)
    }

    pub fn prove(&self, key: ClientKey) -> Result<(), ChargeError> {
        self.run(key, Op::Prove, Word::Requests, 0, &Limit::NONE).map(drop)
    }

    /// Opens the gate for the client, for an epoch or two, if no ban has its cell.
    pub(super) fn see(&self, key: ClientKey) -> Result<(), ChargeError> {
        self.mark(key, true)?;
        self.mark(key, false)
    }

    /// Sends the client's packets to BANS first, or no longer.
    pub(super) fn mark(&self, key: ClientKey, banned: bool) -> Result<(), ChargeError> {
        let op = if banned { Op::Mark } else { Op::Unmark };
        self.run(key, op, Word::Requests, 0, &Limit::NONE).map(drop)
    }

    /// Has the kernel write its jiffies to CLOCK.
    pub(super) fn tell_jiffies(&self) -> Result<(), ChargeError> {
        self.run(ClientKey(0), Op::Clock, Word::Requests, 0, &Limit::NONE).map(drop)
    }

    /// From now on the packet path may drop for `length`, unless the lease is renewed or ended.
    pub fn grant(&self, lease: Lease, length: Duration) -> Result<(), ChargeError> {
        let ms = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
        self.lease(lease, ms.saturating_mul(jiffies_hz()).div_ceil(1_000).max(1))
    }

    /// Ends a lease: it is in nobody's way any more.
    pub fn end(&self, lease: Lease) -> Result<(), ChargeError> {
        self.lease(lease, 0)
    }

    fn lease(&self, lease: Lease, jiffies: u64) -> Result<(), ChargeError> {
        self.run_word(ClientKey(0), Op::Lease, lease as u64, jiffies, &Limit::NONE).map(drop)
    }

    fn run(
        &self,
        key: ClientKey,
        op: Op,
        word: Word,
        n: u64,
        limit: &Limit,
    ) -> Result<ChargeAnswer, ChargeError> {
        self.run_word(key, op, word as u64, n, limit)
    }

    fn run_word(
        &self,
        key: ClientKey,
        op: Op,
        word: u64,
        n: u64,
        limit: &Limit,
    ) -> Result<ChargeAnswer, ChargeError> {
        let mut options = RawTracePointRunOptions::new();
        for (idx, value) in [
            (charge_arg::KEY, key.0),
            (charge_arg::OP, op as u64),
            (charge_arg::WORD, word),
            (charge_arg::N, n),
            (charge_arg::INTERVAL, limit.interval),
            (charge_arg::TAU_NS, limit.tau_ns),
        ] {
            if let Some(arg) = options.args.get_mut(idx) {
                *arg = value;
            }
        }
        let mut answer = ChargeAnswer::error(EEXIST);
        for _ in 0..TRIES {
            let options = RawTracePointRunOptions { args: options.args, cpu: None };
            answer = ChargeAnswer(self.program.test_run(options).map_err(Box::new)?.return_value);
            if !answer.is_error() {
                return Ok(answer);
            }
            if answer.errno() != EEXIST {
                break;
            }
        }
        Err(ChargeError::Refused(answer.errno()))
    }
}
