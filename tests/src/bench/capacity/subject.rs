//! What stands in front of the flood: each subject's installation on the server's interface.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::{Context, Result};
use weir::model::ClientKey;
use weir::plane::{self, BanReason, Bans, Maps, PinDir, now_ns};

use super::super::testbed::{Flood, TCP_PORT, Testbed, UDP_PORT};
use crate::nft::{Conforming, Meter};
use crate::pinned::Charge;
use crate::rig::{Program, Sink, Sources};
use crate::weir::{Place, Weir, binary};

/// The limit that every subject holds for a source.
const PER_SECOND: u32 = 1_000;
const PROVED_PER_SECOND: u32 = 1;
/// The generator's IPv4 sources begin here.
const FIRST_SOURCE: Ipv4Addr = Ipv4Addr::new(11, 0, 0, 0);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    Ceiling,
    BareDrop,
    /// A meter with this many elements.
    Nftables(u32),
    Weir,
}

/// What Weir knows of the sources before the flood; other subjects have no word for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prepare {
    Nothing,
    Ban,
    Prove,
    /// A deny list beside the guard's allow list, and [`GUARD_BANS`] bans.
    Guard(Denied),
}

/// Single addresses on the deny list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// A thousand of the flood's own /8.
    Thousand,
    /// A million of all IPv4.
    Million,
}

const GUARD_BANS: u32 = 1_000;

/// Held while the flood runs.
#[expect(dead_code, reason = "held for its Drop")]
pub enum Installed<'a> {
    Sink(Sink),
    Meter(Meter<'a>),
    Weir(Box<Weir>),
}

impl Subject {
    /// Those that this machine has; what is missing becomes a note.
    pub fn all(notes: &mut Vec<String>) -> Vec<Self> {
        let mut all = vec![Self::Ceiling, Self::BareDrop, Self::Nftables(65_536), Self::Nftables(1 << 20)];
        match binary() {
            Ok(_) => all.push(Self::Weir),
            Err(error) => notes.push(format!("without weir: {error:#}")),
        }
        all
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Ceiling => "ceiling",
            Self::BareDrop => "bare drop",
            Self::Nftables(65_536) => "nftables 64 k",
            Self::Nftables(_) => "nftables 1 M",
            Self::Weir => "weir",
        }
    }

    /// Prepared traffic is Weir's, and the ceiling's beside it.
    pub fn takes(self, prepare: Prepare) -> bool {
        prepare == Prepare::Nothing || matches!(self, Self::Ceiling | Self::Weir)
    }

    pub fn install<'a>(self, testbed: &Testbed<'a>, prepare: Prepare, flood: Flood) -> Result<Installed<'a>> {
        let end = testbed.receiving;
        Ok(match self {
            Self::Ceiling => Installed::Sink(Sink::attach(end, Program::Ceiling)?),
            Self::BareDrop => Installed::Sink(Sink::attach(end, Program::BareDrop)?),
            Self::Nftables(size) => {
                Installed::Meter(Meter::install(end, size, PER_SECOND, Conforming::Drop)?)
            }
            Self::Weir => {
                let denied = match prepare {
                    Prepare::Guard(denied) => Some(denied),
                    Prepare::Nothing | Prepare::Ban | Prepare::Prove => None,
                };
                let weir = testbed.ground.server.run(|| {
                    let place = Place::new()?;
                    if let Some(denied) = denied {
                        std::fs::write(place.folder().join(DENY_FILE), denied.list())?;
                    }
                    place.write_config(&config(denied, prepare))?;
                    Weir::start_at(place)
                })?;
                prepare_sources(&weir, prepare, flood.sources)?;
                Installed::Weir(Box::new(weir))
            }
        })
    }
}

const DENY_FILE: &str = "denied.list";

impl Denied {
    fn list(self) -> String {
        let (n, space) = match self {
            Self::Thousand => (1_000, 0x00ff_ffff),
            Self::Million => (1_000_000, u32::MAX),
        };
        let mut list = String::new();
        let mut state: u32 = 1;
        for _ in 0..n {
            // A full cycle of all words, so that no address comes twice (Numerical Recipes' constants).
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let bits = match self {
                Self::Thousand => FIRST_SOURCE.to_bits() | (state >> 8) & space,
                Self::Million => state & space,
            };
            // The server's and the generator's own addresses stay free, as the guard demands.
            if bits >> 24 != 10 && bits >> 24 != 127 {
                writeln!(list, "{}", Ipv4Addr::from_bits(bits)).unwrap_or(());
            }
        }
        list
    }
}

fn config(denied: Option<Denied>, prepare: Prepare) -> String {
    // Who is proved is over the limit: else the stack is measured, to which everything is handed up.
    let rate = if prepare == Prepare::Prove { PROVED_PER_SECOND } else { PER_SECOND };
    let deny = match denied {
        None => String::new(),
        Some(Denied::Thousand) => format!("deny = [\"{DENY_FILE}\"]\n"),
        Some(Denied::Million) => format!("deny = [\"{DENY_FILE}\"]\nprefixes = 1_048_576\n"),
    };
    format!(
        "[[listener]]\naddress = \"0.0.0.0:{TCP_PORT}\"\n\n[[listener]]\naddress = \"[::]:{TCP_PORT}\"\n\n\
         [kernel]\ninterfaces = [\"s0\"]\nmode = \"native\"\nprotect = [\"udp/{UDP_PORT}\"]\n{deny}\n\
         [limit.client]\npackets = {{ rate = \"{rate}/s\", burst = {} }}\n\n\
         [[api]]\nname = \"self\"\nlisten_path = \"/\"\nrespond = {{ status = 200, body = \"ok\\n\" }}\n",
        rate * 2
    )
}

fn prepare_sources(weir: &Weir, prepare: Prepare, sources: Sources) -> Result<()> {
    match prepare {
        Prepare::Nothing => Ok(()),
        Prepare::Ban => {
            let address = FIRST_SOURCE.to_string();
            let output = weir.command(&["bans", "add", &address])?;
            anyhow::ensure!(
                output.status.success(),
                "bans add: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
            Ok(())
        }
        Prepare::Guard(_) => {
            let pins = weir.place.pins();
            let pins = PinDir::new(pins.parent().context("a folder of pins")?);
            let (maps, charge) = (Arc::new(Maps::open(&pins)?), Arc::new(plane::Charge::open(&pins)?));
            let bans = Bans::in_kernel(&pins, maps, charge, now_ns())?;
            for number in 0..GUARD_BANS {
                let address = Ipv4Addr::from_bits(FIRST_SOURCE.to_bits() + number * 16_381);
                bans.add(ClientKey::of(address.into()), BanReason::Operator, 0, None, now_ns())?;
            }
            Ok(())
        }
        Prepare::Prove => {
            let charge = Charge::open(&weir.place.pins())?;
            for number in 0..sources.n() {
                let address = Ipv4Addr::from_bits(FIRST_SOURCE.to_bits() + number);
                charge.prove(ClientKey::of(address.into())).with_context(|| format!("proving {address}"))?;
            }
            Ok(())
        }
    }
}
