//! The packet path in the kernel at the times of a virtual clock: events go in, what became of them comes
//! out. Maps and path are the product's; clock and sockets are the replay's (`ebpf/src/replay.rs`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result, bail, ensure};
use aya::maps::{Array, MapData};
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use weir::kernel::{Capacities, fill_slots, make_maps};
use weir::plane::{Maps, PinDir, Wanted};
use weir_ebpf::abi::{self, ClientKey, Rules};
use weir_ebpf::scope::PortCell;

use crate::bpffs::PinFolder;
use crate::frames::{ACK, TCP, V4, ethernet, tcp, v6};

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/replay.o"));

/// Events of a page, and pages of a batch. Many: a test run of more than one event waits some 25 ms for RCU
/// grace periods, whatever it runs.
const PAGE: usize = 4_096;
const PAGES: u32 = 64;
/// Events of one test run, at most.
pub const BATCH: usize = PAGE * PAGES as usize;
/// Jiffies a second of the virtual clock.
pub const HZ: u64 = 250;

/// Where the parts of an event's word begin.
const KIND: u32 = 44;
const ACTION: u32 = 48;
const VERDICT: u32 = 56;

const PORT: u16 = 8_080;
const XDP_PASS: u32 = 2;

/// As the bpf side has it.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct Page([[u64; 2]; PAGE]);

// SAFETY: u64 only: every byte pattern is a value.
unsafe impl aya::Pod for Page {}

/// What happens at a moment of the virtual clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    pub key: ClientKey,
    /// Below 2^44.
    pub at_ns: u64,
    pub kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Udp = 0,
    Syn = 1,
    /// Any other TCP segment, of no connection.
    Stray = 2,
    /// A TCP segment of a connection that the virtual host has.
    Connected = 3,
    /// No packet: a handshake ended.
    Prove = 4,
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    pub passed: bool,
    /// `verdict::Verdict` as its number.
    pub verdict: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// The packet path.
    Weir,
    /// An entry for each source that was ever seen, in the same map.
    Naive,
}

/// A loaded program with maps of its own, all gone with this value.
pub struct Replay {
    program: Program,
    ebpf: Ebpf,
    batch: Array<MapData, Page>,
    at_hand: Array<MapData, [u64; 2]>,
    staged: Box<Page>,
    frame: Vec<u8>,
    _folder: PinFolder,
}

impl Replay {
    /// `clients`: entries of CLIENTS.
    pub fn load(program: Program, family: Family, clients: u32, rules: Rules, seed: u64) -> Result<Self> {
        let folder = PinFolder::new()?;
        let pins = PinDir::new(folder.path());
        std::fs::create_dir_all(pins.path()).context("making a folder for pins")?;
        let mut loader = EbpfLoader::new();
        make_maps(&pins, Capacities { clients, bans: 1, aggregates: abi::AGGREGATES_MIN })?;
        for name in abi::maps::ALL {
            loader.map_pin_path(name, pins.map(name));
        }
        let mut ebpf = loader.load(OBJECT).context("loading the replay")?;
        fill_slots(&pins)?;
        xdp(&mut ebpf, program)?.load().context("loading the replay's program")?;
        let wanted = Wanted {
            rules,
            ports: vec![PortCell::tcp(PORT), PortCell::udp(PORT)],
            own: vec![IpAddr::V6(Ipv6Addr::LOCALHOST)],
            ..Wanted::default()
        };
        Maps::open(&pins)?.apply(&wanted, seed)?;
        let batch = Array::try_from(ebpf.take_map("BATCH").context("the replay has no map BATCH")?)?;
        let at_hand = Array::try_from(ebpf.take_map("AT_HAND").context("the replay has no map AT_HAND")?)?;
        let staged = Box::new(Page([[0; 2]; PAGE]));
        Ok(Self { program, ebpf, batch, at_hand, staged, frame: frame(family), _folder: folder })
    }

    /// What becomes of the events, at most [`BATCH`] and in the order of time.
    pub fn judge(&mut self, events: &[Event]) -> Result<Vec<Answer>> {
        ensure!(events.len() <= BATCH, "{} events are more than one batch", events.len());
        if events.is_empty() {
            return Ok(Vec::new());
        }
        for (page, events) in (0..).zip(events.chunks(PAGE)) {
            for (word, event) in self.staged.0.iter_mut().zip(events) {
                *word = [event.key.0, event.at_ns | (event.kind as u64) << KIND];
            }
            self.batch.set(page, *self.staged, 0).context("staging events")?;
        }
        self.at_hand.set(0, [0, 0], 0)?;
        let repeat = u32::try_from(events.len())?;
        let options = TestRunOptions { data_in: Some(&self.frame), repeat, ..TestRunOptions::new() };
        let run = xdp(&mut self.ebpf, self.program)?.test_run(options).context("running the replay")?;
        ensure!(run.return_value == XDP_PASS, "the replay stopped (action {})", run.return_value);
        let [judged, _] = self.at_hand.get(&0, 0)?;
        ensure!(judged == u64::from(repeat), "{judged} of {repeat} events judged");
        let mut answers = Vec::with_capacity(events.len());
        for (page, events) in (0..).zip(events.chunks(PAGE)) {
            *self.staged = self.batch.get(&page, 0).context("reading verdicts")?;
            answers.extend(self.staged.0.iter().take(events.len()).map(|[_, word]| Answer::of(*word)));
        }
        Ok(answers)
    }
}

impl Answer {
    fn of(word: u64) -> Self {
        Self { passed: word >> ACTION & 0xff == 0, verdict: (word >> VERDICT) as u8 }
    }
}

fn xdp(ebpf: &mut Ebpf, program: Program) -> Result<&mut Xdp> {
    let name = match program {
        Program::Weir => "weir",
        Program::Naive => "naive",
    };
    let Some(program) = ebpf.program_mut(name) else { bail!("the replay has no program {name}") };
    Ok(program.try_into()?)
}

/// A TCP segment to a protected port whose first bytes are a UDP header too: the sequence number stands
/// where the length does.
fn frame(family: Family) -> Vec<u8> {
    let mut segment = tcp(PORT, ACK);
    segment.splice(4..8, [0, 20, 0, 0]);
    match family {
        Family::V4 => {
            let header = V4 {
                source: Ipv4Addr::UNSPECIFIED,
                destination: Ipv4Addr::LOCALHOST,
                protocol: TCP,
                fragment: 0,
                option_words: 0,
            };
            ethernet(0x0800, &header.bytes(&segment))
        }
        Family::V6 => ethernet(0x86dd, &v6(Ipv6Addr::UNSPECIFIED, Ipv6Addr::LOCALHOST, TCP, &segment)),
    }
}
