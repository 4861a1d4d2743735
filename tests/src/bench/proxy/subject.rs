//! Who is compared.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::unistd::Pid;

use super::SUBJECT_CPU;
use super::scenario::{Ground, Scenario};
use crate::cpu::{go_anywhere, stay_on};
use crate::front::{Entrance, Front, Way};
use crate::haproxy::Haproxy;
use crate::nginx::{Nginx, Role};
use crate::ports::free_address;
use crate::process::Process;
use crate::weir::Weir;

const START: Duration = Duration::from_secs(5);

/// The first is what the others are compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    Nginx,
    Haproxy,
    /// hyper's server and client, and nothing of a gateway.
    Bare,
    /// Limits in the process table.
    WeirTable,
    /// Limits in the kernel, XDP (generic, on lo) in front.
    WeirKernel,
    /// The first again, a worker on each of both cores.
    WeirTwoCores,
}

pub const SUBJECTS: [(Subject, &str); 6] = [
    (Subject::Nginx, "nginx"),
    (Subject::Haproxy, "HAProxy"),
    (Subject::Bare, "bare hyper"),
    (Subject::WeirTable, "weir, process table"),
    (Subject::WeirKernel, "weir, kernel plane"),
    (Subject::WeirTwoCores, "weir, two cores"),
];

/// A started subject; its folder and process end with it.
pub struct Started {
    pub pid: Pid,
    pub address: SocketAddr,
    _held: Held,
}

#[expect(dead_code, reason = "held for its Drop")]
enum Held {
    Nginx(Nginx),
    Haproxy(Haproxy),
    Bare(Process),
    Weir(Box<Weir>),
}

impl Subject {
    pub fn label(self) -> &'static str {
        SUBJECTS.iter().find(|(subject, _)| *subject == self).map_or("", |(_, label)| label)
    }

    /// Whether there is something to compare.
    pub fn can(self, scenario: Scenario) -> bool {
        match self {
            Self::Nginx | Self::Haproxy | Self::WeirTable | Self::WeirKernel => true,
            Self::Bare => matches!(scenario, Scenario::Plain | Scenario::Body10k | Scenario::Body1m),
            Self::WeirTwoCores => scenario == Scenario::Plain,
        }
    }

    /// On its core; the caller has to go back to its own.
    pub fn start(self, scenario: Scenario, ground: &Ground) -> Result<Started> {
        if self == Self::WeirTwoCores {
            go_anywhere()?;
        } else {
            stay_on(SUBJECT_CPU)?;
        }
        let front = scenario.front(ground);
        let (name, folder) = (format!("{self:?}-{scenario:?}"), ground.folder.path());
        Ok(match self {
            Self::Nginx => {
                let nginx = Nginx::start(&name, free_address()?, &Role::Proxy(front), folder)?;
                Started { pid: nginx.pid(), address: nginx.address, _held: Held::Nginx(nginx) }
            }
            Self::Haproxy => {
                let haproxy = Haproxy::start(&name, free_address()?, &front, folder)?;
                Started { pid: haproxy.pid(), address: haproxy.address, _held: Held::Haproxy(haproxy) }
            }
            Self::Bare => {
                let address = free_address()?;
                let mut command = Command::new(std::env::current_exe().context("finding this program")?);
                command.args(["bare", &address.to_string(), &front.upstream.to_string()]);
                let mut process = Process::start(&name, command, folder)?;
                let is_there = || std::net::TcpStream::connect(address).is_ok();
                process.wait_until("the bare proxy accepts", START, is_there)?;
                Started { pid: process.pid(), address, _held: Held::Bare(process) }
            }
            Self::WeirTable | Self::WeirTwoCores => weir(&front, "mode = \"off\"")?,
            Self::WeirKernel => {
                weir(&front, "interfaces = [\"lo\"]\nmode = \"generic\"\nguard_own_addresses = false")?
            }
        })
    }
}

/// One instance after the other holds lo: each scenario has one with a kernel plane.
fn weir(front: &Front<'_>, kernel: &str) -> Result<Started> {
    let limit = front.limit.map_or_else(String::new, |limit| {
        format!("requests = {{ rate = \"{}/s\", burst = {} }}", limit.per_second, limit.burst)
    });
    let entrance = match front.entrance {
        Entrance::Plain => String::new(),
        Entrance::Http2 => "h2c = true".to_owned(),
        Entrance::Tls { certificates } => format!(
            "tls = {{ certificates = [{{ cert = {:?}, key = {:?} }}] }}",
            certificates.join("server.crt"),
            certificates.join("server.key")
        ),
    };
    let scheme = match front.way {
        Way::Http1 | Way::WebSocket => "http",
        Way::Grpc => "h2c",
    };
    let upstream = front.upstream;
    let weir = Weir::start(|place| {
        format!(
            "[[listener]]\naddress = \"127.0.0.1:{}\"\n{entrance}\n[[api]]\nname = \"a\"\nlisten_path = \"/\"\nupstreams = [\"{scheme}://{upstream}\"]\n[kernel]\n{kernel}\n[limit.client]\n{limit}\nshed = []\n",
            place.port
        )
    })?;
    let address = SocketAddr::from(([127, 0, 0, 1], weir.place.port));
    Ok(Started { pid: weir.pid(), address, _held: Held::Weir(Box::new(weir)) })
}
