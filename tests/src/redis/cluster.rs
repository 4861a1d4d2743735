//! A Redis Cluster: three masters, a replica of each; it goes on with the slots that it has.

use std::time::Duration;

use anyhow::{Context, Result};

use super::Redis;
use crate::ports::free_port;
use crate::wait::wait_for;

const MASTERS: usize = 3;
/// The slots of each master.
const RANGES: [(u16, u16); MASTERS] = [(0, 5_460), (5_461, 10_922), (10_923, 16_383)];
const MEET: Duration = Duration::from_secs(30);

/// Masters first, then the replica of each; a dead master is noticed after a second.
pub struct Cluster {
    pub servers: Vec<Redis>,
}

impl Cluster {
    pub fn start() -> Result<Self> {
        let mut servers = Vec::new();
        let mut buses = Vec::new();
        for _ in 0..2 * MASTERS {
            let bus = free_port()?.to_string();
            let options = [
                "--save",
                "",
                "--cluster-enabled",
                "yes",
                "--cluster-node-timeout",
                "1000",
                "--cluster-require-full-coverage",
                "no",
                "--cluster-port",
                &bus,
            ];
            servers.push(Redis::start_with(&options)?);
            buses.push(bus);
        }
        let first = servers.first().context("no server")?;
        for (server, bus) in servers.iter().zip(&buses).skip(1) {
            first.ask(&["CLUSTER", "MEET", "127.0.0.1", &server.port.to_string(), bus])?;
        }
        for (server, (low, high)) in servers.iter().zip(RANGES) {
            server.ask(&["CLUSTER", "ADDSLOTSRANGE", &low.to_string(), &high.to_string()])?;
        }
        let cluster = Self { servers };
        let met = |server: &Redis| {
            server
                .ask(&["CLUSTER", "NODES"])
                .is_ok_and(|said| said.lines().count() == 2 * MASTERS && !said.contains("handshake"))
        };
        wait_for("the servers met", MEET, || cluster.servers.iter().all(met).then_some(()))?;
        for (master, replica) in cluster.servers.iter().zip(cluster.servers.iter().skip(MASTERS)) {
            let id = master.ask(&["CLUSTER", "MYID"])?;
            wait_for("a replica takes its master", MEET, || {
                replica.ask(&["CLUSTER", "REPLICATE", &id]).ok()
            })?;
        }
        wait_for("the Cluster is well", MEET, || cluster.is_well().then_some(()))?;
        Ok(cluster)
    }

    /// Whether all that run say that every slot is served, and each master has its replica.
    pub fn is_well(&self) -> bool {
        let well = |server: &Redis| {
            let info = server.ask(&["CLUSTER", "INFO"]).unwrap_or_default();
            let linked = server.is_master()
                || server
                    .ask(&["INFO", "replication"])
                    .is_ok_and(|said| said.contains("master_link_status:up"));
            info.contains("cluster_state:ok") && info.contains("cluster_slots_ok:16384") && linked
        };
        self.servers.iter().all(well)
    }

    pub fn urls(&self) -> Vec<String> {
        self.servers.iter().map(Redis::url).collect()
    }

    /// Position of the master that serves a key.
    pub fn master_of(&self, key: &str) -> Result<usize> {
        let first = self.servers.iter().find(|one| one.is_master()).context("no master")?;
        let slot: u16 = first.ask(&["CLUSTER", "KEYSLOT", key])?.parse()?;
        let ranges = RANGES.iter().position(|(low, high)| (*low..=*high).contains(&slot));
        ranges.context("no such slot")
    }

    pub fn slot(&self, key: &str) -> Result<u16> {
        let first = self.servers.first().context("no server")?;
        Ok(first.ask(&["CLUSTER", "KEYSLOT", key])?.parse()?)
    }

    /// Begins to move a slot; it is answered by ASK until [`Cluster::settle`].
    pub fn migrate(&self, slot: u16, from: usize, to: usize) -> Result<()> {
        let (slot, from, to) = (slot.to_string(), self.server(from)?, self.server(to)?);
        let (from_id, to_id) = (from.ask(&["CLUSTER", "MYID"])?, to.ask(&["CLUSTER", "MYID"])?);
        to.ask(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id])?;
        from.ask(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]).map(drop)
    }

    /// Moves what is left of a slot, and says so to all.
    pub fn settle(&self, slot: u16, from: usize, to: usize) -> Result<()> {
        let (slot, from, to) = (slot.to_string(), self.server(from)?, self.server(to)?);
        let to_id = to.ask(&["CLUSTER", "MYID"])?;
        let keys = from.ask(&["CLUSTER", "GETKEYSINSLOT", &slot, "1000"])?;
        for key in keys.lines().filter(|key| !key.is_empty()) {
            from.ask(&["MIGRATE", "127.0.0.1", &to.port.to_string(), key, "0", "2000"])?;
        }
        for server in [to, from] {
            server.ask(&["CLUSTER", "SETSLOT", &slot, "NODE", &to_id])?;
        }
        Ok(())
    }

    fn server(&self, idx: usize) -> Result<&Redis> {
        self.servers.get(idx).context("no such server")
    }
}
