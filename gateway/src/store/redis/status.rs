//! What the link says of itself, and what its masters say when they are asked.

use std::time::Duration;

use redis::Value;

use super::Fault;
use super::board::State;
use super::link::{Inner, Masters};
use super::server::{Request, Server};
use super::slots::text;
use crate::store::clock;

/// For commands and gauges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// `standalone`, `sentinel` or `cluster`.
    pub topology: &'static str,
    pub state: State,
    pub reason: Option<String>,
    /// How long it has been so.
    pub since: Duration,
    /// Changes of the state so far.
    pub changes: u64,
    pub tags: u16,
    pub masters: Vec<MasterStatus>,
    /// Of a Cluster.
    pub slots_uncovered: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MasterStatus {
    /// None: the Sentinels have named none yet.
    pub address: Option<String>,
    pub state: State,
    pub reason: Option<String>,
    /// The last answer took so long.
    pub took: Option<Duration>,
    /// Since the last answer.
    pub lag: Option<Duration>,
    /// Redis's clock less ours.
    pub clock_offset_ms: Option<i64>,
    pub slots: Option<u16>,
    pub pending: usize,
    pub connects: u64,
    pub script_loads: u64,
}

impl Status {
    pub(super) fn of(inner: &Inner) -> Self {
        let seen = inner.board.see();
        let (servers, slots) = match &inner.masters {
            Masters::One(server) => (vec![std::sync::Arc::clone(server)], None),
            Masters::Cluster(cluster) => (cluster.servers(), Some(cluster.slots())),
        };
        let masters = seen.rows.iter().map(|(id, row)| {
            let server = servers.iter().find(|server| server.id == *id);
            let served = slots.as_ref().zip(row.address.as_ref());
            MasterStatus {
                address: row.address.as_ref().map(ToString::to_string),
                state: row.state(),
                reason: row.fault.as_ref().map(ToString::to_string),
                took: row.took,
                lag: row.answered.map(|moment| moment.elapsed()),
                clock_offset_ms: row.clock_offset_ms,
                slots: served.map(|(slots, address)| slots.served_by(address)),
                pending: server.map_or(0, |server| server.pending()),
                connects: row.connects,
                script_loads: row.script_loads,
            }
        });
        Self {
            topology: inner.dialer.config.topology.label(),
            state: seen.state,
            reason: seen.reason.map(|reason| reason.to_string()),
            since: seen.since.elapsed(),
            changes: seen.changes,
            tags: inner.dialer.config.tags,
            masters: masters.collect(),
            slots_uncovered: slots.map(|slots| slots.uncovered()),
        }
    }
}

/// What a master answered; `None` where its user may not ask.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Probe {
    pub address: Option<String>,
    /// Why it was not asked, or did not answer.
    pub fault: Option<String>,
    pub round_trip: Option<Duration>,
    pub role: Option<String>,
    pub version: Option<String>,
    pub replicas: Option<u64>,
    /// Time of one EVALSHA within Redis, of all clients.
    pub script_us: Option<f64>,
    pub scripts_run: Option<u64>,
    pub memory_used_bytes: Option<u64>,
    /// 0: no limit.
    pub memory_max_bytes: Option<u64>,
    pub memory_policy: Option<String>,
}

impl Probe {
    pub(super) async fn of(server: &Server, address: Option<String>) -> Self {
        let mut probe = Self { address, ..Self::default() };
        probe.fault = probe.ask(server).await.err().map(|fault| fault.to_string());
        probe
    }

    async fn ask(&mut self, server: &Server) -> Result<(), Fault> {
        self.address = Some(server.address()?.to_string());
        let sent = clock::now();
        server.send(Request::Plain(&redis::cmd("PING"))).await?;
        self.round_trip = Some(sent.elapsed());
        let [about, memory, replication, commands] =
            ["server", "memory", "replication", "commandstats"].map(|section| info(server, section));
        let about = about.await?;
        self.version = field(&about, "redis_version");
        let memory = memory.await?;
        self.memory_used_bytes = field(&memory, "used_memory");
        self.memory_max_bytes = field(&memory, "maxmemory");
        self.memory_policy = field(&memory, "maxmemory_policy");
        let replication = replication.await?;
        self.role = field(&replication, "role");
        self.replicas = field(&replication, "connected_slaves");
        // `cmdstat_evalsha:calls=12,usec=340,usec_per_call=28.33,..`
        let stats: String = field(&commands.await?, "cmdstat_evalsha").unwrap_or_default();
        let stats = stats.replace(',', "\n").replace('=', ":");
        self.script_us = field(&stats, "usec_per_call");
        self.scripts_run = field(&stats, "calls");
        Ok(())
    }
}

/// A section of INFO; empty where the user may not ask.
async fn info(server: &Server, section: &str) -> Result<String, Fault> {
    let mut question = redis::cmd("INFO");
    question.arg(section);
    match server.send(Request::Plain(&question)).await {
        Ok(Value::VerbatimString { text, .. }) => Ok(text),
        Ok(answer) => Ok(text(&answer).unwrap_or_default()),
        Err(fault) if fault.kind == super::Kind::Forbidden => Ok(String::new()),
        Err(fault) => Err(fault),
    }
}

/// `NAME:VALUE` of a line.
fn field<T: std::str::FromStr>(lines: &str, name: &str) -> Option<T> {
    lines.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?.trim().parse().ok()
}
