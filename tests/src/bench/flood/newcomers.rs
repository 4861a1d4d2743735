//! Addresses that the server never saw before: a connection and a request each, at a steady rate; what
//! counts is the time from wanting to connect to the first answer.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use weir::plane::now_ns;

use super::people::fresh;
use super::steady::{IN_TIME_NS, Kept, Span};
use crate::bench::Family;
use crate::http::Connection;
use crate::wait::pass_until;

pub const PER_SECOND: u64 = 50;
const PATIENCE: Duration = Duration::from_secs(1);

/// Sends newcomers over the span; waits for the last one's answer or its patience.
pub fn come(server: SocketAddr, family: Family, span: Span) -> Kept {
    let mut sum = Kept::default();
    std::thread::scope(|scope| {
        let mut coming = Vec::new();
        for due_ns in (span.begin_ns..span.end_ns).step_by(1_000_000_000 / PER_SECOND as usize) {
            pass_until(due_ns);
            let source = fresh(family);
            coming.push(scope.spawn(move || first_answer(source, server, due_ns)));
        }
        for one in coming {
            sum.due += 1;
            let Ok(took_ns) = one.join() else { continue };
            sum.latency.add(took_ns.unwrap_or(u64::MAX));
            sum.answered += u64::from(took_ns.is_some());
            sum.in_time += u64::from(took_ns.is_some_and(|took_ns| took_ns <= IN_TIME_NS));
        }
    });
    sum
}

fn first_answer(source: IpAddr, server: SocketAddr, due_ns: u64) -> Option<u64> {
    let mut connection = Connection::open_from_within(source, server, PATIENCE).ok()?;
    let answer = connection.get("/", "Connection: close\r\n").ok()?;
    (answer.status == 200).then(|| now_ns() - due_ns)
}
