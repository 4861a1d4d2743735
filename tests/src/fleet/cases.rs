//! What is simulated, and what each run has to keep to.

use super::{Cut, Gaps, Played, Scenario};

/// Of all cases, a second and at once.
pub const RATE: u64 = 100;
pub const BURST: u64 = 100;

/// A scenario and its promise.
pub struct Case {
    pub name: String,
    pub scenario: Scenario,
    pub promise: Promise,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// The bound on what is let through beyond one bucket.
    Bounded,
    /// Nobody refused whom one bucket admits.
    NoneRefused,
    /// One in a hundred at most.
    FewRefused,
    /// Admitted between so many percent of the limit.
    Between(u64, u64),
}

fn scenario(nodes: usize, offered: f64) -> Scenario {
    Scenario {
        nodes,
        offered,
        gaps: Gaps::Poisson,
        rate: RATE,
        burst: BURST,
        seconds: 20,
        delay_ms: 5,
        cuts: Vec::new(),
        sticky: false,
    }
}

fn case(name: impl Into<String>, scenario: Scenario, promise: Promise) -> Case {
    Case { name: name.into(), scenario, promise }
}

/// All, for fleets of these sizes.
pub fn cases(sizes: &[usize]) -> Vec<Case> {
    let mut cases = Vec::new();
    for &nodes in sizes {
        for times in [2.0, 3.0, 10.0] {
            let name = format!("{nodes} nodes, {times} x the limit");
            cases.push(case(name, scenario(nodes, times * RATE as f64), Promise::Bounded));
        }
        cases.extend(good(nodes));
        cases.extend(troubled(nodes));
    }
    cases
}

/// Clients below their limit.
fn good(nodes: usize) -> Vec<Case> {
    let mut cases = Vec::new();
    for percent in [50, 80, 95] {
        let offered = RATE as f64 * f64::from(percent) / 100.0;
        let name = format!("{nodes} nodes, good at {percent} %");
        let paced = Scenario { gaps: Gaps::Paced, ..scenario(nodes, offered) };
        let one_node = Scenario { sticky: true, ..paced.clone() };
        // See below.
        let promise = if percent == 95 { Promise::FewRefused } else { Promise::NoneRefused };
        cases.push(case(&name, scenario(nodes, offered), promise));
        cases.push(case(format!("{name}, evenly"), paced, Promise::NoneRefused));
        cases.push(case(format!("{name}, evenly, on one node"), one_node, Promise::NoneRefused));
    }
    let bursts = Scenario { gaps: Gaps::Bursts(80), ..scenario(nodes, RATE as f64 * 0.8) };
    cases.push(case(format!("{nodes} nodes, good in bursts of 80"), bursts, Promise::NoneRefused));
    cases
}

/// The store is away, or slow, or one node is cut off.
fn troubled(nodes: usize) -> Vec<Case> {
    let mut cases = Vec::new();
    let down = |nodes, hangs| vec![Cut { from_ms: 8_000, to_ms: 18_000, nodes, hangs }];
    for (trouble, cut_off, hangs) in
        [("store killed", nodes, false), ("store hung", nodes, true), ("one node cut off", 1, false)]
    {
        for (percent, gaps, promise) in [
            (50, Gaps::Poisson, Promise::NoneRefused),
            (80, Gaps::Poisson, Promise::NoneRefused),
            (95, Gaps::Paced, Promise::NoneRefused),
            // At random a client at 95 % fills one bucket to the brim every few seconds.
            (95, Gaps::Poisson, Promise::FewRefused),
        ] {
            let mut scenario = scenario(nodes, RATE as f64 * f64::from(percent) / 100.0);
            (scenario.cuts, scenario.seconds, scenario.gaps) = (down(cut_off, hangs), 30, gaps);
            let evenly = if gaps == Gaps::Paced { ", evenly" } else { "" };
            let name = format!("{nodes} nodes, {trouble} for 10 s, good at {percent} %{evenly}");
            cases.push(case(name, scenario, promise));
        }
        let mut hot = scenario(nodes, RATE as f64 * 6.0);
        (hot.cuts, hot.seconds) = (down(cut_off, hangs), 30);
        let name = format!("{nodes} nodes, {trouble} for 10 s, 6 x the limit");
        cases.push(case(name, hot, Promise::Between(90, 140)));
    }
    let mut slow = scenario(nodes, RATE as f64 * 2.0);
    slow.delay_ms = 350;
    cases.push(case(format!("{nodes} nodes, answers 350 ms late, 2 x the limit"), slow, Promise::Bounded));
    cases
}

impl Case {
    /// The most that may be admitted beyond burst + rate x time: what is offered until a push has been
    /// answered on every node, and two for each node that had not heard.
    pub fn bound(&self) -> f64 {
        let Scenario { nodes, offered, delay_ms, .. } = &self.scenario;
        let unseen_s = (150 + delay_ms) as f64 / 1_000.0;
        offered * unseen_s + 2.0 * *nodes as f64
    }

    /// What the run did beyond its promise.
    pub fn missed(&self, played: &Played) -> Option<String> {
        let percent = 100.0 * played.admitted as f64 / played.ideal.max(1) as f64;
        match self.promise {
            Promise::Bounded => {
                let bound = self.bound();
                let least = played.ideal as f64 * 0.95;
                let most = played.ideal as f64 * 1.01 + bound;
                let is_kept = played.peak <= bound && (least..=most).contains(&(played.admitted as f64));
                (!is_kept)
                    .then(|| format!("{percent:.1} % of one bucket, peak {:.0} of {bound:.0}", played.peak))
            }
            Promise::NoneRefused => (played.wrongly_refused > 0)
                .then(|| format!("{} of {} wrongly refused", played.wrongly_refused, played.offered)),
            Promise::FewRefused => (played.wrongly_refused * 100 > played.offered)
                .then(|| format!("{} of {} wrongly refused", played.wrongly_refused, played.offered)),
            Promise::Between(least, most) => {
                let is_kept = (least as f64..=most as f64).contains(&percent);
                (!is_kept).then(|| format!("{percent:.1} % of one bucket"))
            }
        }
    }
}
