//! A veth pair between two namespaces, and what its counters say: what an XDP transmit put into the
//! receiver's ring, what the full ring refused, what the receiver's XDP program saw.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result};
use nix::net::if_::if_nametoindex;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::cpu::real_time;
use crate::netns::{Netns, run};

/// Real-time priority of receive threads.
const RECEIVING: u8 = 30;

/// One end of a pair.
#[derive(Clone, Copy)]
pub struct End<'a> {
    pub netns: &'a Netns,
    pub interface: &'a str,
    /// Last byte of this end's addresses, MAC address included; the wire's number stands before it.
    pub host: u8,
}

/// A pair, up, with addresses; it goes with its namespaces.
pub struct Wire {
    number: u16,
}

/// `ethtool -S` in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frames that this end's XDP transmits put into the other end's ring.
    pub xmit: u64,
    /// Frames that found the ring full.
    pub xmit_errors: u64,
    /// Frames that this end's XDP program saw.
    pub received: u64,
    pub dropped: u64,
}

impl std::ops::Sub for Counts {
    type Output = Self;
    fn sub(self, before: Self) -> Self {
        Self {
            xmit: self.xmit.saturating_sub(before.xmit),
            xmit_errors: self.xmit_errors.saturating_sub(before.xmit_errors),
            received: self.received.saturating_sub(before.received),
            dropped: self.dropped.saturating_sub(before.dropped),
        }
    }
}

impl Wire {
    /// Joins two namespaces by 10.77.`number`.0/24 and fd77:`number`::/64, one queue each. Their MAC
    /// addresses end in the hosts' numbers, so frames can be written before anyone has spoken.
    pub fn join(number: u8, a: End<'_>, b: End<'_>) -> Result<Self> {
        let wire = Self { number: u16::from(number) };
        run(&[
            "ip",
            "link",
            "add",
            a.interface,
            "netns",
            a.netns.name(),
            "type",
            "veth",
            "peer",
            "name",
            b.interface,
            "netns",
            b.netns.name(),
        ])?;
        for end in [a, b] {
            let name = end.interface;
            end.netns.ip(&format!("link set {name} address {}", mac_text(wire.mac(end.host))))?;
            end.netns.ip(&format!("addr add {}/24 dev {name}", wire.v4(end.host)))?;
            end.netns.ip(&format!("addr add {}/64 dev {name} nodad", wire.v6(end.host)))?;
            // GRO keeps NAPI running where no program is attached, so that XDP transmits arrive. Both ends
            // must have it before either is up: that is when the kernel decides whether it transmits.
            end.netns.run(|| run(&["ethtool", "-K", name, "gro", "on"]))?;
        }
        for end in [a, b] {
            end.netns.ip(&format!("link set {} up", end.interface))?;
        }
        Ok(wire)
    }

    pub fn mac(&self, host: u8) -> [u8; 6] {
        let [high, low] = self.number.to_be_bytes();
        [0x02, 0, 0, high, low, host]
    }

    pub fn v4(&self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, self.number.to_be_bytes()[1], host)
    }

    pub fn v6(&self, host: u8) -> Ipv6Addr {
        Ipv6Addr::new(0xfd77, self.number, 0, 0, 0, 0, 0, u16::from(host))
    }

    /// Both addresses of a host.
    pub fn addresses(&self, host: u8) -> [IpAddr; 2] {
        [self.v4(host).into(), self.v6(host).into()]
    }
}

impl End<'_> {
    /// What the counters of this end say now.
    pub fn counts(&self) -> Result<Counts> {
        let name = self.interface;
        let text = self.netns.run(|| run(&["ethtool", "-S", name]))?;
        let sum = |suffix: &str| {
            text.lines()
                .filter_map(|line| line.trim().split_once(": "))
                .filter(|(name, _)| name.contains("_queue_") && name.ends_with(suffix))
                .filter_map(|(_, value)| value.parse::<u64>().ok())
                .sum()
        };
        Ok(Counts {
            xmit: sum("_xdp_xmit"),
            xmit_errors: sum("_xdp_xmit_errors"),
            received: sum("_xdp_packets"),
            dropped: sum("_xdp_drops"),
        })
    }

    pub fn ifindex(&self) -> Result<u32> {
        self.netns.run(|| if_nametoindex(self.interface).context("looking the interface up"))
    }

    /// Gives this end's receive work a kernel thread of its own on `cpu`, whose time is exactly the
    /// time of receiving. Answers the thread.
    pub fn receive_on(&self, cpu: usize) -> Result<Pid> {
        self.netns.write_sys(&format!("/sys/class/net/{}/threaded", self.interface), "1")?;
        let wanted = format!("napi/{}-", self.interface);
        let deadline = std::time::Duration::from_secs(2);
        let thread =
            crate::wait::wait_for(format!("a kernel thread {wanted}"), deadline, || newest_named(&wanted))?;
        let mut only = CpuSet::new();
        only.set(cpu)?;
        sched_setaffinity(thread, &only).context("moving the receive thread")?;
        // As a card's interrupts do: receiving comes before any process on its core. Niceness would not do:
        // the scheduler lets who runs finish his slice, and the ring holds a millisecond or less.
        real_time(thread, RECEIVING)?;
        Ok(thread)
    }
}

/// The newest process whose name is `prefix` and a number: interface names repeat over namespaces. The
/// number is NAPI's, which only grows; process ids begin anew.
fn newest_named(prefix: &str) -> Option<Pid> {
    let numbered = |pid: i32| {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        Some((name.trim().strip_prefix(prefix)?.parse::<u32>().ok()?, pid))
    };
    std::fs::read_dir("/proc")
        .ok()?
        .flatten()
        .filter_map(|entry| numbered(entry.file_name().to_str()?.parse().ok()?))
        .max()
        .map(|(_, pid)| Pid::from_raw(pid))
}

fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
