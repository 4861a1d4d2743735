//! Loads: as fast as answers come, for some seconds; each says how many good answers came.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use weir::plane::now_ns;

use crate::pki::Authority;
use crate::tls::{Client, Offer};
use crate::wait::after;
use crate::websocket;

/// Threads that shake hands or send messages; each waits for its answer.
const THREADS: usize = 16;
/// Requests that share a connection of HTTP/2.
const STREAMS: u32 = 8;

/// Whether a client comes back with the ticket that it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resumes {
    No,
    Yes,
}

/// `status` 429: nearly every answer is a refusal; 200: none is another.
pub fn wrk(url: &str, status: u16, seconds: u32, connections: u32) -> Result<u64> {
    let mut command = Command::new("wrk");
    command.args(["-t1", &format!("-c{connections}"), &format!("-d{seconds}s"), url]);
    let text = output(command)?;
    let number = |label: &str| {
        let line = text.lines().find(|line| line.contains(label))?;
        line.split(' ').find_map(|word| word.parse::<u64>().ok())
    };
    let requests = number(" requests in ").with_context(|| format!("wrk said {text}"))?;
    let others = number("Non-2xx").unwrap_or_else(|| {
        text.lines().find(|line| line.contains("Non-2xx")).and_then(last_number).unwrap_or(0)
    });
    let good = if status == 200 { requests - others } else { others };
    ensure!(requests > 0 && good * 100 >= requests * 99, "other answers than {status}: {text}");
    Ok(requests)
}

/// HTTP/2 by prior knowledge; `message` makes it a call of gRPC with that body.
pub fn h2load(to: SocketAddr, message: Option<&Path>, seconds: u32, connections: u32) -> Result<u64> {
    let mut command = Command::new("h2load");
    let clients = (connections / STREAMS).max(1);
    command.args(["-t1", &format!("-c{clients}"), &format!("-m{STREAMS}"), &format!("-D{seconds}")]);
    if let Some(message) = message {
        command.arg("-d").arg(message).args(["-H", "content-type: application/grpc", "-H", "te: trailers"]);
    }
    command.arg(format!("http://{to}/"));
    let text = output(command)?;
    let line = text.lines().find(|line| line.starts_with("status codes:")).unwrap_or_default();
    let good = line.split(' ').nth(2).and_then(|count| count.parse().ok()).unwrap_or(0);
    ensure!(good > 0 && line.contains(" 0 3xx, 0 4xx, 0 5xx"), "no good answers: {text}");
    Ok(good)
}

/// A connection, its handshake, a request and its answer, again and again.
pub fn handshakes(to: SocketAddr, authority: &Authority, resumes: Resumes, seconds: u32) -> Result<u64> {
    let offer = || Offer { forgets: resumes == Resumes::No, ..Offer::default() };
    // A ticket serves once: each thread comes back with its own.
    together(seconds, || {
        let client = Client::new(authority, &offer());
        let mut is_first = true;
        move || {
            let client = client.as_ref().map_err(|error| anyhow!("{error:#}"))?;
            let mut connection = client.connect(to, "bench.example")?;
            let is_as_asked = connection.is_resumed() == (resumes == Resumes::Yes);
            ensure!(is_as_asked || is_first, "a handshake of the other kind");
            is_first = false;
            ensure!(connection.get("/")?.status == 200, "another answer than 200");
            Ok(())
        }
    })
}

/// A message and its echo, again and again over one tunnel a thread.
pub fn messages(to: SocketAddr, seconds: u32) -> Result<u64> {
    let message = [b'm'; websocket::MESSAGE_BYTES];
    together(seconds, || {
        let mut connection = websocket::Connection::open(to);
        move || connection.as_mut().map_err(|error| anyhow!("{error:#}"))?.echo(&message)
    })
}

/// What `begin` makes is called again and again on each thread; how often it was.
fn together<A: FnMut() -> Result<()>>(seconds: u32, begin: impl Fn() -> A + Sync) -> Result<u64> {
    let end_ns = after(Duration::from_secs(u64::from(seconds)));
    let turns = || {
        let mut act = begin();
        let mut n = 0;
        while now_ns() < end_ns {
            act()?;
            n += 1;
        }
        Ok(n)
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(turns)).collect();
        let joined =
            threads.into_iter().map(|thread| thread.join().map_err(|_| anyhow!("a load panicked"))?);
        joined.sum()
    })
}

fn output(mut command: Command) -> Result<String> {
    let output = command.output().with_context(|| format!("starting {:?}", command.get_program()))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn last_number(line: &str) -> Option<u64> {
    line.rsplit(' ').find_map(|word| word.parse().ok())
}
