//! Gateways that share a real Redis, and clients that spread over them.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result};
use weir::model::Limit;
use weir::plane::now_ns;
use weir_ebpf::gcra::Outcome;

use super::Random;
use crate::http::{self, Connection};
use crate::redis::Redis;
use crate::wait::{pass_until, wait_for};
use crate::weir::{Place, Weir};

/// Requests a second, and at once.
pub const RATE: u64 = 60;
pub const BURST: u64 = 60;

/// In this process: so many gateways would starve each other on few cores.
static ALONE: Mutex<()> = Mutex::new(());

/// Nodes of one store.
pub struct Nodes {
    pub weirs: Vec<Weir>,
    /// `[store]`, and what else all have.
    text: String,
    _alone: std::sync::MutexGuard<'static, ()>,
}

impl Nodes {
    /// `n` of them, whose configuration is `text` and a listener each.
    pub fn start(n: usize, text: String) -> Result<Self> {
        let alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut nodes = Self { weirs: Vec::new(), text, _alone: alone };
        for _ in 0..n {
            nodes.join()?;
        }
        nodes.wait_known(n)?;
        Ok(nodes)
    }

    /// As [`Nodes::start`], by a Redis alone.
    pub fn start_by(redis: &Redis, n: usize, rest: &str) -> Result<Self> {
        Self::start(n, format!("[store]\nredis = [\"{}\"]\n{rest}", redis.url()))
    }

    /// Another node.
    pub fn join(&mut self) -> Result<()> {
        let (name, rest) = (format!("n{}", self.weirs.len()), &self.text);
        self.weirs.push(Weir::start(|place: &Place| {
            format!(
                "workers = 1\ntrusted_proxies = [\"127.0.0.1\"]\n[[listener]]\naddress = \"127.0.0.1:{}\"\n\
                 [fleet]\nnode = \"{name}\"\n{rest}",
                place.port
            )
        })?);
        Ok(())
    }

    /// Waits until every node knows of `n`.
    fn wait_known(&self, n: usize) -> Result<()> {
        let knows = |weir: &Weir| weir.metric("weir_fleet_nodes").is_ok_and(|nodes| nodes >= n as u64);
        wait_for("nodes that know each other", http::PATIENCE, || self.weirs.iter().all(knows).then_some(()))
    }

    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.weirs.iter().map(Weir::address).collect()
    }
}

/// A client that a trusted proxy names.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its address.
    pub address: String,
    /// Requests a second over all nodes.
    pub offered: f64,
    /// So many together.
    pub burst: u32,
    /// Most requests go to one node.
    pub sticky: bool,
    pub seconds: f64,
    pub seed: u64,
}

/// What became of one request.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    pub sent_ns: u64,
    pub took_ns: u64,
    pub node: usize,
    pub admitted: bool,
}

/// Sends a client's requests on time, over a connection to each node.
pub fn send(client: &Client, nodes: &[SocketAddr]) -> Result<Vec<Request>> {
    let mut random = Random::new(client.seed);
    let mut connections = nodes.iter().map(|node| Connection::open(*node)).collect::<Result<Vec<_>>>()?;
    let named = format!("X-Forwarded-For: {}\r\n", client.address);
    let (start_ns, gap_s) = (now_ns(), f64::from(client.burst) / client.offered);
    let mut requests = Vec::new();
    for n in 0..(client.seconds / gap_s) as u64 {
        pass_until(start_ns + (n as f64 * gap_s * 1e9) as u64);
        for _ in 0..client.burst {
            let strays = !client.sticky || random.below(10) == 0;
            let node = if strays { random.below(nodes.len() as u64) as usize } else { 0 };
            let connection = connections.get_mut(node).context("no such node")?;
            let sent_ns = now_ns();
            let answer = connection.get("/", &named)?;
            let admitted = answer.status == 200;
            requests.push(Request { sent_ns, took_ns: now_ns() - sent_ns, node, admitted });
        }
    }
    Ok(requests)
}

/// All clients at once; in their order.
pub fn send_all(clients: &[Client], nodes: &[SocketAddr]) -> Result<Vec<Vec<Request>>> {
    std::thread::scope(|scope| {
        let start = |client| scope.spawn(move || send(client, nodes));
        let sending: Vec<_> = clients.iter().map(start).collect();
        sending.into_iter().map(|one| one.join().map_err(|_| anyhow::anyhow!("a client panicked"))?).collect()
    })
}

/// What a run came to, against one exact bucket.
#[derive(Clone, Debug)]
pub struct Outcomes {
    pub offered: u64,
    pub admitted: u64,
    pub ideal: u64,
    /// Most that was admitted beyond burst + rate x time.
    pub peak: f64,
    /// From the bucket's first refusal to the last node's.
    pub all_refuse: Option<Duration>,
    pub p99: Duration,
}

impl Outcomes {
    pub fn of(requests: &[Request], nodes: usize) -> Self {
        let limit = Limit::new(RATE, 1_000_000_000, BURST).unwrap_or(Limit::NONE);
        let mut outcomes = Self {
            offered: requests.len() as u64,
            admitted: 0,
            ideal: 0,
            peak: 0.0,
            all_refuse: None,
            p99: Duration::ZERO,
        };
        let start_ns = requests.first().map_or(0, |request| request.sent_ns);
        let (mut tat_ns, mut ideal_refused_ns, mut refused_ns) = (0, None, vec![None; nodes]);
        for request in requests {
            match limit.decide(tat_ns, request.sent_ns, 1) {
                Outcome::Conforming { tat_ns: next_ns } => {
                    tat_ns = next_ns;
                    outcomes.ideal += 1;
                }
                Outcome::Over { .. } => ideal_refused_ns = ideal_refused_ns.or(Some(request.sent_ns)),
            }
            outcomes.admitted += u64::from(request.admitted);
            let since_s = (request.sent_ns - start_ns) as f64 / 1e9;
            let beyond = outcomes.admitted as f64 - BURST as f64 - RATE as f64 * since_s;
            outcomes.peak = outcomes.peak.max(beyond);
            if let (false, Some(place)) = (request.admitted, refused_ns.get_mut(request.node)) {
                *place = place.or(Some(request.sent_ns));
            }
        }
        let last_ns =
            refused_ns.into_iter().collect::<Option<Vec<_>>>().and_then(|all| all.into_iter().max());
        outcomes.all_refuse = last_ns
            .zip(ideal_refused_ns)
            .map(|(last_ns, ideal_ns)| Duration::from_nanos(last_ns.saturating_sub(ideal_ns)));
        let mut took: Vec<_> = requests.iter().map(|request| request.took_ns).collect();
        took.sort_unstable();
        outcomes.p99 = Duration::from_nanos(took.get(took.len() * 99 / 100).copied().unwrap_or(0));
        outcomes
    }

    /// Admitted, as a multiple of what one bucket admits.
    pub fn of_ideal(&self) -> f64 {
        self.admitted as f64 / self.ideal.max(1) as f64
    }
}
