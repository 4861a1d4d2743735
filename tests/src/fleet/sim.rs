//! One client, many nodes, one store, and a network that delays and cuts.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use weir::fleet::{Answer, Ask, Effect, Node, Noted, Settings, Subject, Wire};
use weir::model::{ClientKey, Limit};
use weir_ebpf::gcra::Outcome;

use super::{Random, Twin};

/// What happens in a run.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub nodes: usize,
    /// Requests a second over all nodes.
    pub offered: f64,
    pub gaps: Gaps,
    /// Of the limit, a second and at once.
    pub rate: u64,
    pub burst: u64,
    pub seconds: u64,
    /// From a push to its answer.
    pub delay_ms: u64,
    pub cuts: Vec<Cut>,
    /// Requests of one in so many go to the first node; 0: to all alike.
    pub sticky: bool,
}

/// How requests follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gaps {
    /// At random.
    Poisson,
    /// Evenly.
    Paced,
    /// So many together.
    Bursts(u32),
}

/// No word between some nodes and the store.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    pub from_ms: u64,
    pub to_ms: u64,
    /// The first so many nodes.
    pub nodes: usize,
    /// What is asked meanwhile is done when the cut ends, as by a store that hung.
    pub hangs: bool,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Played {
    pub offered: u64,
    pub admitted: u64,
    /// Admitted by one exact bucket.
    pub ideal: u64,
    /// Refused though the exact bucket admits.
    pub wrongly_refused: u64,
    /// Most that was ever admitted beyond burst + rate x time.
    pub peak: f64,
    /// Calls of the script that told something.
    pub pushes: u64,
    /// In each whole second.
    pub by_second: Vec<u64>,
    /// From one bucket's first refusal to each node's own, in the client's mean gaps on a node beyond 250 ms.
    pub gaps_to_refuse: Vec<f64>,
    pub flagrant: u64,
}

const PERIOD_NS: u64 = 100_000_000;
const MS: u64 = 1_000_000;
/// The simulation begins here, so that nothing is at zero by chance.
const START_NS: u64 = 1_000 * 1_000 * MS;
/// A connection that owes an answer for so long is given up.
const GIVE_UP_NS: u64 = 2_000 * MS;
const CLIENT: Subject = Subject::Client(ClientKey(0xc000_0201));

enum Event {
    Request,
    Flush(usize),
    AtStore(usize, Box<Ask>, u64),
    Answer(usize, u16, Box<Wire>),
    Failed(usize, u16),
}

/// A gateway: its core, and the words that its requests meet.
struct Gateway {
    core: Node,
    name: String,
    tat_ns: u64,
    share: Option<(Limit, u64)>,
    share_tat_ns: u64,
    admitted: u32,
    offered: u32,
    first_ns: u64,
    refused_ns: Option<u64>,
    /// Calls that have ended; what comes of them later is nobody's any more.
    epoch: u64,
}

struct World<'a> {
    scenario: &'a Scenario,
    random: Random,
    limit: Limit,
    store: Twin,
    gateways: Vec<Gateway>,
    events: BinaryHeap<Reverse<(u64, u64)>>,
    content: std::collections::HashMap<u64, (Event, u64)>,
    ordinal: u64,
    ideal_tat_ns: u64,
    ideal_refused_ns: Option<u64>,
    second: u64,
    in_second: u64,
    played: Played,
}

/// Plays `scenario` with the chance of `seed`.
pub fn play(scenario: &Scenario, seed: u64) -> Played {
    let limit = Limit::new(scenario.rate, 1_000 * MS, scenario.burst).unwrap_or(Limit::NONE);
    let gateway = |idx: usize| Gateway {
        core: Node::new(Settings { tags: 1, capacity: 16 }, START_NS),
        name: format!("n{idx}"),
        tat_ns: 0,
        share: None,
        share_tat_ns: 0,
        admitted: 0,
        offered: 0,
        first_ns: 0,
        refused_ns: None,
        epoch: 0,
    };
    let mut world = World {
        scenario,
        random: Random::new(seed),
        limit,
        store: Twin::default(),
        gateways: (0..scenario.nodes).map(gateway).collect(),
        events: BinaryHeap::new(),
        content: std::collections::HashMap::new(),
        ordinal: 0,
        ideal_tat_ns: 0,
        ideal_refused_ns: None,
        second: 0,
        in_second: 0,
        played: Played::default(),
    };
    for idx in 0..scenario.nodes {
        let phase_ns = world.random.below(PERIOD_NS);
        world.at(START_NS + phase_ns, Event::Flush(idx));
    }
    // Nodes hear of each other before the client comes.
    world.at(START_NS + 2_000 * MS, Event::Request);
    world.run();
    world.refusals();
    world.played
}

impl World<'_> {
    fn at(&mut self, at_ns: u64, event: Event) {
        let epoch = match &event {
            Event::AtStore(idx, ..) | Event::Answer(idx, ..) | Event::Failed(idx, _) => {
                self.gateways.get(*idx).map_or(0, |gateway| gateway.epoch)
            }
            Event::Request | Event::Flush(_) => 0,
        };
        self.ordinal += 1;
        self.events.push(Reverse((at_ns, self.ordinal)));
        self.content.insert(self.ordinal, (event, epoch));
    }

    fn run(&mut self) {
        let end_ns = START_NS + (2 + self.scenario.seconds) * 1_000 * MS;
        while let Some(Reverse((now_ns, ordinal))) = self.events.pop() {
            if now_ns > end_ns {
                return;
            }
            let Some((event, epoch)) = self.content.remove(&ordinal) else { continue };
            match event {
                Event::Request => self.requests(now_ns),
                Event::Flush(idx) => self.flush(idx, now_ns),
                Event::AtStore(idx, ask, sent_ns) => self.at_store(idx, &ask, sent_ns, epoch, now_ns),
                Event::Answer(idx, tag, wire) => self.answer(idx, tag, &wire, epoch, now_ns),
                Event::Failed(idx, tag) => {
                    let gateway = self.gateways.get_mut(idx).filter(|gateway| gateway.epoch == epoch);
                    if let Some(gateway) = gateway {
                        gateway.epoch += 1;
                        gateway.core.failed(tag);
                    }
                }
            }
        }
    }

    fn refusals(&mut self) {
        let Some(from_ns) = self.ideal_refused_ns else { return };
        let gap_ns = self.scenario.nodes as f64 / self.scenario.offered * 1e9;
        let gaps = |gateway: &Gateway| {
            let after_ns = gateway.refused_ns?.saturating_sub(from_ns).saturating_sub(250 * MS);
            Some(after_ns as f64 / gap_ns)
        };
        self.played.gaps_to_refuse = self.gateways.iter().map(|one| gaps(one).unwrap_or(f64::MAX)).collect();
    }

    fn requests(&mut self, now_ns: u64) {
        let (n, gap_s) = match self.scenario.gaps {
            Gaps::Poisson => (1, -(1.0 - self.random.unit()).ln() / self.scenario.offered),
            Gaps::Paced => (1, 1.0 / self.scenario.offered),
            Gaps::Bursts(n) => (n, f64::from(n) / self.scenario.offered),
        };
        for _ in 0..n {
            self.request(now_ns);
        }
        self.at(now_ns + (gap_s * 1e9) as u64, Event::Request);
    }

    fn request(&mut self, now_ns: u64) {
        let ideal = match self.limit.decide(self.ideal_tat_ns, now_ns, 1) {
            Outcome::Conforming { tat_ns } => {
                self.ideal_tat_ns = tat_ns;
                true
            }
            Outcome::Over { .. } => false,
        };
        let n = self.scenario.nodes as u64;
        let idx = if self.scenario.sticky { 0 } else { self.random.below(n) as usize };
        let Some(gateway) = self.gateways.get_mut(idx) else { return };
        let admitted = gateway.request(&self.limit, now_ns);
        let played = &mut self.played;
        played.offered += 1;
        played.ideal += u64::from(ideal);
        played.admitted += u64::from(admitted);
        played.wrongly_refused += u64::from(ideal && !admitted);
        let since_ns = now_ns - START_NS - 2_000 * MS;
        let allowed = self.scenario.burst as f64 + self.scenario.rate as f64 * since_ns as f64 / 1e9;
        played.peak = played.peak.max(played.admitted as f64 - allowed);
        while self.second < since_ns / (1_000 * MS) {
            played.by_second.push(std::mem::take(&mut self.in_second));
            self.second += 1;
        }
        self.in_second += u64::from(admitted);
        if !ideal && self.ideal_refused_ns.is_none() {
            self.ideal_refused_ns = Some(now_ns);
        }
    }

    fn flush(&mut self, idx: usize, now_ns: u64) {
        self.at(now_ns + PERIOD_NS, Event::Flush(idx));
        let half_ns = self.scenario.delay_ms * MS / 2;
        let cut = self.cut(idx, now_ns);
        let Some(gateway) = self.gateways.get_mut(idx) else { return };
        gateway.drain(&self.limit, now_ns);
        let mut effects = Vec::new();
        let asks = gateway.core.flush(now_ns, &mut effects);
        gateway.apply(&effects, now_ns);
        for ask in asks {
            self.played.pushes += u64::from(ask.batch.is_some());
            match cut {
                None => self.at(now_ns + half_ns, Event::AtStore(idx, Box::new(ask), now_ns)),
                Some(cut) => {
                    self.at(now_ns + GIVE_UP_NS, Event::Failed(idx, ask.tag));
                    if cut.hangs {
                        let at_ns = START_NS + cut.to_ms * MS;
                        self.at(at_ns, Event::AtStore(idx, Box::new(ask), now_ns));
                    }
                }
            }
        }
    }

    fn cut(&self, idx: usize, now_ns: u64) -> Option<Cut> {
        let ms = (now_ns - START_NS) / MS;
        let holds = |cut: &&Cut| idx < cut.nodes && (cut.from_ms..cut.to_ms).contains(&ms);
        self.scenario.cuts.iter().find(holds).copied()
    }

    fn at_store(&mut self, idx: usize, ask: &Ask, sent_ns: u64, epoch: u64, now_ns: u64) {
        let Some(gateway) = self.gateways.get(idx) else { return };
        let wire = self.store.push(ask, &gateway.name, sent_ns, now_ns / 1_000);
        // Of a connection that was given up the answer reaches nobody; what it asked for is done.
        if gateway.epoch == epoch {
            let back_ns = self.scenario.delay_ms * MS / 2;
            self.at(now_ns + back_ns, Event::Answer(idx, ask.tag, Box::new(wire)));
        }
    }

    fn answer(&mut self, idx: usize, tag: u16, wire: &Wire, epoch: u64, now_ns: u64) {
        let Some(gateway) = self.gateways.get_mut(idx).filter(|gateway| gateway.epoch == epoch) else {
            return;
        };
        gateway.epoch += 1;
        gateway.drain(&self.limit, now_ns);
        let mut effects = Vec::new();
        match Answer::parse(wire) {
            Ok(answer) => gateway.core.answered(tag, &answer, now_ns, &mut effects),
            Err(_) => gateway.core.failed(tag),
        }
        self.played.flagrant +=
            effects.iter().filter(|effect| matches!(effect, Effect::Flagrant { .. })).count() as u64;
        gateway.apply(&effects, now_ns);
    }
}

impl Gateway {
    /// As the request path decides: the share, then the limit; what the limit refuses costs the share nothing.
    fn request(&mut self, limit: &Limit, now_ns: u64) -> bool {
        self.offered += 1;
        let share = self.share.filter(|(_, until_ns)| *until_ns > now_ns);
        let shared = share.map(|(share, _)| share.decide(self.share_tat_ns, now_ns, 1));
        let admitted = match (shared, limit.decide(self.tat_ns, now_ns, 1)) {
            (Some(Outcome::Over { .. }), _) | (_, Outcome::Over { .. }) => false,
            (shared, Outcome::Conforming { tat_ns }) => {
                if let Some(Outcome::Conforming { tat_ns }) = shared {
                    self.share_tat_ns = tat_ns;
                }
                self.tat_ns = tat_ns;
                true
            }
        };
        if admitted {
            if self.admitted == 0 {
                self.first_ns = now_ns;
            }
            self.admitted += 1;
        }
        if !admitted && self.refused_ns.is_none() {
            self.refused_ns = Some(now_ns);
        }
        admitted
    }

    /// What was noted since the last look.
    fn drain(&mut self, limit: &Limit, now_ns: u64) {
        if self.offered == 0 {
            return;
        }
        let (admitted, offered) = (std::mem::take(&mut self.admitted), std::mem::take(&mut self.offered));
        let noted = Noted {
            subject: CLIENT,
            limit: *limit,
            admitted,
            offered,
            first_ns: self.first_ns,
            from_peer: true,
        };
        self.core.note(&noted, now_ns);
    }

    fn apply(&mut self, effects: &[Effect], now_ns: u64) {
        for effect in effects {
            match effect {
                Effect::Raise { ahead_ns, .. } => self.tat_ns = self.tat_ns.max(now_ns + ahead_ns),
                Effect::Share { limit, until_ns, .. } => self.share = Some((*limit, *until_ns)),
                Effect::Unshare { .. } => self.share = None,
                // Only counted: the run is about limits.
                Effect::Flagrant { .. } | Effect::Ban(_) => {}
            }
        }
    }
}
