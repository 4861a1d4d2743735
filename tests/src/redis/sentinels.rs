//! A master with replicas, watched by Sentinels.

use std::time::Duration;

use anyhow::{Context, Result};

use super::Redis;
use crate::wait::wait_for;

const REPLICAS: usize = 2;
const SENTINELS: usize = 3;
/// To a quorum that knows all.
const MEET: Duration = Duration::from_secs(20);

/// One master, two replicas, three Sentinels; a dead master is noticed after half a second.
pub struct Watched {
    pub servers: Vec<Redis>,
    pub sentinels: Vec<Redis>,
}

impl Watched {
    pub const NAME: &str = "mymaster";

    pub fn start() -> Result<Self> {
        let master = Redis::start()?;
        let port = master.port.to_string();
        let mut servers = vec![master];
        for _ in 0..REPLICAS {
            let replica = Redis::prepared(&["--save", "", "--replicaof", "127.0.0.1", &port])?;
            servers.push(started(replica)?);
        }
        let linked = || {
            let replicas = servers.iter().skip(1);
            replicas
                .clone()
                .all(|one| {
                    one.ask(&["INFO", "replication"]).is_ok_and(|said| said.contains("master_link_status:up"))
                })
                .then_some(())
        };
        wait_for("replicas follow", MEET, linked)?;
        let mut sentinels = Vec::new();
        for _ in 0..SENTINELS {
            let sentinel = Redis::prepared(&["--sentinel"])?;
            let file = sentinel.folder().join("sentinel.conf");
            let name = Self::NAME;
            std::fs::write(
                &file,
                format!(
                    "sentinel monitor {name} 127.0.0.1 {port} 2\nsentinel down-after-milliseconds {name} 500\nsentinel failover-timeout {name} 3000\nsentinel parallel-syncs {name} 2\n"
                ),
            )?;
            sentinels.push(started(sentinel)?);
        }
        let watched = Self { servers, sentinels };
        wait_for("the Sentinels know all", MEET, || watched.know_all().then_some(()))?;
        Ok(watched)
    }

    fn know_all(&self) -> bool {
        let knows = |sentinel: &Redis| {
            let said = sentinel.ask(&["SENTINEL", "CKQUORUM", Self::NAME]);
            let master = sentinel.ask(&["SENTINEL", "MASTER", Self::NAME]).unwrap_or_default();
            let replicas = master.split_whitespace().skip_while(|word| *word != "num-slaves").nth(1);
            let others = master.split_whitespace().skip_while(|word| *word != "num-other-sentinels").nth(1);
            said.is_ok_and(|said| said.starts_with("OK")) && replicas == Some("2") && others == Some("2")
        };
        self.sentinels.iter().all(knows)
    }

    /// `"redis://..", ..`: the Sentinels, as `[store] redis` has them.
    pub fn urls(&self) -> Vec<String> {
        self.sentinels.iter().map(Redis::url).collect()
    }

    /// Position of the master that the servers themselves agree on.
    pub fn master(&self) -> Result<usize> {
        let masters: Vec<_> =
            self.servers.iter().enumerate().filter(|(_, one)| one.is_master()).map(|(idx, _)| idx).collect();
        match masters.as_slice() {
            [one] => Ok(*one),
            other => anyhow::bail!("masters: {other:?}"),
        }
    }

    pub fn fail_over(&self) -> Result<()> {
        let sentinel = self.sentinels.first().context("no Sentinel")?;
        sentinel.ask(&["SENTINEL", "FAILOVER", Self::NAME]).map(drop)
    }

    /// Waits until another than `old` is a master.
    pub fn wait_promotion(&self, old: usize, deadline: Duration) -> Result<usize> {
        wait_for("a promotion", deadline, || {
            let mut others = self.servers.iter().enumerate().filter(|(idx, _)| *idx != old);
            others.find(|(_, one)| one.is_master()).map(|(idx, _)| idx)
        })
    }
}

fn started(mut redis: Redis) -> Result<Redis> {
    redis.start_again()?;
    Ok(redis)
}
