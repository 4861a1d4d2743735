//! A worker's idle connections to upstreams, by address. Nothing here is shared between threads.

use std::cell::RefCell;
use std::collections::HashMap;
use std::error::Error as _;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::Target;
use crate::proxy::accept::drive;
use crate::proxy::body::{RequestBody, RequestBodyError};
use crate::proxy::respond::Fault;

/// Idle connections kept for one upstream by one worker.
pub const IDLE_MAX: usize = 128;
/// Upstreams with idle connections; beyond it all are let go (reloads with other upstreams).
const POOLS_MAX: usize = 1_024;

/// All of a worker's idle connections.
pub(in crate::proxy) struct Pools {
    idle: RefCell<HashMap<Arc<str>, Vec<SendRequest<RequestBody>>>>,
    /// Bytes of an answer's head.
    header_bytes: usize,
}

/// A connection in use.
pub(in crate::proxy) struct Connection {
    pool: Arc<str>,
    sender: SendRequest<RequestBody>,
    reused: bool,
}

/// A connection whose answer is still being read: given back at the body's end, else closed.
pub(in crate::proxy) struct Returning {
    pools: Rc<Pools>,
    connection: Connection,
}

/// Why an attempt failed, and what may be tried again.
pub(in crate::proxy) struct Sending {
    pub fault: Fault,
    /// The request, where no byte of it was sent.
    pub unsent: Option<Request<RequestBody>>,
    /// A reused connection that ended before a byte of an answer.
    pub before_answer: bool,
}

impl Sending {
    pub fn fault(fault: Fault) -> Self {
        Self { fault, unsent: None, before_answer: false }
    }
}

impl Pools {
    pub fn new(header_bytes: usize) -> Self {
        Self { idle: RefCell::default(), header_bytes }
    }

    /// The connection that was used last and is still open.
    pub fn take(&self, target: &Target) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        let senders = idle.get_mut(&target.pool)?;
        while let Some(sender) = senders.pop() {
            if !sender.is_closed() {
                return Some(Connection { pool: Arc::clone(&target.pool), sender, reused: true });
            }
        }
        None
    }

    pub async fn connect(&self, target: &Target) -> io::Result<Connection> {
        let stream = TcpStream::connect(target.address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(self.header_bytes)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        drive(connection);
        Ok(Connection { pool: Arc::clone(&target.pool), sender, reused: false })
    }

    fn put(&self, connection: Connection) {
        if connection.sender.is_closed() {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        if idle.len() >= POOLS_MAX && !idle.contains_key(&connection.pool) {
            idle.clear();
        }
        let senders = idle.entry(connection.pool).or_default();
        if senders.len() < IDLE_MAX {
            senders.push(connection.sender);
        }
    }
}

impl Connection {
    pub fn mark_reused(&mut self) {
        self.reused = true;
    }

    pub async fn send(&mut self, request: Request<RequestBody>) -> Result<Response<Incoming>, Sending> {
        if self.sender.ready().await.is_err() {
            return Err(Sending { fault: Fault::Broken, unsent: Some(request), before_answer: false });
        }
        match self.sender.try_send_request(request).await {
            Ok(response) => Ok(response),
            Err(mut failed) => {
                let unsent = failed.take_message();
                let error = failed.into_error();
                let before_answer =
                    self.reused && (error.is_incomplete_message() || error.is_canceled() || is_reset(&error));
                Err(Sending { fault: fault_of(&error), unsent, before_answer })
            }
        }
    }
}

impl Returning {
    pub fn new(pools: &Rc<Pools>, connection: Connection) -> Self {
        Self { pools: Rc::clone(pools), connection }
    }

    pub fn give_back(self) {
        self.pools.put(self.connection);
    }
}

fn fault_of(error: &hyper::Error) -> Fault {
    let by_client = error.source().is_some_and(|source| source.is::<RequestBodyError>());
    if by_client { Fault::RequestBody } else { Fault::Broken }
}

fn is_reset(error: &hyper::Error) -> bool {
    let cause = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    cause.is_some_and(|cause| {
        matches!(cause.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
    })
}
