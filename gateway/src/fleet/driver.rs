//! The task that takes a node into its fleet: flushes on time, sends what the core wants told, does what
//! it wants done. It runs on the control runtime; requests only ever meet what it wrote.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};

use super::flights::{Called, Flights, Landed, Purpose, wire};
use super::{
    Answer, BAN, BanWord, Config, Counts, Effect, LEARN, Learned, Node, NodeCharge, Noted, Order, Ordered,
    PUSH, Settings, Subject, What,
};
use crate::limit::{Ledger, Note};
use crate::model::ClientKey;
use crate::plane::now_ns;
use crate::proxy::Shared;
use crate::store::redis::{Fault, Kind, Link, Script, Tag};

/// Subjects that a node follows at once.
pub const TRACKED: usize = 65_536;
/// Bytes of one with its place, in a batch too, and of the bans that are known by version.
pub const ENTRY_BYTES: u64 = 384 + 2 * 64;
/// Orders that wait for the store; beyond it the oldest is lost, and said.
const ORDERS: usize = 1_024;
/// How often a node looks through all bans, beside what it hears: what it missed it knows then.
const LEARN_EVERY_NS: u64 = 60 * 1_000_000_000;
/// And after a silence of.
const SILENT_NS: u64 = 5 * 1_000_000_000;

/// What goes up to the control side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    Ban(BanWord),
    /// To be banned here, and ordered for all.
    Flagrant(ClientKey),
    /// The store has lost its bans: whoever has some tells them again.
    Lost,
}

/// For commands and gauges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct View {
    pub counts: Counts,
    pub nodes: u32,
    pub tracked: usize,
    pub lag: Duration,
    /// Notes that found no place on the request path.
    pub missed: u64,
    pub orders_waiting: usize,
}

/// What others hold of it.
pub struct Fleet {
    view: Mutex<View>,
    orders: mpsc::Sender<Order>,
    joined: watch::Receiver<bool>,
    node: String,
    link: Link,
}

/// What a [`Driver`] is made of.
pub struct Parts {
    pub config: Config,
    /// Unique to this process, for its life.
    pub node: String,
    pub link: Link,
    pub ledger: Arc<Ledger>,
    pub shared: Arc<Shared>,
    pub news: mpsc::Sender<News>,
}

pub struct Driver {
    config: Config,
    node: String,
    link: Link,
    ledger: Arc<Ledger>,
    shared: Arc<Shared>,
    news: mpsc::Sender<News>,
    core: Node,
    flights: Flights,
    scripts: [Arc<Script>; 3],
    lanes: Vec<Lane>,
    waiting: VecDeque<Waiting>,
    orders: mpsc::Receiver<Order>,
    ordinal: u64,
    joined: watch::Sender<bool>,
    fleet: Arc<Fleet>,
    has_complained: bool,
}

/// How far a tag's bans are known.
#[derive(Debug, Default)]
struct Lane {
    cursor: Option<String>,
    is_out: bool,
    is_known: bool,
    due_ns: u64,
    heard_ns: u64,
    generation: u64,
}

struct Waiting {
    number: u64,
    order: Order,
    made_ns: u64,
    is_out: bool,
}

impl Fleet {
    pub fn view(&self) -> View {
        *self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells all nodes, as soon as the store can be reached. False: too much waits already.
    pub fn order(&self, order: Order) -> bool {
        self.orders.try_send(order).is_ok()
    }

    /// Waits until all bans are known.
    pub async fn joined(&self) {
        let mut joined = self.joined.clone();
        // Closed: the task has ended, and nobody will join.
        match joined.wait_for(|joined| *joined).await {
            Ok(_) | Err(_) => {}
        }
    }

    /// Who charged the client lately, as the store knows it.
    pub async fn charged_by(&self, client: ClientKey) -> Result<Vec<NodeCharge>, Fault> {
        let subject = Subject::Client(client);
        let tags = self.link.config().tags;
        let tag = Tag::of(u64::from(subject.tag(tags)), tags);
        let key = self.link.key(tag, &subject.to_string());
        let held = self.link.command(tag, &[b"HGETALL", key.as_bytes()]).await?;
        Ok(NodeCharge::all(&wire(held)))
    }

    /// By which other nodes know this one.
    pub fn node(&self) -> &str {
        &self.node
    }

    pub fn link(&self) -> &Link {
        &self.link
    }
}

impl Driver {
    pub fn new(parts: Parts) -> (Self, Arc<Fleet>) {
        let Parts { config, node, link, ledger, shared, news } = parts;
        let (sender, orders) = mpsc::channel(ORDERS);
        let (joined, is_joined) = watch::channel(false);
        let fleet = Arc::new(Fleet {
            view: Mutex::default(),
            orders: sender,
            joined: is_joined,
            node: node.clone(),
            link: link.clone(),
        });
        let tags = link.config().tags;
        let driver = Self {
            core: Node::new(Settings { tags, capacity: TRACKED }, now_ns()),
            lanes: (0..tags).map(|_| Lane::default()).collect(),
            scripts: [PUSH, BAN, LEARN].map(|code| Arc::new(Script::new(code))),
            config,
            node,
            link,
            ledger,
            shared,
            news,
            flights: Flights::default(),
            waiting: VecDeque::new(),
            orders,
            ordinal: 0,
            joined,
            fleet: Arc::clone(&fleet),
            has_complained: false,
        };
        (driver, fleet)
    }

    /// For as long as it is polled.
    pub async fn run(mut self) {
        tokio::time::sleep(self.phase()).await;
        let mut ticks = interval(self.config.period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => self.flush(),
                landed = self.flights.landed() => self.land(landed),
                Some(order) = self.orders.recv() => self.take_order(order),
            }
        }
    }

    /// So that nodes do not all flush at once.
    fn phase(&self) -> Duration {
        let sum =
            self.node.bytes().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
        let period_ns = u64::try_from(self.config.period.as_nanos()).unwrap_or(1).max(1);
        Duration::from_nanos(sum.wrapping_mul(0x9e37_79b9_7f4a_7c15) % period_ns)
    }

    fn flush(&mut self) {
        let now_ns = now_ns();
        let Self { ledger, core, .. } = self;
        ledger.clients.turn(now_ns, &mut |note| core.note(&client(note), now_ns));
        ledger.rows.turn(now_ns, &mut |note| core.note(&row(note), now_ns));
        let mut effects = Vec::new();
        for ask in self.core.flush(now_ns, &mut effects) {
            let (keys, arguments) = (ask.keys(&self.node), ask.arguments(&self.node, now_ns));
            self.call(ask.tag, Purpose::Push, 0, keys, arguments);
        }
        self.apply(&effects, now_ns);
        self.learn(now_ns);
        self.send_orders(now_ns);
        self.show(now_ns);
    }

    fn call(&mut self, tag: u16, purpose: Purpose, script: usize, keys: Vec<String>, arguments: Vec<String>) {
        let Some(script) = self.scripts.get(script).cloned() else { return };
        self.flights.start(&self.link, Called { tag, purpose, script, keys, arguments });
    }

    fn land(&mut self, landed: Vec<Landed>) {
        let now_ns = now_ns();
        // What came since the flush counts as not told.
        let Self { ledger, core, .. } = self;
        ledger.clients.take(now_ns, &mut |note| core.note(&client(note), now_ns));
        ledger.rows.take(now_ns, &mut |note| core.note(&row(note), now_ns));
        let mut effects = Vec::new();
        for Landed { tag, purpose, answer } in landed {
            let understood = match (&purpose, answer) {
                (Purpose::Push, answer) => self.pushed(tag, answer, now_ns, &mut effects),
                (Purpose::Learn, answer) => self.learned(tag, answer, now_ns, &mut effects),
                (Purpose::Order(number), answer) => self.ordered(*number, answer),
            };
            self.complain(understood.err());
        }
        self.apply(&effects, now_ns);
    }

    /// Says once what is wrong with the store's content; its absence the link says itself.
    fn complain(&mut self, what: Option<String>) {
        match what {
            None => self.has_complained = false,
            Some(what) if !self.has_complained => {
                tracing::error!(what, "the store answers what nobody asked: are its keys another program's?");
                self.has_complained = true;
            }
            Some(_) => {}
        }
    }

    fn pushed(
        &mut self,
        tag: u16,
        answer: Result<super::Wire, Fault>,
        now_ns: u64,
        effects: &mut Vec<Effect>,
    ) -> Result<(), String> {
        let answer = answer.map(|wire| Answer::parse(&wire));
        match answer {
            Ok(Ok(answer)) => {
                self.core.answered(tag, &answer, now_ns, effects);
                if let Some(lane) = self.lanes.get_mut(usize::from(tag)) {
                    if now_ns.saturating_sub(lane.heard_ns) > SILENT_NS {
                        lane.due_ns = now_ns;
                    }
                    lane.heard_ns = now_ns;
                }
                Ok(())
            }
            Ok(Err(error)) => {
                self.core.failed(tag);
                Err(error.to_string())
            }
            Err(fault) => {
                self.core.failed(tag);
                refused(&fault)
            }
        }
    }

    /// Asks for the bans of tags whose turn it is, a part at a time.
    fn learn(&mut self, now_ns: u64) {
        let due = |lane: &Lane| !lane.is_out && (lane.cursor.is_some() || lane.due_ns <= now_ns);
        let due: Vec<_> =
            (0_u16..).zip(&self.lanes).filter(|(_, lane)| due(lane)).map(|(tag, _)| tag).collect();
        for tag in due {
            let Some(lane) = self.lanes.get_mut(usize::from(tag)) else { continue };
            lane.is_out = true;
            let cursor = lane.cursor.clone().unwrap_or_else(|| "0".to_owned());
            self.call(tag, Purpose::Learn, 2, vec!["bans".to_owned()], vec![cursor]);
        }
    }

    fn learned(
        &mut self,
        tag: u16,
        answer: Result<super::Wire, Fault>,
        now_ns: u64,
        effects: &mut Vec<Effect>,
    ) -> Result<(), String> {
        let Some(lane) = self.lanes.get_mut(usize::from(tag)) else { return Ok(()) };
        lane.is_out = false;
        let learned = match answer.map(|wire| Learned::parse(&wire)) {
            Ok(Ok(learned)) => learned,
            Ok(Err(error)) => return Err(error.to_string()),
            Err(fault) => return refused(&fault),
        };
        lane.cursor.clone_from(&learned.cursor);
        let is_lost = lane.generation != 0 && learned.generation != lane.generation;
        lane.generation = learned.generation;
        if learned.cursor.is_none() {
            lane.is_known = true;
            lane.due_ns = now_ns + LEARN_EVERY_NS;
        }
        self.core.learned(&learned, effects);
        if is_lost {
            self.tell(News::Lost);
        }
        if self.lanes.iter().all(|lane| lane.is_known) {
            self.joined.send_replace(true);
        }
        Ok(())
    }

    fn take_order(&mut self, order: Order) {
        if self.waiting.len() >= ORDERS {
            tracing::error!("too many bans wait for the store: the oldest is told to nobody");
            self.waiting.pop_front();
        }
        self.ordinal += 1;
        self.waiting.push_back(Waiting { number: self.ordinal, order, made_ns: now_ns(), is_out: false });
        self.send_orders(now_ns());
    }

    /// One at a time of each tag, in the order in which they were made.
    fn send_orders(&mut self, now_ns: u64) {
        let tags = self.link.config().tags;
        let mut busy = vec![false; usize::from(tags)];
        let mut calls = Vec::new();
        for waiting in &mut self.waiting {
            let tag = waiting.order.subject().tag(tags);
            let Some(busy) = busy.get_mut(usize::from(tag)) else { continue };
            if !*busy && !waiting.is_out {
                waiting.is_out = true;
                let age = Duration::from_nanos(now_ns.saturating_sub(waiting.made_ns));
                calls.push((tag, waiting.number, waiting.order.arguments(age)));
            }
            *busy = true;
        }
        for (tag, number, arguments) in calls {
            let keys = vec!["bans".to_owned(), "sentences".to_owned()];
            self.call(tag, Purpose::Order(number), 1, keys, arguments);
        }
    }

    fn ordered(&mut self, number: u64, answer: Result<super::Wire, Fault>) -> Result<(), String> {
        let Some(at) = self.waiting.iter().position(|waiting| waiting.number == number) else {
            return Ok(());
        };
        match answer {
            Ok(wire) => {
                let waiting = self.waiting.remove(at);
                let ordered = Ordered::parse(&wire).map_err(|error| error.to_string())?;
                if let Some(Waiting { order, .. }) = waiting {
                    self.core.ordered(&order, &ordered);
                    if !ordered.is_in_force && !order.again {
                        self.hear_all_again(&order);
                    }
                }
                Ok(())
            }
            // It would be refused again.
            Err(fault) if fault.kind == Kind::Refused => {
                self.waiting.remove(at);
                refused(&fault)
            }
            Err(_) => {
                if let Some(waiting) = self.waiting.get_mut(at) {
                    waiting.is_out = false;
                }
                Ok(())
            }
        }
    }

    /// A later decision of another node stands: it is among all bans.
    fn hear_all_again(&mut self, order: &Order) {
        let tag = order.subject().tag(self.link.config().tags);
        if let Some(lane) = self.lanes.get_mut(usize::from(tag)) {
            lane.due_ns = 0;
        }
    }

    fn apply(&self, effects: &[Effect], now_ns: u64) {
        for effect in effects {
            match *effect {
                Effect::Raise { subject: Subject::Client(key), ahead_ns } => {
                    self.shared.plane.raise(key, ahead_ns, now_ns);
                }
                Effect::Raise { subject: Subject::Row(key), ahead_ns } => {
                    self.shared.rows.raise(key, ahead_ns, now_ns);
                }
                Effect::Share { subject: Subject::Client(key), limit, until_ns } => {
                    self.ledger.clients.shares().set(key.0, limit, until_ns);
                }
                Effect::Share { subject: Subject::Row(key), limit, until_ns } => {
                    self.ledger.rows.shares().set(key, limit, until_ns);
                }
                Effect::Unshare { subject: Subject::Client(key) } => self.ledger.clients.shares().end(key.0),
                Effect::Unshare { subject: Subject::Row(key) } => self.ledger.rows.shares().end(key),
                Effect::Flagrant { client } => self.tell(News::Flagrant(client)),
                Effect::Ban(word) => self.tell(News::Ban(word)),
            }
        }
    }

    fn tell(&self, news: News) {
        if self.news.try_send(news).is_err() {
            tracing::warn!(
                "the fleet's news are more than this node can follow: bans come with the next look"
            );
        }
    }

    fn show(&self, now_ns: u64) {
        let view = View {
            counts: self.core.counts(),
            nodes: self.core.nodes(),
            tracked: self.core.tracked(),
            lag: Duration::from_nanos(self.core.lag_ns(now_ns)),
            missed: self.ledger.clients.missed() + self.ledger.rows.missed(),
            orders_waiting: self.waiting.len(),
        };
        *self.fleet.view.lock().unwrap_or_else(PoisonError::into_inner) = view;
    }
}

impl Order {
    /// A ban that all nodes are to hold.
    pub fn ban(
        client: ClientKey,
        left: Option<Duration>,
        reason: crate::plane::BanReason,
        level: u32,
    ) -> Self {
        Self { client, what: What::Ban { left, reason, level }, again: false }
    }

    pub fn unban(client: ClientKey, grace: Duration) -> Self {
        Self { client, what: What::Unban { grace }, again: false }
    }
}

/// What the link does not say by itself.
fn refused(fault: &Fault) -> Result<(), String> {
    if fault.kind == Kind::Refused { Err(fault.text.clone()) } else { Ok(()) }
}

fn client(note: Note) -> Noted {
    noted(Subject::Client(ClientKey(note.key)), note)
}

fn row(note: Note) -> Noted {
    noted(Subject::Row(note.key), note)
}

fn noted(subject: Subject, note: Note) -> Noted {
    let Note { limit, admitted, offered, first_ns, from_peer, .. } = note;
    Noted { subject, limit, admitted, offered, first_ns, from_peer }
}
