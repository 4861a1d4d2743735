//! Who asks besides the flood: addresses of good clients, newcomers and abusers, all of them the
//! sender's, each a client of its own (IPv6: a /64 of its own), none of them one that the guard spares.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Result;
use nix::unistd::gettid;

use super::super::testbed::{Family, Ground, SENDER_CPU, Testbed};
use crate::cpu::{real_time, stay_on};

/// Real-time priorities, below that of receiving: who asks is not kept waiting by the flood's maker, who
/// would be on another machine, nor the server by whoever else uses this one.
const ASKING: u8 = 20;
pub const SERVING: u8 = 20;
/// The flood is not real time, but comes before whoever else uses the machine.
pub const FLOOD_NICE: i8 = -5;

/// Makes every address of 10.78.0.0/15 and fd78::/15 the sender's, and the two ends known to each other:
/// a question for a MAC address that the flood drowns would be nobody's fault.
pub fn settle(ground: &Ground, testbed: &Testbed<'_>) -> Result<()> {
    ground.sender.ip("route add local 10.78.0.0/15 dev lo")?;
    ground.sender.ip("-6 route add local fd78::/15 dev lo")?;
    ground.sender.run(|| Ok(std::fs::write("/proc/sys/net/ipv6/ip_nonlocal_bind", "1")?))?;
    for (netns, interface, host) in [(&ground.sender, "g0", 2), (&ground.server, "s0", 1)] {
        let mac = testbed.wire.mac(host).map(|byte| format!("{byte:02x}")).join(":");
        for address in testbed.wire.addresses(host) {
            netns.ip(&format!("neigh replace {address} lladdr {mac} dev {interface} nud permanent"))?;
        }
    }
    Ok(())
}

/// Addresses of the first kind: the same at each call.
pub fn good(family: Family, n: u16) -> Vec<IpAddr> {
    (1..=n).map(|number| address(family, 0, u32::from(number))).collect()
}

/// An address that was never seen before.
pub fn fresh(family: Family) -> IpAddr {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    address(family, 1, NEXT.fetch_add(1, Ordering::Relaxed))
}

fn address(family: Family, kind: u16, number: u32) -> IpAddr {
    let [_, _, high, low] = number.to_be_bytes();
    match family {
        Family::V4 => Ipv4Addr::new(10, if kind == 0 { 78 } else { 79 }, high, low).into(),
        Family::V6 => {
            let prefix = u16::from_be_bytes([high, low]);
            Ipv6Addr::new(0xfd78 + kind, 0, 0, prefix, 0, 0, 0, 1).into()
        }
    }
}

/// Runs `work` where good clients are: in the sender's namespace, on its core, before the flood.
pub fn as_client<T: Send>(ground: &Ground, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    ground.sender.run(|| {
        stay_on(SENDER_CPU)?;
        real_time(gettid(), ASKING)?;
        work()
    })
}

/// A thread's result; its panic goes on in here.
pub fn joined<T>(thread: std::thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
