//! The traffic rig: a generator of floods by live frames, and the sinks that they end in. Its bpf
//! side is `ebpf/src/rig.rs`.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use aya::Ebpf;
use aya::maps::{Array, PerCpuArray};
use aya::programs::{TestRun, TestRunAttrs, TestRunOptions, Xdp, XdpMode};
use weir::plane::now_ns;

use crate::cpu::stay_on;
use crate::flow::Flow;
use crate::wait::{after, pass_until};
use crate::wire::End;

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/rig.o"));

/// Frames of one system call when nothing paces them: long enough to forget the call, short enough
/// to look at the clock.
const UNPACED_CALL: u32 = 32_768;
/// Frames of one call when paced, and of one batch inside: a quarter of a veth's ring.
const BATCH: u32 = 64;
/// Waits longer than this sleep; shorter ones spin, or the pace would be the timer's.
const SPIN_BELOW_NS: u64 = 200_000;

/// How many addresses a flood comes from. IPv4 from 11.0.0.0/8, IPv6 from as many /64 of
/// 2001:db8:b00::/40 and on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sources {
    One,
    /// 65,536.
    Thousands,
    /// 16,777,216, each once before one comes again.
    Millions,
}

#[derive(Clone, Copy, Debug)]
pub enum Pace {
    Unpaced,
    PerSecond(u64),
}

/// What ends a flood, whichever comes first.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    pub frames: u64,
    pub time: Duration,
}

/// What was sent.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    pub frames: u64,
    pub time: Duration,
}

/// A loaded generator at one end of a wire.
pub struct Generator<'a> {
    ebpf: Ebpf,
    frame: Vec<u8>,
    end: End<'a>,
    cpu: usize,
}

impl Sources {
    fn mask(self) -> u64 {
        match self {
            Self::One => 0,
            Self::Thousands => 0xffff,
            Self::Millions => 0xff_ffff,
        }
    }
}

impl<'a> Generator<'a> {
    /// Loads the generator; frames leave `end`, made on `cpu`.
    pub fn new(end: End<'a>, flow: &Flow, sources: Sources, cpu: usize) -> Result<Self> {
        let mut ebpf = Ebpf::load(OBJECT).context("loading the rig")?;
        let template = flow.template();
        let source = if flow.destination.is_ipv4() { 0x0b00_0000 } else { 0x2001_0db8_0b00_0000 };
        let wanted: [u64; 6] = [
            u64::from(end.ifindex()?),
            source,
            sources.mask(),
            0,
            template.network_sum,
            template.transport_sum,
        ];
        let mut map: Array<_, [u64; 6]> = ebpf.map_mut("GENERATE").context("no map GENERATE")?.try_into()?;
        map.set(0, wanted, 0)?;
        program(&mut ebpf, "generate")?.load()?;
        Ok(Self { ebpf, frame: template.bytes, end, cpu })
    }

    /// Sends until `bound`, at `pace` at most.
    pub fn send(&mut self, bound: Bound, pace: Pace) -> Result<Sent> {
        let before = self.generated()?;
        let end = self.end;
        let Self { ebpf, frame, cpu, .. } = self;
        let program: &mut Xdp = program(ebpf, "generate")?;
        let time_ns = end.netns.run(|| {
            stay_on(*cpu)?;
            run_until(program, frame, bound, pace)
        })?;
        Ok(Sent { frames: self.generated()? - before, time: Duration::from_nanos(time_ns) })
    }

    fn generated(&self) -> Result<u64> {
        let map: PerCpuArray<_, u64> = self.ebpf.map("GENERATED").context("no map GENERATED")?.try_into()?;
        Ok(map.get(&0, 0)?.iter().sum())
    }
}

/// Answers how long it took.
fn run_until(program: &Xdp, frame: &[u8], bound: Bound, pace: Pace) -> Result<u64> {
    let start_ns = now_ns();
    let end_ns = after(bound.time);
    let mut frames = 0;
    while frames < bound.frames && now_ns() < end_ns {
        let call = match pace {
            Pace::Unpaced => UNPACED_CALL,
            Pace::PerSecond(rate) => {
                wait_for_turn(start_ns + frames.saturating_mul(1_000_000_000) / rate.max(1));
                BATCH
            }
        };
        let left = bound.frames - frames;
        let call = u32::try_from(left).map_or(call, |left| left.min(call));
        let options = TestRunOptions {
            data_in: Some(frame),
            repeat: call,
            attrs: TestRunAttrs::new().xdp_live_frames(call.min(BATCH)),
            ..TestRunOptions::new()
        };
        program.test_run(options).context("running the generator")?;
        frames += u64::from(call);
    }
    Ok(now_ns() - start_ns)
}

fn wait_for_turn(moment_ns: u64) {
    while now_ns() < moment_ns {
        if moment_ns - now_ns() > SPIN_BELOW_NS {
            pass_until(moment_ns - SPIN_BELOW_NS / 2);
        }
        std::hint::spin_loop();
    }
}

/// An XDP program of the rig on an end, native; detached in Drop.
pub struct Sink {
    ebpf: Ebpf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Parses, counts, lets the good client (10.77.0.0/16, fd77::/16) pass, drops the rest.
    Ceiling,
    BareDrop,
    Pass,
}

/// What the ceiling counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CeilingCounts {
    pub seen: u64,
    pub passed: u64,
    pub dropped: u64,
}

impl Sink {
    pub fn attach(end: End<'_>, which: Program) -> Result<Self> {
        let mut ebpf = Ebpf::load(OBJECT).context("loading the rig")?;
        let xdp = program(&mut ebpf, which.name())?;
        xdp.load()?;
        end.netns.run(|| {
            xdp.attach(end.interface, XdpMode::Driver)
                .with_context(|| format!("attaching {} to {} natively", which.name(), end.interface))
        })?;
        Ok(Self { ebpf })
    }

    /// Zero for other programs than the ceiling.
    pub fn ceiling_counts(&self) -> Result<CeilingCounts> {
        let map: PerCpuArray<_, [u64; 3]> = self.ebpf.map("CEILING").context("no map CEILING")?.try_into()?;
        let mut sum = CeilingCounts::default();
        for [seen, passed, dropped] in map.get(&0, 0)?.iter() {
            sum.seen += seen;
            sum.passed += passed;
            sum.dropped += dropped;
        }
        Ok(sum)
    }
}

impl Program {
    fn name(self) -> &'static str {
        match self {
            Self::Ceiling => "ceiling",
            Self::BareDrop => "bare_drop",
            Self::Pass => "pass",
        }
    }
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    let Some(program) = ebpf.program_mut(name) else { bail!("the rig has no program {name}") };
    Ok(program.try_into()?)
}
