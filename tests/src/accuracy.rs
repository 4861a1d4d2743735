//! How exact a limiter is: one stream of events to an oracle and to several subjects at once, and what each
//! let through, by class of client. Time is the stream's; nothing here reads a clock.

mod clients;
mod flood;
mod oracle;
mod stream;

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use weir_ebpf::abi::{CLASSES, Rules};
use weir_ebpf::gcra::Limit;

pub use clients::{CROWD, Class, Group, proved_crowd};
pub use flood::{Flood, Gap};
pub use stream::Scenario;

use crate::cpu::stay_on;
use crate::replay::{Answer, BATCH, Event, Family, HZ, Kind, Program, Replay};
use oracle::Oracle;
use stream::Stream;

/// The limit of each client, a second: as slow as one for requests, the hard case, for state must last.
pub const RATE: u64 = 5;
pub const BURST: u64 = 20;
/// Packets of the unproved in a tick of 4 ms, for each class.
pub const BUDGET: u64 = 5;
/// Classes that a flood comes in: SYN, other TCP, UDP.
const FLOODED: u64 = 3;
/// Epochs of SEEN are 65 s long, as by default.
const EPOCH_SHIFT: u64 = 14;

/// A limiter under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    pub program: Program,
    /// Entries of its LRU.
    pub entries: u32,
}

/// Packets of one class of clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub offered: u64,
    /// What the oracle let through.
    pub exact: u64,
    pub passed: u64,
    /// What the oracle let through and the subject did not.
    pub wrongly_denied: u64,
    /// Of those passed, the ones that only their connection's socket knew.
    pub by_socket: u64,
}

/// By class, of one subject.
pub type Tallies = BTreeMap<Class, Tally>;

/// Plays the scenario to each of the subjects.
pub fn play(scenario: &Scenario, family: Family, subjects: &[Subject]) -> Result<Vec<Tallies>> {
    // LRU lists and budgets are each core's own: on one core a run can be repeated.
    stay_on(0)?;
    let limit = limit()?;
    let load = |subject: &Subject| {
        Replay::load(subject.program, family, subject.entries, rules(limit), scenario.seed)
    };
    let mut replays = subjects.iter().map(load).collect::<Result<Vec<_>>>()?;
    let mut tallies = vec![Tallies::new(); subjects.len()];
    let mut oracle = Oracle::new(RATE, BURST);
    let mut stream = Stream::new(scenario, family);
    loop {
        let (classes, events): (Vec<Class>, Vec<Event>) = stream.by_ref().take(BATCH).unzip();
        if events.is_empty() {
            break;
        }
        let exact: Vec<bool> = events.iter().map(|event| oracle.admits(event)).collect();
        for (replay, tallies) in replays.iter_mut().zip(&mut tallies) {
            let answers = replay.judge(&events)?;
            let rows = classes.iter().zip(&events).zip(&exact).zip(answers);
            for (((class, event), exact), answer) in rows {
                if event.kind != Kind::Prove {
                    tallies.entry(*class).or_default().note(*exact, answer);
                }
            }
        }
    }
    for (class, tally) in tallies.iter().flatten() {
        ensure!(!class.is_good() || tally.exact == tally.offered, "the oracle denied {class:?}: {tally:?}");
    }
    Ok(tallies)
}

fn limit() -> Result<Limit> {
    let limit = Limit::new(RATE, 1_000_000_000, BURST);
    limit.ok_or_else(|| anyhow::anyhow!("{RATE}/s with a burst of {BURST} is no limit"))
}

fn rules(limit: Limit) -> Rules {
    Rules {
        limits: [limit, Limit::NONE, Limit::NONE, Limit::NONE],
        budget: [BUDGET; CLASSES],
        // An eighth of a class, as by default.
        promotions_per_tick: BUDGET.div_ceil(8),
        epoch_shift: EPOCH_SHIFT,
        ..Rules::default()
    }
}

/// What the unproved may pass in a run of this length, all classes together.
pub const fn share(seconds: u64) -> u64 {
    BUDGET * FLOODED * HZ * seconds
}

impl Tally {
    fn note(&mut self, exact: bool, answer: Answer) {
        self.offered += 1;
        self.exact += u64::from(exact);
        self.passed += u64::from(answer.passed);
        self.wrongly_denied += u64::from(exact && !answer.passed);
        let by_socket = answer.verdict == weir_ebpf::verdict::Verdict::Connected as u8;
        self.by_socket += u64::from(answer.passed && by_socket);
    }

    /// Packets that a class below its limit lost, as a share of those it sent; in percent.
    pub fn wrong_denials(&self) -> f64 {
        percent(self.wrongly_denied, self.offered)
    }

    /// What was let through beyond the oracle, as a share of what the oracle let through; in percent.
    pub fn over_admission(&self) -> f64 {
        percent(self.passed, self.exact) - if self.exact == 0 { 0.0 } else { 100.0 }
    }

    pub fn admitted(&self) -> f64 {
        percent(self.passed, self.offered)
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}
