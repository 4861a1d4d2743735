//! The good clients: a kept-alive connection each, that ask at a steady rate whatever becomes of the
//! answers. Latency counts from the moment that a request was due, so one that could not even be sent
//! because the answer before it was late is as late as it is.

use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use anyhow::{Context, Result};
use weir::plane::now_ns;

use crate::http::Connection;
use crate::load::Histogram;
use crate::wait::{pass_until, wait_for};

/// An answer later than this is too late for a person.
pub const IN_TIME_NS: u64 = 100_000_000;
/// How long after the span a request of the span may still be answered; later counts as never.
pub const GRACE_NS: u64 = 200_000_000;
const PATIENCE: Duration = Duration::from_secs(2);
/// The server may still be busy with the flood before.
const CONNECTING: Duration = Duration::from_secs(8);

/// When requests are due.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub begin_ns: u64,
    pub end_ns: u64,
}

/// Connections that have been answered once each.
pub struct Steady {
    connections: Vec<(IpAddr, Connection)>,
    server: SocketAddr,
}

/// What became of the requests of a span.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    pub due: u64,
    pub in_time: u64,
    /// Answered at all, before the grace ended.
    pub answered: u64,
    /// Connections that broke.
    pub broken: u64,
    pub latency: Histogram,
}

impl Steady {
    pub fn connect(server: SocketAddr, sources: &[IpAddr]) -> Result<Self> {
        let connect = |source: &IpAddr| {
            let connection = wait_for(format!("an answer for {source}"), CONNECTING, || {
                let mut connection = Connection::open_from_within(*source, server, PATIENCE).ok()?;
                (connection.get("/", "").ok()?.status == 200).then_some(connection)
            });
            Ok((*source, connection?))
        };
        Ok(Self { connections: sources.iter().map(connect).collect::<Result<_>>()?, server })
    }

    /// Asks `per_second` times a second, all connections together.
    pub fn ask(self, span: Span, per_second: u32) -> Kept {
        let n = self.connections.len().max(1) as u64;
        let turn_ns = n * 1_000_000_000 / u64::from(per_second.max(1));
        let sum = Mutex::new(Kept::default());
        std::thread::scope(|scope| {
            for (number, (source, connection)) in (0..).zip(self.connections) {
                let one = One { source, server: self.server, connection: Some(connection) };
                let first_ns = span.begin_ns + turn_ns * number / n;
                let sum = &sum;
                scope.spawn(move || {
                    let kept = one.ask(Span { begin_ns: first_ns, ..span }, turn_ns);
                    sum.lock().unwrap_or_else(PoisonError::into_inner).add(&kept);
                });
            }
        });
        sum.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

struct One {
    source: IpAddr,
    server: SocketAddr,
    connection: Option<Connection>,
}

impl One {
    fn ask(mut self, span: Span, turn_ns: u64) -> Kept {
        let mut kept = Kept::default();
        let last_ns = span.end_ns + GRACE_NS;
        for due_ns in (span.begin_ns..span.end_ns).step_by(usize::try_from(turn_ns).unwrap_or(usize::MAX)) {
            kept.due += 1;
            pass_until(due_ns);
            let answered = now_ns() < last_ns && self.exchange(&mut kept).is_ok();
            let done_ns = now_ns();
            if answered && done_ns < last_ns {
                kept.answered += 1;
                kept.in_time += u64::from(done_ns - due_ns <= IN_TIME_NS);
                kept.latency.add(done_ns - due_ns);
            } else {
                kept.latency.add(done_ns.max(last_ns) - due_ns);
            }
        }
        kept
    }

    fn exchange(&mut self, kept: &mut Kept) -> Result<()> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open_from_within(self.source, self.server, PATIENCE)?,
        };
        let answer = connection.get("/", "").inspect_err(|_| kept.broken += 1)?;
        (answer.status == 200).then_some(()).with_context(|| format!("status {}", answer.status))?;
        self.connection = Some(connection);
        Ok(())
    }
}

impl Kept {
    pub fn add(&mut self, other: &Self) {
        self.due += other.due;
        self.in_time += other.in_time;
        self.answered += other.answered;
        self.broken += other.broken;
        self.latency.merge(&other.latency);
    }
}
