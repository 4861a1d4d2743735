//! The link as others use it: scripts and commands by hash tag, readers, the state, and the task that
//! keeps it all.

use std::sync::Arc;
use std::time::Duration;

use redis::Value;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::board::{Board, State};
use super::call::{Call, Tag, command};
use super::cluster::{Cluster, Work};
use super::open::Dialer;
use super::sentinel::{Find, Sentinels};
use super::server::{PENDING_KIB, Request, Server};
use super::slots::text;
use super::{Address, Config, Fault, Kind, Probe, Reader, Status, Topology};

/// Keys that one SCAN looks at.
const SCAN_KEYS: usize = 1_000;

/// A handle; all of them are the same link.
#[derive(Clone)]
pub struct Link(Arc<Inner>);

pub(super) struct Inner {
    pub dialer: Arc<Dialer>,
    pub board: Arc<Board>,
    pub masters: Masters,
}

pub(super) enum Masters {
    One(Arc<Server>),
    Cluster(Cluster),
}

impl Link {
    /// Nothing is connected before [`Link::run`] is polled.
    pub fn new(config: Config) -> Result<Self, String> {
        let dialer = Arc::new(Dialer::new(config)?);
        let board = Arc::new(Board::new());
        let one = |find| {
            let (dialer, board) = (Arc::clone(&dialer), Arc::clone(&board));
            Masters::One(Server::new(find, dialer, board, Arc::new(Notify::new())))
        };
        let masters = match &dialer.config.topology {
            Topology::Standalone => {
                let address = dialer.config.addresses.first().ok_or("[store] names no server")?;
                one(Find::Written(address.clone()))
            }
            Topology::Sentinel(name) => one(Find::Sentinels(Sentinels::new(name))),
            Topology::Cluster => Masters::Cluster(Cluster::new(Arc::clone(&dialer), Arc::clone(&board))),
        };
        Ok(Self(Arc::new(Inner { dialer, board, masters })))
    }

    /// Memory that one master can take: requests that wait, encoded and as they were made.
    pub const fn bytes_a_master() -> u64 {
        (2 * PENDING_KIB as u64) << 10
    }

    /// Connects, and keeps connected, for as long as it is polled: a task of the control side.
    pub async fn run(self) {
        match &self.0.masters {
            Masters::One(server) => Arc::clone(server).run().await,
            Masters::Cluster(cluster) => cluster.run().await,
        }
    }

    pub(super) fn inner(&self) -> &Inner {
        &self.0
    }

    pub fn config(&self) -> &Config {
        &self.0.dialer.config
    }

    /// The tag of a client or another thing, by its hash.
    pub fn tag(&self, hash: u64) -> Tag {
        Tag::of(hash, self.config().tags)
    }

    pub fn tags(&self) -> impl Iterator<Item = Tag> + use<> {
        Tag::all(self.config().tags)
    }

    /// `PREFIX:{s<n>}:REST`.
    pub fn key(&self, tag: Tag, rest: &str) -> String {
        tag.key(&self.config().prefix, rest)
    }

    /// Runs a script on the master of a tag, all of whose keys carry it. The answer may be late: it
    /// comes until the link gives the connection up, and whoever drops this future loses it.
    pub async fn eval(&self, tag: Tag, call: Call<'_>) -> Result<Value, Fault> {
        match &self.0.masters {
            Masters::One(server) => server.eval(&call, false).await,
            Masters::Cluster(cluster) => cluster.send(tag, &Work::Call(call)).await,
        }
    }

    /// As [`Link::eval`], a command of plain words. None that blocks: [`Link::reader`] is for those.
    pub async fn command(&self, tag: Tag, words: &[&[u8]]) -> Result<Value, Fault> {
        let command = command(words);
        match &self.0.masters {
            Masters::One(server) => server.send(Request::Plain(&command)).await,
            Masters::Cluster(cluster) => cluster.send(tag, &Work::Command(command)).await,
        }
    }

    /// Reads streams of one tag over a connection of its own.
    pub fn reader(&self, tag: Tag) -> Reader {
        Reader::new(self.clone(), tag)
    }

    /// Who serves a tag now.
    pub(super) fn server(&self, tag: Tag) -> Result<Arc<Server>, Fault> {
        match &self.0.masters {
            Masters::One(server) => Ok(Arc::clone(server)),
            Masters::Cluster(cluster) => cluster.server(tag),
        }
    }

    /// Whether a tag's master can be asked now; why not.
    pub fn reachable(&self, tag: Tag) -> Result<(), Fault> {
        self.server(tag)?.address().map(drop)
    }

    pub fn state(&self) -> State {
        self.0.board.see().state
    }

    /// Told of each change.
    pub fn states(&self) -> watch::Receiver<State> {
        self.0.board.subscribe()
    }

    /// Waits until it is not down, but not for long.
    pub async fn wait_up(&self, patience: Duration) -> Result<(), Fault> {
        let mut states = self.states();
        let came = timeout(patience, states.wait_for(|state| *state != State::Down)).await;
        match came {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => {
                let reason = self.0.board.see().reason;
                Err(reason.unwrap_or_else(|| Fault::new(Kind::Away, "not connected yet")))
            }
        }
    }

    /// Every server that is known to be the store's, written down or found.
    pub fn addresses(&self) -> Vec<Address> {
        let seen = self.0.board.see();
        let mut all: Vec<_> = seen.rows.into_iter().filter_map(|(_, row)| row.address).collect();
        if let Masters::Cluster(cluster) = &self.0.masters {
            all.extend(cluster.slots().masters().into_iter().cloned());
        }
        all.extend(self.config().addresses.iter().cloned());
        all.sort();
        all.dedup();
        all
    }

    /// Keys that match a pattern, of all masters, at most `most`.
    pub async fn scan(&self, pattern: &str, most: usize) -> Result<Vec<String>, Fault> {
        let mut found = Vec::new();
        for server in self.servers() {
            let mut cursor = "0".to_owned();
            loop {
                let page = SCAN_KEYS.to_string();
                let words: [&[u8]; 6] =
                    [b"SCAN", cursor.as_bytes(), b"MATCH", pattern.as_bytes(), b"COUNT", page.as_bytes()];
                let answer = server.send(Request::Plain(&command(&words))).await?;
                let Some([next, keys]) = answer.as_sequence() else {
                    return Err(Fault::new(Kind::Refused, "the answer makes no sense"));
                };
                found.extend(keys.as_sequence().unwrap_or_default().iter().filter_map(text));
                cursor = text(next).unwrap_or_default();
                if found.len() >= most {
                    found.truncate(most);
                    return Ok(found);
                }
                if cursor == "0" || cursor.is_empty() {
                    break;
                }
            }
        }
        found.sort_unstable();
        // Redis may name one twice.
        found.dedup();
        Ok(found)
    }

    fn servers(&self) -> Vec<Arc<Server>> {
        match &self.0.masters {
            Masters::One(server) => vec![Arc::clone(server)],
            Masters::Cluster(cluster) => cluster.servers(),
        }
    }

    /// Asks every master that there is a row for.
    pub async fn probe(&self) -> Vec<Probe> {
        let mut probes = Vec::new();
        for server in self.servers() {
            probes.push(Probe::of(&server, server.written().map(|address| address.to_string())).await);
        }
        probes
    }

    pub fn status(&self) -> Status {
        Status::of(&self.0)
    }
}
