//! Asks upstreams how they are, on the control side's runtime and over connections of its own; what a
//! worker sees of it is one atomic of the target.

mod grpc;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::target::Target;
use crate::model::{Check, Question};
use crate::plane::now_ns;
use crate::proxy::{Shared, Snapshot};

/// Checks under way; further ones wait for their turn.
const CHECKS_MAX: usize = 256;
/// How soon a reload is noticed where no check is due before.
const LOOK: Duration = Duration::from_secs(1);
/// Bytes of an answer in which its status stands.
const STATUS_BYTES: usize = 1_024;

/// When each target's next check is due, by its id.
type Due = HashMap<u64, u64>;

/// Checks the upstreams of every API that says so, for as long as this runs.
pub async fn check_upstreams(shared: Arc<Shared>) {
    let (mut due, mut running) = (Due::new(), JoinSet::new());
    loop {
        let wait = start_due(&shared.snapshot.load(), &mut due, &mut running);
        tokio::select! {
            () = sleep(wait) => {}
            Some(_) = running.join_next() => {}
        }
    }
}

/// Starts what is due; how long nothing more is.
fn start_due(snapshot: &Snapshot, due: &mut Due, running: &mut JoinSet<()>) -> Duration {
    let now_ns = now_ns();
    let (mut known, mut next_ns) = (Due::new(), now_ns.saturating_add(nanoseconds(LOOK)));
    for balance in snapshot.balances() {
        for target in balance.targets() {
            let Some(check) = &balance.forwarding.check else {
                target.state.health.unchecked();
                continue;
            };
            let mut at_ns = due.get(&target.state.id).copied().unwrap_or(now_ns);
            if at_ns <= now_ns && running.len() < CHECKS_MAX {
                // Not before the last one is over, and that is by then.
                at_ns = now_ns.saturating_add(nanoseconds(check.every.max(check.timeout)));
                running.spawn(ask(Arc::clone(&target), check.clone(), Arc::clone(balance.api())));
            }
            next_ns = next_ns.min(at_ns);
            known.insert(target.state.id, at_ns);
        }
    }
    *due = known;
    Duration::from_nanos(next_ns.saturating_sub(now_ns)).max(Duration::from_millis(1))
}

async fn ask(target: Arc<Target>, check: Check, api: Arc<str>) {
    let found = match timeout(check.timeout, answer(&target, &check.question)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(format!("check: {error}")),
        Err(_) => Err("check: no answer in time".to_owned()),
    };
    if !target.state.health.checked(&check, &found, now_ns()) {
        return;
    }
    match found {
        Ok(()) => tracing::info!(%api, upstream = %target.name, "upstream is up"),
        Err(why) => tracing::warn!(%api, upstream = %target.name, why, "upstream is down"),
    }
}

async fn answer(target: &Target, question: &Question) -> io::Result<()> {
    let path = match question {
        Question::Tcp => return TcpStream::connect(target.address).await.map(drop),
        Question::Grpc(service) => return grpc::serves(target, service).await,
        Question::Http(path) => path,
    };
    let mut stream = target.connect().await?;
    let mut request = format!("GET {path} HTTP/1.1\r\nHost: ").into_bytes();
    request.extend_from_slice(target.host.as_bytes());
    request.extend_from_slice(b"\r\nUser-Agent: weir-check\r\nConnection: close\r\n\r\n");
    stream.write_all(&request).await?;
    stream.flush().await?;
    let mut head = Vec::with_capacity(STATUS_BYTES);
    let mut stream = stream.take(STATUS_BYTES as u64);
    while !head.contains(&b'\n') && stream.read_buf(&mut head).await? > 0 {}
    match status(&head) {
        Some(200..=399) => Ok(()),
        Some(status) => Err(io::Error::other(format!("answered {status}"))),
        None => Err(io::Error::other("the answer is no HTTP")),
    }
}

/// Of `HTTP/1.1 200 OK`.
fn status(head: &[u8]) -> Option<u16> {
    let line = head.split(|byte| *byte == b'\n').next()?;
    let mut words = line.split(|byte| *byte == b' ');
    let version = words.next()?;
    let status = std::str::from_utf8(words.next()?.trim_ascii_end()).ok()?;
    version.starts_with(b"HTTP/1.").then(|| status.parse().ok()).flatten()
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
