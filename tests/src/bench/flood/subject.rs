//! What stands between the flood and the good clients: each subject with a server that answers by
//! itself, on the receiving core, and what the subject says that it did with packets.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::Result;
use nix::unistd::gettid;

use super::super::testbed::{RECEIVER_CPU, TCP_PORT, Testbed, UDP_PORT};
use super::people::SERVING;
use crate::cpu::{real_time, stay_on};
use crate::front::RequestLimit;
use crate::netns::Netns;
use crate::nft::{Conforming, Meter};
use crate::nginx::{Nginx, Role};
use crate::rig::{Program, Sink};
use crate::weir::{Weir, binary};

/// The limits that every subject holds for a source, in its own words. Good clients are below them.
const PACKETS_PER_SECOND: u32 = 1_000;
const REQUESTS: RequestLimit = RequestLimit { per_second: 500, burst: 1_000 };
/// nftables' own default; a larger set is slower to fill and full as soon after that.
const METER_SIZE: u32 = 65_535;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    Nothing,
    LimitReq,
    Nftables,
    /// Decides and counts, drops nothing in the kernel.
    Observe,
    Weir,
}

/// Held while it stands.
pub enum Installed<'a> {
    Nginx { _nginx: Nginx, _ring: Sink },
    Meter { meter: Meter<'a>, _nginx: Nginx, _ring: Sink },
    Weir(Box<Weir>),
}

/// Packets by what became of them, by the subject's own counters.
#[derive(Clone, Copy, Debug, Default)]
pub struct Judged {
    pub passed: u64,
    pub dropped: u64,
    /// Answered from XDP.
    pub sent_back: u64,
}

impl Subject {
    /// Those that this machine has; what is missing becomes a note.
    pub fn all(notes: &mut Vec<String>) -> Vec<Self> {
        let mut all = vec![Self::Nothing, Self::LimitReq, Self::Nftables];
        match binary() {
            Ok(_) => all.extend([Self::Observe, Self::Weir]),
            Err(error) => notes.push(format!("without weir: {error:#}")),
        }
        all
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Nothing => "no defence",
            Self::LimitReq => "nginx limit_req",
            Self::Nftables => "nftables meter",
            Self::Observe => "weir, observing",
            Self::Weir => "weir",
        }
    }

    pub fn install<'a>(self, testbed: &Testbed<'a>, folder: &Path) -> Result<Installed<'a>> {
        let (server, end) = (&testbed.ground.server, testbed.receiving);
        // Without a program a veth's ring takes the flood alone, and everybody else goes past it.
        let ring = || Sink::attach(end, Program::Pass);
        Ok(match self {
            Self::Nothing => Installed::Nginx { _nginx: nginx(server, None, folder)?, _ring: ring()? },
            Self::LimitReq => {
                Installed::Nginx { _nginx: nginx(server, Some(REQUESTS), folder)?, _ring: ring()? }
            }
            Self::Nftables => Installed::Meter {
                meter: Meter::install(end, METER_SIZE, PACKETS_PER_SECOND, Conforming::Pass)?,
                _nginx: nginx(server, None, folder)?,
                _ring: ring()?,
            },
            Self::Observe | Self::Weir => {
                let config = config(self == Self::Observe);
                Installed::Weir(Box::new(as_server(server, || Weir::start(|_| config))?))
            }
        })
    }
}

impl Installed<'_> {
    /// What it counted so far; None where it counts nothing.
    pub fn judged(&self, testbed: &Testbed<'_>) -> Result<Option<Judged>> {
        Ok(match self {
            Self::Nginx { .. } => None,
            Self::Meter { meter, .. } => Some(Judged { dropped: meter.dropped()?, ..Judged::default() }),
            Self::Weir(weir) => {
                let metrics = testbed.ground.server.run(|| weir.metrics())?;
                let of = |action: &str| {
                    let label = format!("action=\"{action}\"");
                    let lines = metrics.lines().filter(|line| {
                        line.starts_with("weir_kernel_packets_total{") && line.contains(&label)
                    });
                    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
                };
                Some(Judged { passed: of("pass"), dropped: of("drop"), sent_back: of("tx") })
            }
        })
    }

    /// Whether it counts what passes too, so that all packets can be held against it.
    pub fn counts_all(&self) -> bool {
        matches!(self, Self::Weir(_))
    }
}

fn nginx(server: &Netns, limit: Option<RequestLimit>, folder: &Path) -> Result<Nginx> {
    let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), TCP_PORT);
    as_server(server, || Nginx::start("nginx", address, &Role::Site { limit }, folder))
}

/// On the receiving core, before whoever else uses the machine.
fn as_server<T: Send>(server: &Netns, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    server.run(|| {
        stay_on(RECEIVER_CPU)?;
        real_time(gettid(), SERVING)?;
        work()
    })
}

fn config(observe: bool) -> String {
    let RequestLimit { per_second, burst } = REQUESTS;
    format!(
        "[[listener]]\naddress = \"0.0.0.0:{TCP_PORT}\"\n[[listener]]\naddress = \"[::]:{TCP_PORT}\"\n\
         [[api]]\nname = \"a\"\nlisten_path = \"/\"\nrespond = {{ status = 200, body = \"hello\\n\" }}\n\
         [kernel]\ninterfaces = [\"s0\"]\nmode = \"native\"\nprotect = [\"udp/{UDP_PORT}\"]\n\
         syn_cookies = true\nobserve = {observe}\n\
         [limit.client]\nrequests = {{ rate = \"{per_second}/s\", burst = {burst} }}\n\
         packets = {{ rate = \"{PACKETS_PER_SECOND}/s\", burst = {} }}\n",
        PACKETS_PER_SECOND * 2
    )
}
