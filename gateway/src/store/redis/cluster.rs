//! A Cluster: a server for each master that a tag leads to, and the map of slots, asked for again whenever it may be wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use redis::Value;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::backoff::spread;
use super::board::Board;
use super::call::Tag;
use super::open::{Dialer, Opened, To};
use super::sentinel::Find;
use super::server::{Request, Server, alongside, ask};
use super::slots::SlotMap;
use super::{Address, Call, Fault, Kind};

/// How often the slots are asked for without a reason.
const LOOK: Duration = Duration::from_secs(5);
/// And with one: a master is away, or said that a slot moved.
const LOOK_AGAIN: Duration = Duration::from_millis(400);
/// For one server's answer.
const PATIENCE: Duration = Duration::from_millis(600);
/// Redirects that one request follows.
const REDIRECTS_MAX: usize = 3;

pub(super) struct Cluster {
    dialer: Arc<Dialer>,
    board: Arc<Board>,
    slots: Arc<ArcSwap<SlotMap>>,
    servers: Mutex<BTreeMap<Address, (Arc<Server>, AbortHandle)>>,
    doubt: Arc<Notify>,
}

impl Cluster {
    pub fn new(dialer: Arc<Dialer>, board: Arc<Board>) -> Self {
        Self {
            dialer,
            board,
            slots: Arc::new(ArcSwap::from_pointee(SlotMap::default())),
            servers: Mutex::default(),
            doubt: Arc::new(Notify::new()),
        }
    }

    pub fn slots(&self) -> Arc<SlotMap> {
        self.slots.load_full()
    }

    pub fn servers(&self) -> Vec<Arc<Server>> {
        let servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        servers.values().map(|(server, _)| Arc::clone(server)).collect()
    }

    /// Follows the slots, and runs the masters' connections.
    pub async fn run(&self) {
        let mut running = JoinSet::new();
        loop {
            let is_whole = match self.ask_all().await {
                Ok(slots) => self.take(slots, &mut running),
                Err(fault) => {
                    // Masters that still answer go on by the slots that were known.
                    let is_lost = self.servers().iter().all(|server| server.address().is_err());
                    self.board.troubled(is_lost.then_some(fault));
                    false
                }
            };
            if is_whole {
                tokio::select! {
                    () = sleep(LOOK) => {}
                    () = self.doubt.notified() => {}
                }
            }
            sleep(spread(LOOK_AGAIN)).await;
            while running.try_join_next().is_some() {}
        }
    }

    /// Makes the servers those of `slots`; whether all is well.
    fn take(&self, slots: SlotMap, running: &mut JoinSet<()>) -> bool {
        let uncovered = slots.uncovered();
        let slots_of_tags = Tag::all(self.dialer.config.tags).map(Tag::slot);
        let wanted: BTreeSet<_> = slots_of_tags.filter_map(|slot| slots.master(slot)).cloned().collect();
        let trouble = (uncovered > 0)
            .then(|| Fault::new(Kind::Moved, format!("{uncovered} of its slots have no master")));
        let slots = Arc::new(slots);
        self.slots.store(Arc::clone(&slots));
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        servers.retain(|address, (server, running)| {
            let stays = wanted.contains(address);
            if !stays {
                running.abort();
                self.board.remove(server.id);
            }
            stays
        });
        for address in wanted {
            servers.entry(address).or_insert_with_key(|address| {
                let find = Find::Cluster(address.clone(), Arc::clone(&self.slots));
                let (dialer, board) = (Arc::clone(&self.dialer), Arc::clone(&self.board));
                let server = Server::new(find, dialer, board, Arc::clone(&self.doubt));
                let handle = running.spawn(Arc::clone(&server).run());
                (server, handle)
            });
        }
        let is_whole = uncovered == 0 && servers.values().all(|(server, _)| server.address().is_ok());
        drop(servers);
        self.board.troubled(trouble);
        is_whole
    }

    /// What the first server says that answers: those that are connected, then the seeds.
    async fn ask_all(&self) -> Result<SlotMap, Fault> {
        let mut last = Fault::new(Kind::Broken, "no server of the Cluster answers");
        for server in self.servers() {
            let Ok(address) = server.address() else { continue };
            let asked = server.send(Request::Plain(&question())).await;
            match asked.and_then(|answer| parse(&answer, &address)) {
                Ok(slots) => return Ok(slots),
                Err(fault) => last = fault,
            }
        }
        let known: Vec<_> = self.slots().masters().into_iter().cloned().collect();
        for seed in self.dialer.config.addresses.iter().chain(&known) {
            let asked = timeout(PATIENCE, self.ask(seed)).await;
            let silent = || Err(Fault::new(Kind::Silent, format!("no answer within {PATIENCE:?}")));
            match asked.unwrap_or_else(|_| silent()) {
                Ok(slots) => return Ok(slots),
                Err(fault) => last = Fault::new(fault.kind, format!("{seed}: {fault}")),
            }
        }
        Err(last)
    }

    async fn ask(&self, seed: &Address) -> Result<SlotMap, Fault> {
        let Opened { mut connection, mut driver } = self.dialer.open(seed, To::Master).await?;
        parse(&alongside(&mut driver, ask(&mut connection, &question())).await?, seed)
    }

    /// Who serves a tag.
    pub fn server(&self, tag: Tag) -> Result<Arc<Server>, Fault> {
        let slots = self.slots.load();
        let Some(address) = slots.master(tag.slot()) else {
            return Err(Fault::new(Kind::Away, "the slot has no master"));
        };
        self.server_at(address)
    }

    fn server_at(&self, address: &Address) -> Result<Arc<Server>, Fault> {
        let servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        match servers.get(address) {
            Some((server, _)) => Ok(Arc::clone(server)),
            None => {
                self.doubt.notify_one();
                Err(Fault::new(Kind::Away, format!("{address} is not connected yet")))
            }
        }
    }

    /// Sends to whom the slot belongs, and after a redirect to whom that names.
    pub async fn send(&self, tag: Tag, work: &Work<'_>) -> Result<Value, Fault> {
        let mut server = self.server(tag)?;
        let mut is_asking = false;
        for _ in 0..REDIRECTS_MAX {
            let answer = match work {
                Work::Call(call) => server.eval(call, is_asking).await,
                Work::Command(command) if is_asking => server.send(Request::Asking(command)).await,
                Work::Command(command) => server.send(Request::Plain(command)).await,
            };
            match answer {
                Err(fault) if fault.kind == Kind::Moved => match redirect(&fault) {
                    Some((asking, address)) => {
                        is_asking = asking;
                        if !asking {
                            self.doubt.notify_one();
                        }
                        server = self.server_at(&address)?;
                    }
                    None => {
                        self.doubt.notify_one();
                        return Err(fault);
                    }
                },
                answer => return answer,
            }
        }
        Err(Fault::new(Kind::Moved, format!("redirected {REDIRECTS_MAX} times")))
    }
}

/// What goes to a slot's master.
pub(super) enum Work<'a> {
    Call(Call<'a>),
    Command(redis::Cmd),
}

fn question() -> redis::Cmd {
    let mut question = redis::cmd("CLUSTER");
    question.arg("SLOTS");
    question
}

fn parse(answer: &Value, asked: &Address) -> Result<SlotMap, Fault> {
    SlotMap::parse(answer, asked).ok_or_else(|| Fault::new(Kind::Refused, "its slots make no sense"))
}

/// `MOVED 3999 127.0.0.1:6381` or `ASK ..`: whether it is the second, and where to.
fn redirect(fault: &Fault) -> Option<(bool, Address)> {
    let mut words = fault.text.split_ascii_whitespace();
    let is_asking = match words.next()? {
        "MOVED" => false,
        "ASK" => true,
        _ => return None,
    };
    let (host, port) = words.nth(1)?.rsplit_once(':')?;
    Some((is_asking, Address::new(host, port.parse().ok()?)))
}
