//! A generator's namespace and a server's, joined by a veth pair; frames are made on one core and
//! received on another, by a kernel thread whose CPU time is the time of receiving.

use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Result, ensure};
use nix::unistd::Pid;

use crate::cpu::thread_time;
use crate::flow::{Flow, Transport};
use crate::netns::Netns;
use crate::rig::{Bound, Generator, Pace, Program, Sent, Sink, Sources};
use crate::wait::wait_for;
use crate::wire::{Counts, End, Wire};

/// Where floods go: UDP to a protected port, SYNs to the listener.
pub const UDP_PORT: u16 = 9_000;
pub const TCP_PORT: u16 = 8_080;
pub const SENDER_CPU: usize = 0;
pub const RECEIVER_CPU: usize = 1;
/// Frames that are not the flood's: neighbour discovery and the like, in a short run.
const STRAY_FRAMES: u64 = 64;
/// How long the receiver may need for what is left in its ring.
const DRAIN: Duration = Duration::from_secs(5);

/// Both namespaces.
pub struct Ground {
    pub sender: Netns,
    pub server: Netns,
}

/// The ground with its wire.
pub struct Testbed<'a> {
    pub ground: &'a Ground,
    pub receiving: End<'a>,
    generating: End<'a>,
    pub wire: Wire,
    receiver: Pid,
    /// Transmits by XDP want a program at their far end.
    _far_end: Sink,
    /// Taken by a socket, so that the stack answers no datagram with an ICMP error.
    _sink: [UdpSocket; 2],
}

/// A flood.
#[derive(Clone, Copy, Debug)]
pub struct Flood {
    pub family: Family,
    pub transport: Transport,
    pub sources: Sources,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

/// Counters of both ends at a moment.
#[derive(Debug)]
pub struct Look {
    sending: Counts,
    receiving: Counts,
    busy: Duration,
}

/// What a flood's run came to.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    pub sent: u64,
    pub received: u64,
    /// Found the receiver's ring full: lost before any program.
    pub ring_full: u64,
    pub time: Duration,
    /// CPU time of the receiving thread.
    pub receiving: Duration,
}

impl Ground {
    pub fn new() -> Result<Self> {
        Ok(Self { sender: Netns::new("gen")?, server: Netns::new("srv")? })
    }
}

impl<'a> Testbed<'a> {
    pub fn new(ground: &'a Ground) -> Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        ensure!(cores > RECEIVER_CPU, "a flood needs two cores, one to send and one to receive");
        let generating = End { netns: &ground.sender, interface: "g0", host: 1 };
        let receiving = End { netns: &ground.server, interface: "s0", host: 2 };
        let wire = Wire::join(1, generating, receiving)?;
        // Made-up sources have a way back, as on a host with a default route: without one the kernel
        // would refuse their SYNs before they cost anything.
        for (family, gateway) in [("-4", wire.v4(1).to_string()), ("-6", wire.v6(1).to_string())] {
            ground.server.ip(&format!("{family} route add default via {gateway} dev s0"))?;
        }
        let far_end = Sink::attach(generating, Program::FarEnd)?;
        // Or the server's core would receive its own answers, in the other end's name.
        generating.receive_on(SENDER_CPU)?;
        let receiver = receiving.receive_on(RECEIVER_CPU)?;
        let [v4, v6] = wire.addresses(2);
        let bind = |address: IpAddr| Ok(UdpSocket::bind((address, UDP_PORT))?);
        let sink = [ground.server.run(|| bind(v4))?, ground.server.run(|| bind(v6))?];
        Ok(Self { ground, receiving, generating, wire, receiver, _far_end: far_end, _sink: sink })
    }

    pub fn server_address(&self, family: Family) -> IpAddr {
        let [v4, v6] = self.wire.addresses(2);
        match family {
            Family::V4 => v4,
            Family::V6 => v6,
        }
    }

    pub fn generator(&self, flood: Flood) -> Result<Generator<'a>> {
        let port = match flood.transport {
            Transport::Udp => UDP_PORT,
            Transport::Syn | Transport::Ack => TCP_PORT,
        };
        let flow = Flow {
            source_mac: self.wire.mac(1),
            destination_mac: self.wire.mac(2),
            destination: self.server_address(flood.family),
            port,
            transport: flood.transport,
        };
        Generator::new(self.generating, &flow, flood.sources, SENDER_CPU)
    }

    /// Runs the flood for `time` and accounts for every frame; a run that does not add up is an error.
    pub fn flood(&self, generator: &mut Generator<'a>, time: Duration, pace: Pace) -> Result<Run> {
        let before = self.look()?;
        let sent = generator.send(Bound { frames: u64::MAX, time }, pace)?;
        let (run, others) = self.account(&before, sent)?;
        ensure!(others <= STRAY_FRAMES, "void: {others} received frames are not the flood's");
        Ok(run)
    }

    /// What the counters say now.
    pub fn look(&self) -> Result<Look> {
        Ok(Look {
            sending: self.generating.counts()?,
            receiving: self.receiving.counts()?,
            busy: thread_time(self.receiver)?,
        })
    }

    /// Frames that the server has received, the flood's and everybody's.
    pub fn received(&self) -> Result<u64> {
        Ok(self.receiving.counts()?.received)
    }

    /// Accounts for every frame that was sent since `before`, and counts those that others sent; what
    /// does not add up is an error.
    pub fn account(&self, before: &Look, sent: Sent) -> Result<(Run, u64)> {
        let ring = self.generating.counts()? - before.sending;
        let received = wait_for("the receiver's last frame", DRAIN, || {
            let received = (self.receiving.counts().ok()? - before.receiving).received;
            (received >= ring.xmit).then_some(received)
        })?;
        ensure!(
            sent.frames == ring.xmit + ring.xmit_errors,
            "void: {} sent, {} in the ring and {} refused by it, {received} received",
            sent.frames,
            ring.xmit,
            ring.xmit_errors
        );
        let run = Run {
            sent: sent.frames,
            received: ring.xmit,
            ring_full: ring.xmit_errors,
            time: sent.time,
            receiving: thread_time(self.receiver)?.saturating_sub(before.busy),
        };
        Ok((run, received - ring.xmit))
    }
}

impl Run {
    pub fn offered_per_second(&self) -> f64 {
        self.sent as f64 / self.time.as_secs_f64()
    }

    pub fn received_per_second(&self) -> f64 {
        self.received as f64 / self.time.as_secs_f64()
    }

    /// Core time of the receiver for one packet.
    pub fn ns_a_packet(&self) -> f64 {
        self.receiving.as_nanos() as f64 / self.received.max(1) as f64
    }
}
