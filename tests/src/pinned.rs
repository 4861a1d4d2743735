//! A running Weir's programs, opened from its pins: run by test run as the gateway and the kernel
//! would run them, without a socket or a wire.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use aya::maps::{Array, Map, MapData};
use aya::programs::{ProgramError, RawTracePoint, RawTracePointRunOptions, TestRun, TestRunOptions, Xdp};
use aya_obj::programs::XdpAttachType;
use weir_ebpf::abi::{ChargeAnswer, ClientKey, Op, Rules, Word, charge_arg, maps, programs};
use weir_ebpf::gcra::Limit;

/// The program `charge`.
pub struct Charge {
    program: RawTracePoint,
}

/// The program `packets`, or any other XDP program.
pub struct Packets {
    program: Xdp,
}

/// What a test run answered.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// The XDP action's number.
    pub action: u32,
    /// Mean of the repetitions, whole nanoseconds.
    pub time: Duration,
}

impl Charge {
    /// From the folder of pins of one layout version.
    pub fn open(pins: &Path) -> Result<Self> {
        let program = opened(pins, programs::CHARGE, |path| RawTracePoint::from_pin(path))?;
        Ok(Self { program })
    }

    /// Takes `n` from `word` under `limit`.
    pub fn charge(&self, key: ClientKey, word: Word, n: u64, limit: &Limit) -> Result<ChargeAnswer> {
        let mut options = RawTracePointRunOptions::new();
        for (at, value) in [
            (charge_arg::KEY, key.0),
            (charge_arg::OP, Op::Charge as u64),
            (charge_arg::WORD, word as u64),
            (charge_arg::N, n),
            (charge_arg::INTERVAL, limit.interval),
            (charge_arg::TAU_NS, limit.tau_ns),
        ] {
            set(&mut options, at, value);
        }
        self.run(options)
    }

    /// Makes the client one that finished a handshake.
    pub fn prove(&self, key: ClientKey) -> Result<()> {
        let mut options = RawTracePointRunOptions::new();
        set(&mut options, charge_arg::KEY, key.0);
        set(&mut options, charge_arg::OP, Op::Prove as u64);
        self.run(options).map(drop)
    }

    fn run(&self, options: RawTracePointRunOptions) -> Result<ChargeAnswer> {
        let answer = ChargeAnswer(self.program.test_run(options).context("running charge")?.return_value);
        if answer.is_error() {
            bail!("charge answered errno {}", answer.errno());
        }
        Ok(answer)
    }
}

impl Packets {
    /// From the folder of pins of one layout version.
    pub fn open(pins: &Path) -> Result<Self> {
        let program = opened(pins, programs::PACKETS, |path| Xdp::from_pin(path, XdpAttachType::Interface))?;
        Ok(Self { program })
    }

    /// Runs `frame` through it so often, as if `lo` of the caller's namespace had received it.
    pub fn run(&self, frame: &[u8], repeat: u32) -> Result<Answer> {
        let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::new() };
        let result = self.program.test_run(options).context("running packets")?;
        Ok(Answer { action: result.return_value, time: result.duration })
    }
}

/// Makes the epochs of a running Weir's gate `1 << shift` jiffies long, so that clients are forgotten
/// within a test. Holds until the gateway writes its rules again.
pub fn shorten_epochs(pins: &Path, shift: u64) -> Result<()> {
    let map = MapData::from_pin(pins.join(maps::RULES)).context("opening the pinned rules")?;
    let mut rules = Array::<_, Rules>::try_from(Map::Array(map))?;
    for idx in 0..rules.len() {
        let shorter = Rules { epoch_shift: shift, ..rules.get(&idx, 0)? };
        rules.set(idx, shorter, 0)?;
    }
    Ok(())
}

fn set(options: &mut RawTracePointRunOptions, at: usize, value: u64) {
    if let Some(argument) = options.args.get_mut(at) {
        *argument = value;
    }
}

fn opened<P>(pins: &Path, name: &str, open: impl FnOnce(&Path) -> Result<P, ProgramError>) -> Result<P> {
    let path = pins.join(format!("prog_{name}"));
    open(&path).with_context(|| format!("opening the pinned program {}", path.display()))
}
