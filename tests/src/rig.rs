//! The traffic rig: a generator of floods by live frames, and the sinks that they end in. Its bpf
//! side is `ebpf/src/rig.rs`.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use aya::Ebpf;
use aya::maps::{Array, PerCpuArray};
use aya::programs::{TestRun, TestRunAttrs, TestRunOptions, Xdp, XdpMode};
use nix::unistd::gettid;
use weir::plane::now_ns;

use crate::cpu::{renice, stay_on};
use crate::flow::Flow;
use crate::wait::after;
use crate::wire::End;

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/rig.o"));

/// Runs of the generator in one system call when nothing paces it: many, because a call costs some
/// 25 ms whatever it sends; few enough to look at the clock several times a second.
const UNPACED_CALL: u64 = 1 << 20;
/// Runs in the first call of a paced load, which tells how long a run takes.
const FIRST_CALL: u64 = 1 << 18;
/// How long a paced call should take.
const PACED_CALL_NS: u64 = 1_000_000_000;
/// Frames of one batch inside a call, the kernel's most: the pool of pages is as large.
const UNPACED_BATCH: u32 = 256;
/// When paced: a quarter of a veth's ring.
const PACED_BATCH: u32 = 64;

/// The longest frame that the rig can write anew.
const TEMPLATE_BYTES: usize = 128;
/// Words of GENERATE, in its order; the same stand in the bpf side.
type Generate = [u64; 10];

/// How many addresses a flood comes from. IPv4 from 11.0.0.0/8, IPv6 from as many /64 of
/// 2001:db8:b00::/40 and on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sources {
    One,
    /// 65,536.
    Thousands,
    /// 1,048,576.
    Million,
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
    wanted: Generate,
    frame: Vec<u8>,
    end: End<'a>,
    cpu: usize,
    nice: i8,
}

impl Sources {
    /// How many.
    pub fn n(self) -> u32 {
        u32::try_from(self.mask()).unwrap_or(u32::MAX) + 1
    }

    fn mask(self) -> u64 {
        match self {
            Self::One => 0,
            Self::Thousands => 0xffff,
            Self::Million => 0xf_ffff,
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
        let (network_sum, transport_sum) = (template.network_sum, template.transport_sum);
        let ifindex = u64::from(end.ifindex()?);
        let bytes = u64::try_from(template.bytes.len())?;
        let wanted = [ifindex, source, sources.mask(), 0, network_sum, transport_sum, 0, 0, 0, bytes];
        let mut held = [0; TEMPLATE_BYTES];
        held.get_mut(..template.bytes.len())
            .context("a longer frame than the rig holds")?
            .copy_from_slice(&template.bytes);
        let map = ebpf.map_mut("TEMPLATE").context("no map TEMPLATE")?;
        Array::<_, [u8; TEMPLATE_BYTES]>::try_from(map)?.set(0, held, 0)?;
        program(&mut ebpf, "generate")?.load()?;
        Ok(Self { ebpf, wanted, frame: template.bytes, end, cpu, nice: 19 })
    }

    /// Comes before who else wants its core, for a flood that must keep its pace on a shared machine.
    pub fn before_others(self, nice: i8) -> Self {
        Self { nice, ..self }
    }

    /// Sends until `bound`, at `pace` at most. Unpaced, the time is a bound on when the last call begins.
    pub fn send(&mut self, bound: Bound, pace: Pace) -> Result<Sent> {
        let before = self.generated()?;
        let end_ns = after(bound.time);
        self.order(before.saturating_add(bound.frames), end_ns, pace)?;
        let end = self.end;
        let Self { ebpf, frame, cpu, nice, .. } = self;
        let program: &mut Xdp = program(ebpf, "generate")?;
        let time_ns = end.netns.run(|| {
            stay_on(*cpu)?;
            // 19 unless told otherwise: a flood comes from elsewhere, so who shares the core does not pay for it.
            renice(gettid(), *nice)?;
            match pace {
                Pace::Unpaced => run_unpaced(program, frame, bound.frames, end_ns),
                Pace::PerSecond(rate) => run_paced(program, frame, bound.frames, rate, end_ns),
            }
        })?;
        Ok(Sent { frames: self.generated()? - before, time: Duration::from_nanos(time_ns) })
    }

    fn order(&mut self, end_frame: u64, end_ns: u64, pace: Pace) -> Result<()> {
        let interval_ns = match pace {
            Pace::Unpaced => 0,
            Pace::PerSecond(rate) => (1_000_000_000 / rate.max(1)).max(1),
        };
        let [ifindex, source, mask, shift, network_sum, transport_sum, _, _, _, bytes] = self.wanted;
        let wanted: Generate =
            [ifindex, source, mask, shift, network_sum, transport_sum, interval_ns, end_ns, end_frame, bytes];
        let map = self.ebpf.map_mut("GENERATE").context("no map GENERATE")?;
        Array::<_, Generate>::try_from(map)?.set(0, wanted, 0).context("ordering frames")
    }

    fn generated(&self) -> Result<u64> {
        let map: PerCpuArray<_, [u64; 2]> =
            self.ebpf.map("GENERATED").context("no map GENERATED")?.try_into()?;
        Ok(map.get(&0, 0)?.iter().map(|[frames, _]| frames).sum())
    }
}

/// Answers how long it took, in ns.
fn run_unpaced(program: &Xdp, frame: &[u8], frames: u64, end_ns: u64) -> Result<u64> {
    let start_ns = now_ns();
    let mut left = frames;
    while left > 0 && now_ns() < end_ns {
        let runs = left.min(UNPACED_CALL);
        call(program, frame, runs, UNPACED_BATCH)?;
        left -= runs;
    }
    Ok(now_ns() - start_ns)
}

/// As [`run_unpaced`]. Runs that come too early send nothing, so how many a call needs to last is
/// learnt from the call before.
pub(crate) fn run_paced(program: &Xdp, frame: &[u8], frames: u64, rate: u64, end_ns: u64) -> Result<u64> {
    let start_ns = now_ns();
    let span_ns = frames.saturating_mul(1_000_000_000) / rate.max(1);
    let end_ns = end_ns.min(start_ns.saturating_add(span_ns));
    let mut runs = FIRST_CALL;
    loop {
        let call_start_ns = now_ns();
        if call_start_ns >= end_ns {
            return Ok(call_start_ns - start_ns);
        }
        call(program, frame, runs, PACED_BATCH)?;
        let took_ns = (now_ns() - call_start_ns).max(1);
        let wanted_ns = end_ns.saturating_sub(now_ns()).min(PACED_CALL_NS);
        runs = (runs.saturating_mul(wanted_ns) / took_ns).max(u64::from(PACED_BATCH));
    }
}

fn call(program: &Xdp, frame: &[u8], runs: u64, batch: u32) -> Result<()> {
    let options = TestRunOptions {
        data_in: Some(frame),
        repeat: u32::try_from(runs).unwrap_or(u32::MAX),
        attrs: TestRunAttrs::new().xdp_live_frames(batch),
        ..TestRunOptions::new()
    };
    program.test_run(options).context("running the generator")?;
    Ok(())
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
    /// Drops what goes to made-up sources.
    FarEnd,
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

    /// The program's number in the kernel.
    pub fn id(&mut self, which: Program) -> Result<u32> {
        Ok(program(&mut self.ebpf, which.name())?.info()?.id())
    }

    pub fn pin(&mut self, which: Program, path: &Path) -> Result<()> {
        Ok(program(&mut self.ebpf, which.name())?.pin(path)?)
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
            Self::FarEnd => "far_end",
        }
    }
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    let Some(program) = ebpf.program_mut(name) else { bail!("the rig has no program {name}") };
    Ok(program.try_into()?)
}
