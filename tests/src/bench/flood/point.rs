//! One point: a subject, a flood at a pace, good clients and newcomers for a moment; and the account of
//! every packet, without which the point is void.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::super::testbed::{Family, Flood, Run, SENDER_CPU, TCP_PORT, Testbed};
use super::abuse::{Abused, abuse};
use super::people::{FLOOD_NICE, as_client, good};
use super::steady::{GRACE_NS, Kept, Span, Steady};
use super::subject::{Installed, Judged};
use super::{newcomers, people};
use crate::cpu::stay_on;
use crate::rig::{Bound, Pace, Sent};
use crate::stack;
use crate::wait::{after, let_pass, pass_until, wait_for};

pub const GOOD_CLIENTS: u16 = 60;
/// The flood is on for so long before anything counts.
const LEAD: Duration = Duration::from_millis(250);
/// Frames of nobody: neighbour discovery, a connection's end between two looks.
const STRAY_FRAMES: u64 = 64;
/// GRO makes one packet of several before the stack counts it.
const MERGED_SHARE: f64 = 0.002;
const QUIET: Duration = Duration::from_secs(8);

/// What attacks.
#[derive(Clone, Copy, Debug)]
pub enum Attack {
    Quiet,
    Flood {
        flood: Flood,
        per_second: u64,
    },
    /// Requests over real connections.
    Requests,
}

/// What a point came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The flood alone, ring included.
    pub flood: Run,
    /// All frames that came through the ring.
    pub received: u64,
    pub to_stack: u64,
    pub good: Kept,
    pub newcomers: Kept,
    pub abused: Abused,
}

/// How long, and how much.
#[derive(Clone, Copy, Debug)]
pub struct Measure {
    pub time: Duration,
    pub good_per_second: u32,
}

pub fn run(
    testbed: &Testbed<'_>,
    installed: &Installed<'_>,
    attack: Attack,
    measure: Measure,
) -> Result<Outcome> {
    let ground = testbed.ground;
    let family = attack.family();
    let server = SocketAddr::new(testbed.server_address(family), TCP_PORT);
    wait_until_quiet(testbed)?;
    let before = Account::read(testbed, installed)?;
    let look = testbed.look()?;
    let steady = as_client(ground, || Steady::connect(server, &good(family, GOOD_CLIENTS)))?;
    let mut generator = match attack {
        Attack::Flood { flood, per_second } => {
            Some((testbed.generator(flood)?.before_others(FLOOD_NICE), per_second))
        }
        Attack::Quiet | Attack::Requests => None,
    };
    let begin_ns = after(LEAD);
    let time_ns = u64::try_from(measure.time.as_nanos())?;
    let span = Span { begin_ns, end_ns: begin_ns + time_ns };
    let whole = LEAD + measure.time + Duration::from_nanos(GRACE_NS);
    let (sent, abused, kept, come) = std::thread::scope(|scope| -> Result<_> {
        let flooding = scope.spawn(|| match &mut generator {
            Some((generator, per_second)) => {
                generator.send(Bound { frames: u64::MAX, time: whole }, Pace::PerSecond(*per_second))
            }
            None => {
                pass_until(span.end_ns + GRACE_NS);
                Ok(Sent { frames: 0, time: whole })
            }
        });
        let abusing = matches!(attack, Attack::Requests).then(|| {
            scope.spawn(|| {
                ground.sender.run(|| {
                    stay_on(SENDER_CPU)?;
                    Ok(abuse(server, span.end_ns + GRACE_NS))
                })
            })
        });
        let coming = scope.spawn(|| as_client(ground, || Ok(newcomers::come(server, family, span))));
        let kept = as_client(ground, || Ok(steady.ask(span, measure.good_per_second)))?;
        let sent = people::joined(flooding)?;
        let abused = abusing.map(people::joined).transpose()?.unwrap_or_default();
        Ok((sent, abused, kept, people::joined(coming)?))
    })?;
    wait_until_quiet(testbed)?;
    let (flood, others) = testbed.account(&look, sent)?;
    let spent = Account::read(testbed, installed)?.since(&before);
    let received = flood.received + others;
    spent.check(received, installed.counts_all())?;
    Ok(Outcome { flood, received, to_stack: spent.to_stack, good: kept, newcomers: come, abused })
}

impl Attack {
    fn family(self) -> Family {
        match self {
            Self::Flood { flood, .. } => flood.family,
            Self::Quiet | Self::Requests => Family::V4,
        }
    }
}

/// Waits until nothing moves on the wire: what is in the ring, and who still says goodbye.
fn wait_until_quiet(testbed: &Testbed<'_>) -> Result<()> {
    const STILL: Duration = Duration::from_millis(60);
    wait_for("a quiet wire", QUIET, || {
        let before = testbed.received().ok()?;
        let_pass(STILL);
        (testbed.received().ok()? == before).then_some(())
    })
}

/// What the subject and the stack have counted.
struct Account {
    judged: Option<Judged>,
    to_stack: u64,
}

impl Account {
    /// The subject first, then the stack: asking the subject is traffic of its own, on lo.
    fn read(testbed: &Testbed<'_>, installed: &Installed<'_>) -> Result<Self> {
        let judged = installed.judged(testbed)?;
        let counts = [Family::V4, Family::V6]
            .map(|family| stack::received(&testbed.ground.server, testbed.server_address(family)));
        let to_stack = counts.into_iter().sum::<Result<u64>>()?;
        Ok(Self { judged, to_stack })
    }

    fn since(self, before: &Self) -> Self {
        let judged = self.judged.zip(before.judged).map(|(now, before)| Judged {
            passed: now.passed - before.passed,
            dropped: now.dropped - before.dropped,
            sent_back: now.sent_back - before.sent_back,
        });
        Self { judged, to_stack: self.to_stack - before.to_stack }
    }

    /// sent = ring full + received was checked before; received = dropped + answered + passed, and what
    /// passed is what the stack has counted.
    fn check(&self, received: u64, counts_all: bool) -> Result<()> {
        let judged = self.judged.unwrap_or_default();
        let ended = judged.dropped + judged.sent_back;
        let passed = received.saturating_sub(ended);
        ensure!(
            !counts_all || passed.abs_diff(judged.passed) <= STRAY_FRAMES,
            "void: {received} received, but {ended} dropped or answered and {} passed",
            judged.passed
        );
        let slack = STRAY_FRAMES + (passed as f64 * MERGED_SHARE) as u64;
        ensure!(
            passed.abs_diff(self.to_stack) <= slack,
            "void: {received} received, {ended} dropped or answered, but {} in the stack",
            self.to_stack
        );
        Ok(())
    }
}
