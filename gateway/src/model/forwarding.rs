//! How an API's requests reach its upstreams: who is chosen, judged and tried again.

use std::sync::Arc;
use std::time::Duration;

use super::UpstreamTls;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forwarding {
    /// At least one.
    pub upstreams: Vec<Upstream>,
    pub balance: BalanceBy,
    /// So long an address that is new or back grows to its full share; zero: it has it at once.
    pub slow_start: Duration,
    pub eject: Eject,
    pub admit: Admit,
    pub retry: Retry,
    /// None: only answers to requests say how an address is.
    pub check: Option<Check>,
}

/// A backend, plain or over TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// `host:port` as written, the Host that is sent and the pool's name.
    pub authority: Arc<str>,
    /// Path prefix put before the request's path; empty or without trailing '/'.
    pub path: Arc<str>,
    /// At least 1; each address of a name has it whole.
    pub weight: u32,
    /// None: plain.
    pub tls: Option<Arc<UpstreamTls>>,
    pub speaks: Speaks,
}

/// What an upstream is spoken to in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Speaks {
    #[default]
    Http1,
    /// By prior knowledge, or by ALPN over TLS.
    Http2,
}

/// Who is next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum BalanceBy {
    #[default]
    RoundRobin,
    /// Who has the fewest requests in flight for its weight.
    LeastPending,
    /// The same upstream for the same client, as long as it is there.
    ClientHash,
    /// The same upstream for the same value of this header, in lower case; without it as [`Self::ClientHash`].
    HeaderHash(Arc<str>),
}

/// When an address is left out because its answers fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Eject {
    /// Failures in a row; 0: never.
    pub failures: u32,
    /// Answers that count as failures, 500 to 599.
    pub statuses: Vec<u16>,
    /// How long; twice as long each further time, until it has served for that long.
    pub time: Duration,
    /// At most so long.
    pub most: Duration,
    /// Of an API's addresses at once, rounded up, and never all of them.
    pub percent: u32,
}

/// How many requests are let to an address at once, and how many wait for that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admit {
    /// In flight at one address; at least 1.
    pub in_flight: u32,
    /// Requests of the API that wait while all addresses are full.
    pub queue: u32,
    pub wait: Duration,
}

/// What is sent again, to another address: where nothing was sent yet, or the method is idempotent
/// and the answer never began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// After the first attempt.
    pub times: u32,
    /// Retries for each hundred requests.
    pub percent: u32,
    /// Retries that may come at once; what the share adds up to beyond it is lost.
    pub reserve: u32,
}

/// A question that is put to each address, whatever requests it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    pub question: Question,
    /// From one to the next.
    pub every: Duration,
    pub timeout: Duration,
    /// Good ones in a row after which an address that was down is asked again.
    pub up: u32,
    /// Bad ones in a row after which it is not.
    pub down: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Question {
    /// Whether it takes a connection.
    #[default]
    Tcp,
    /// Whether GET of this path is answered with 200 to 399.
    Http(Arc<str>),
    /// Whether `grpc.health.v1` says that this service is SERVING; "" is the server as a whole.
    Grpc(Arc<str>),
}

impl Eject {
    /// How many of so many addresses may be left out at once.
    pub fn most_of(&self, addresses: usize) -> usize {
        let share = (addresses * self.percent as usize).div_ceil(100);
        share.min(addresses.saturating_sub(1))
    }
}

impl Default for Eject {
    fn default() -> Self {
        Self {
            failures: 5,
            statuses: vec![502, 503, 504],
            time: Duration::from_secs(10),
            most: Duration::from_secs(300),
            percent: 50,
        }
    }
}

impl Default for Check {
    fn default() -> Self {
        Self {
            question: Question::default(),
            every: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
            up: 2,
            down: 3,
        }
    }
}

impl Default for Admit {
    fn default() -> Self {
        Self { in_flight: 4_096, queue: 256, wait: Duration::from_secs(1) }
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self { times: 2, percent: 20, reserve: 100 }
    }
}
