//! A worker's idle connections to upstreams, by address. Nothing here is shared between threads.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::Target;
use super::http2::Multiplexed;
use super::target::Open;
use crate::proxy::http1::{HeadBounds, Link, Scratch};

/// Idle connections kept for one address of an API's upstreams by one worker.
const IDLE_MAX: usize = 128;
/// Idle connections kept by one worker; a further one is closed.
pub const IDLE_ALL_MAX: usize = 1_024;
/// How long a connection may be idle; upstreams close theirs after 60 s (nginx) or more.
const IDLE: Duration = Duration::from_secs(50);

/// All of a worker's idle connections.
pub(in crate::proxy) struct Pools {
    /// By the id of the address.
    idle: RefCell<BTreeMap<u64, Vec<Idle>>>,
    n_idle: Cell<usize>,
    pub(super) multiplexed: Multiplexed,
    scratch: Scratch,
    bounds: HeadBounds,
}

/// A connection in use: given back once its answer was read, else closed.
pub(in crate::proxy) struct Connection {
    pools: Rc<Pools>,
    pub open: Open,
    pub link: Box<Link>,
}

/// Boxed: it goes in and out with each exchange, and a pointer moves faster.
struct Idle {
    open: Open,
    link: Box<Link>,
}

impl Pools {
    pub fn new(scratch: Scratch, bounds: HeadBounds) -> Self {
        let (idle, n_idle) = (RefCell::default(), Cell::new(0));
        Self { idle, n_idle, multiplexed: Multiplexed::default(), scratch, bounds }
    }

    /// The connection that was used last and is still open.
    pub fn take(self: &Rc<Self>, target: &Target) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        let kept = idle.get_mut(&target.state.id)?;
        while let Some(Idle { open, mut link }) = kept.pop() {
            self.n_idle.set(self.n_idle.get() - 1);
            if link.is_usable() {
                return Some(Connection { pools: Rc::clone(self), open, link });
            }
        }
        None
    }

    pub async fn connect(self: &Rc<Self>, target: &Target) -> io::Result<Connection> {
        let stream = target.connect().await?;
        let link = Link::new(stream, Scratch::clone(&self.scratch), self.bounds);
        let open = Open::new(&target.state);
        Ok(Connection { pools: Rc::clone(self), open, link: Box::new(link) })
    }

    /// Of an answer's head.
    pub fn header_bytes(&self) -> u32 {
        u32::try_from(self.bounds.bytes).unwrap_or(u32::MAX)
    }

    /// Closes what has been idle for long, and what its upstream closed.
    pub fn sweep(&self) {
        self.multiplexed.sweep(IDLE);
        let mut idle = self.idle.borrow_mut();
        for kept in idle.values_mut() {
            kept.retain_mut(|idle| !idle.link.has_rested(IDLE) && idle.link.is_usable());
        }
        idle.retain(|_, kept| !kept.is_empty());
        self.n_idle.set(idle.values().map(Vec::len).sum());
    }
}

impl Connection {
    pub fn give_back(mut self) {
        let n_idle = &self.pools.n_idle;
        if !self.link.is_usable() || n_idle.get() >= IDLE_ALL_MAX {
            return;
        }
        let mut idle = self.pools.idle.borrow_mut();
        let kept = idle.entry(self.open.id()).or_default();
        if kept.len() < IDLE_MAX {
            self.link.rest();
            kept.push(Idle { open: self.open, link: self.link });
            n_idle.set(n_idle.get() + 1);
        }
    }
}
