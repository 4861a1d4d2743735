//! The two tables of the accuracy bench, and what in them is beyond what is promised.

use std::fmt;

use anyhow::Result;

use crate::accuracy::{
    BURST, CROWD, Class, Flood, Gap, Group, Scenario, Subject, Tallies, Tally, play, proved_crowd, share,
};
use crate::bench::report::step;
use crate::replay::{Family, Program};
use crate::table::Table;

/// What all scenarios have in common, and what went wrong in any.
pub(super) struct Run {
    seed: u64,
    seconds: u64,
    packets_per_second: u64,
    missed: Vec<String>,
}

const SMALL: u32 = 4_096;
const LARGE: u32 = 65_536;
/// What may be let through beyond the exact limit, in percent of it.
const OVER_MAX: f64 = 0.1;

/// Spoofed sources: at which rate (None: the run's), how many packets each, and what lies between them. With
/// the gap, hundreds of other sources do.
type Pattern = (Option<u64>, u64, Gap);

/// The last one keeps to the budget, so that each source owes enough to be given an entry.
const FLOODS: [Pattern; 8] = [
    (None, 1, Gap::None),
    (None, 2, Gap::None),
    (None, 2, Gap::Ms(5)),
    (None, 3, Gap::None),
    (None, 3, Gap::Ms(5)),
    (None, 9, Gap::None),
    (None, 9, Gap::Ms(5)),
    (Some(share(1)), BURST, Gap::None),
];

/// Percent of the LRU's entries up to which nothing may be forgotten.
const FITS: u32 = 100;

/// Clients with a finished handshake that are at work, in percent of the LRU's entries.
const CROWDS: [(Family, u32, &[u32]); 3] = [
    (Family::V4, SMALL, &[10, 25, 50, 75, 90, 100, 125, 150, 200]),
    (Family::V6, SMALL, &[10, 50, 90, 100, 200]),
    (Family::V4, LARGE, &[10, 50, 90, 100, 200]),
];

/// The spoofed floods, each to both limiters with both sizes.
pub(super) fn floods(run: &mut Run, family: Family) -> Result<Table> {
    let mut table = Table::new([
        "spoofed sources",
        "limiter, entries",
        "good: wrongly denied",
        "moderate: over",
        "heavy: over",
        "pulsed: over",
        "flood: admitted",
        "good, UDP: wrongly denied",
        "heavy, UDP: over",
    ]);
    let subjects = [
        subject(Program::Weir, SMALL),
        subject(Program::Weir, LARGE),
        subject(Program::Naive, SMALL),
        subject(Program::Naive, LARGE),
    ];
    for pattern in [None].into_iter().chain(FLOODS.map(Some)) {
        let name = pattern.map_or("none".to_owned(), pattern_name);
        step(&format!("{family:?}, {name}"));
        let scenario = run.scenario(CROWD.to_vec(), pattern);
        for (subject, tallies) in subjects.iter().zip(play(&scenario, family, &subjects)?) {
            let [good, moderate, heavy, pulsed] = proved(&tallies);
            let of = |class| tallies.get(&class).copied().unwrap_or_default();
            let is_beyond = pattern.is_some_and(|(rate, ..)| rate.is_none());
            run.check(&format!("{family:?}, {name}, {subject}"), subject, &tallies, is_beyond);
            table.row([
                name.clone(),
                subject.to_string(),
                good,
                moderate,
                heavy,
                pulsed,
                if pattern.is_some() { share_of(of(Class::Flood).admitted()) } else { "-".to_owned() },
                share_of(of(Class::UnprovedGood).wrong_denials()),
                beyond(of(Class::UnprovedHeavy)),
            ]);
        }
    }
    Ok(table)
}

/// More and more proved clients in the same LRU, under the flood that the naive limiter likes least.
pub(super) fn crowds(run: &mut Run) -> Result<Table> {
    let mut table = Table::new([
        "clients / entries",
        "limiter, entries",
        "good: wrongly denied",
        "moderate: over",
        "heavy: over",
        "pulsed: over",
        "good: known by socket",
    ]);
    for (family, entries, ratios) in CROWDS {
        let subjects = [subject(Program::Weir, entries), subject(Program::Naive, entries)];
        for ratio in ratios {
            let name = format!("{ratio} %, {}", family_name(family));
            step(&format!("{entries} entries, {name}"));
            let scenario = run.scenario(proved_crowd(entries * ratio / 100), Some((None, 2, Gap::Ms(5))));
            for (subject, tallies) in subjects.iter().zip(play(&scenario, family, &subjects)?) {
                let [good, moderate, heavy, pulsed] = proved(&tallies);
                if *ratio <= FITS {
                    run.check(&format!("{name}, {subject}"), subject, &tallies, true);
                }
                let of_good = tallies.get(&Class::Good).copied().unwrap_or_default();
                let by_socket = of_good.by_socket as f64 * 100.0 / of_good.offered.max(1) as f64;
                table.row([
                    name.clone(),
                    subject.to_string(),
                    good,
                    moderate,
                    heavy,
                    pulsed,
                    share_of(by_socket),
                ]);
            }
        }
    }
    Ok(table)
}

impl Run {
    pub(super) fn new(seed: u64, seconds: u64, packets_per_second: u64) -> Self {
        Self { seed, seconds, packets_per_second, missed: Vec::new() }
    }

    /// What was beyond what is promised, a line each.
    pub(super) fn missed(self) -> Vec<String> {
        self.missed
    }

    fn scenario(&self, groups: Vec<Group>, pattern: Option<Pattern>) -> Scenario {
        let flood = pattern.map(|(rate, packets_per_source, gap)| Flood {
            packets_per_second: rate.unwrap_or(self.packets_per_second),
            packets_per_source,
            gap,
        });
        Scenario { groups, flood, seconds: self.seconds, seed: self.seed }
    }

    fn check(&mut self, case: &str, subject: &Subject, tallies: &Tallies, is_beyond: bool) {
        if subject.program != Program::Weir {
            return;
        }
        let good = tallies.get(&Class::Good).copied().unwrap_or_default();
        if good.wrongly_denied > 0 || good.offered == 0 {
            self.missed.push(format!("{case}: good {good:?}"));
        }
        for class in [Class::Moderate, Class::Heavy, Class::Pulsed] {
            let tally = tallies.get(&class).copied().unwrap_or_default();
            if tally.over_admission() > OVER_MAX {
                self.missed.push(format!("{case}: {class:?} {tally:?}"));
            }
        }
        let unproved = tallies.iter().filter(|(class, _)| !class.is_proved());
        let passed: u64 = unproved.map(|(_, tally)| tally.passed).sum();
        let share = share(self.seconds);
        if is_beyond && !(share - share / 100..=share).contains(&passed) {
            self.missed.push(format!("{case}: {passed} unproved packets passed, of a budget of {share}"));
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.program {
            Program::Weir => "**Weir**",
            Program::Naive => "naive",
        };
        write!(f, "{name}, {}", self.entries)
    }
}

fn subject(program: Program, entries: u32) -> Subject {
    Subject { program, entries }
}

fn proved(tallies: &Tallies) -> [String; 4] {
    let of = |class| tallies.get(&class).copied().unwrap_or_default();
    [
        share_of(of(Class::Good).wrong_denials()),
        beyond(of(Class::Moderate)),
        beyond(of(Class::Heavy)),
        beyond(of(Class::Pulsed)),
    ]
}

fn share_of(percent: f64) -> String {
    format!("{percent:.3}")
}

fn beyond(tally: Tally) -> String {
    format!("{:+.3}", tally.over_admission())
}

fn pattern_name((rate, packets, gap): Pattern) -> String {
    let each = if packets == 1 { "1 packet".to_owned() } else { format!("{packets} packets") };
    match gap {
        Gap::None if rate.is_some() => format!("{each}, no more than the budget"),
        Gap::None => each,
        Gap::Ms(ms) => format!("{each}, {ms} ms apart"),
    }
}

fn family_name(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}
