//! Traffic in which every frame has a number and a client: sent at a pace by one namespace, noted behind
//! XDP in another, so that it is known of each frame whether it came through. Its bpf side is
//! `ebpf/src/sequence.rs`.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use aya::Ebpf;
use aya::maps::{Array, PerCpuArray};
use aya::programs::{SchedClassifier, TcAttachType, Xdp};
use nix::unistd::gettid;

use crate::cpu::{renice, stay_on};
use crate::flow::{Flow, Transport};
use crate::rig::run_paced;
use crate::wait::after;
use crate::wire::{End, Wire};

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/sequence.o"));

/// Frame `n` is sent by the client in seat `n % SEATS`: a client in k seats sends k of so many.
pub const SEATS: usize = 1_024;
/// Words of ARRIVED.
const WORDS: u32 = 1 << 18;
/// Who makes the frames comes before whoever else wants its core: the load is to be whole.
const SENDER_NICE: i8 = -10;

/// Numbered frames from one end of a wire to the other, and who came through there.
pub struct Sequence<'a> {
    ebpf: Ebpf,
    frame: Vec<u8>,
    from: End<'a>,
    cpu: usize,
    order: [u64; 4],
}

/// What came through.
pub struct Arrived {
    words: Vec<u64>,
    /// From the first to the last frame.
    pub time: Duration,
}

impl<'a> Sequence<'a> {
    /// UDP from `seats` to `port` of the far end of `wire`; frames are made on `cpu`.
    pub fn new(
        wire: &Wire,
        [from, to]: [End<'a>; 2],
        port: u16,
        seats: &[Ipv4Addr; SEATS],
        cpu: usize,
    ) -> Result<Self> {
        let flow = Flow {
            source_mac: wire.mac(from.host),
            destination_mac: wire.mac(to.host),
            destination: wire.v4(to.host).into(),
            port,
            transport: Transport::Udp,
        };
        let template = flow.template();
        let mut ebpf = Ebpf::load(OBJECT).context("loading the sequence")?;
        let map = ebpf.map_mut("CLIENT_IN").context("no map CLIENT_IN")?;
        let mut clients = Array::<_, u32>::try_from(map)?;
        for (seat, client) in (0..).zip(seats) {
            clients.set(seat, u32::from(*client), 0)?;
        }
        sender(&mut ebpf)?.load()?;
        let notes: &mut SchedClassifier = ebpf.program_mut("note").context("no program note")?.try_into()?;
        notes.load()?;
        to.netns.run(|| {
            notes.attach(to.interface, TcAttachType::Ingress).context("attaching the notes")?;
            Ok(())
        })?;
        let order = [u64::from(from.ifindex()?), template.network_sum, 0, 0];
        Ok(Self { ebpf, frame: template.bytes, from, cpu, order })
    }

    /// Sends for `time`, `rate` frames a second at most; how many frames it sent since it is there.
    pub fn send(&mut self, rate: u64, time: Duration) -> Result<u64> {
        let [ifindex, sum, ..] = self.order;
        let end_ns = after(time);
        let map = self.ebpf.map_mut("ORDER").context("no map ORDER")?;
        Array::<_, [u64; 4]>::try_from(map)?.set(0, [ifindex, sum, 1_000_000_000 / rate, end_ns], 0)?;
        let Self { ebpf, frame, from, cpu, .. } = self;
        let program = sender(ebpf)?;
        from.netns.run(|| {
            stay_on(*cpu)?;
            renice(gettid(), SENDER_NICE)?;
            run_paced(program, frame, rate.saturating_mul(time.as_secs() + 1), rate, end_ns)
        })?;
        let map: PerCpuArray<_, [u64; 2]> = self.ebpf.map("NEXT").context("no map NEXT")?.try_into()?;
        Ok(map.get(&0, 0)?.iter().map(|[number, _]| number).sum())
    }

    pub fn arrived(&self) -> Result<Arrived> {
        let map: Array<_, u64> = self.ebpf.map("ARRIVED").context("no map ARRIVED")?.try_into()?;
        let words: Result<Vec<_>, _> = (0..WORDS).map(|idx| map.get(&idx, 0)).collect();
        let span: Array<_, [u64; 3]> = self.ebpf.map("SPAN").context("no map SPAN")?.try_into()?;
        let [first_ns, last_ns, _] = span.get(&0, 0)?;
        if first_ns == 0 {
            bail!("no frame came through");
        }
        Ok(Arrived { words: words?, time: Duration::from_nanos(last_ns - first_ns) })
    }
}

fn sender(ebpf: &mut Ebpf) -> Result<&mut Xdp> {
    Ok(ebpf.program_mut("send").context("no program send")?.try_into()?)
}

impl Arrived {
    /// Whether frame `number` came through.
    pub fn has(&self, number: u64) -> bool {
        let word = usize::try_from(number >> 6).ok().and_then(|idx| self.words.get(idx));
        word.is_some_and(|word| word >> (number & 63) & 1 == 1)
    }
}
