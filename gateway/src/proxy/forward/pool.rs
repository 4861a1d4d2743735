//! A worker's idle connections to upstreams, by address. Nothing here is shared between threads.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;

use super::Target;
use crate::proxy::http1::{HeadBounds, Link, Scratch};
use crate::proxy::stream::Stream;

/// Idle connections kept for one upstream by one worker.
pub const IDLE_MAX: usize = 128;
/// Upstreams with idle connections; beyond it all are let go (reloads with other upstreams).
const POOLS_MAX: usize = 1_024;
/// How long a connection may be idle; upstreams close theirs after 60 s (nginx) or more.
const IDLE: Duration = Duration::from_secs(50);

/// All of a worker's idle connections.
pub(in crate::proxy) struct Pools {
    #[expect(clippy::vec_box, reason = "a link goes in and out with each exchange: a pointer moves faster")]
    idle: RefCell<HashMap<Arc<str>, Vec<Box<Link>>>>,
    scratch: Scratch,
    bounds: HeadBounds,
}

/// A connection in use: given back once its answer was read, else closed.
pub(in crate::proxy) struct Connection {
    pools: Rc<Pools>,
    pool: Arc<str>,
    pub link: Box<Link>,
}

impl Pools {
    pub fn new(scratch: Scratch, bounds: HeadBounds) -> Self {
        Self { idle: RefCell::default(), scratch, bounds }
    }

    /// The connection that was used last and is still open.
    pub fn take(self: &Rc<Self>, target: &Target) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        let links = idle.get_mut(&target.pool)?;
        while let Some(mut link) = links.pop() {
            if link.is_usable() {
                return Some(self.connection(target, link));
            }
        }
        None
    }

    pub async fn connect(self: &Rc<Self>, target: &Target) -> io::Result<Connection> {
        let stream = TcpStream::connect(target.address).await?;
        stream.set_nodelay(true)?;
        let link = Link::new(Stream::Plain(stream), Scratch::clone(&self.scratch), self.bounds);
        Ok(self.connection(target, Box::new(link)))
    }

    fn connection(self: &Rc<Self>, target: &Target, link: Box<Link>) -> Connection {
        Connection { pools: Rc::clone(self), pool: Arc::clone(&target.pool), link }
    }

    /// Closes what has been idle for long, and what its upstream closed.
    pub fn sweep(&self) {
        let mut idle = self.idle.borrow_mut();
        for links in idle.values_mut() {
            links.retain_mut(|link| !link.has_rested(IDLE) && link.is_usable());
        }
        idle.retain(|_, links| !links.is_empty());
    }
}

impl Connection {
    pub fn give_back(mut self) {
        if !self.link.is_usable() {
            return;
        }
        let mut idle = self.pools.idle.borrow_mut();
        if idle.len() >= POOLS_MAX && !idle.contains_key(&self.pool) {
            idle.clear();
        }
        let links = idle.entry(self.pool).or_default();
        if links.len() < IDLE_MAX {
            self.link.rest();
            links.push(self.link);
        }
    }
}
