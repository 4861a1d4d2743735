//! Opens the listening sockets: one a worker and address, sharing the port (SO_REUSEPORT), so that
//! each core accepts its own clients. They outlive the gateway: while it restarts, clients queue.

mod kept;

use std::net::{SocketAddr, TcpListener};

pub use kept::{Manager, ManagerSaid};
use socket2::{Domain, Protocol, Socket, Type};

/// Connections that may wait for accept; the kernel cuts it to net.core.somaxconn.
const BACKLOG: i32 = 4_096;

/// How long a port in use is tried again, and how often.
const PREDECESSOR_MS: u64 = 2_000;
const STEP_MS: u64 = 50;

#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("{address} is in use: stop who listens there (`ss -ltnp`), or change [[listener]] address")]
    InUse { address: SocketAddr },
    #[error("{address} may not be bound without root or CAP_NET_BIND_SERVICE")]
    Permission { address: SocketAddr },
    #[error("cannot listen on {address}: {source}")]
    Other { address: SocketAddr, source: std::io::Error },
}

/// Sockets by worker, and the addresses with the ports they really have. What a service manager kept is
/// taken over, with the clients that wait there, and it keeps what is opened here.
pub fn open_listeners(
    addresses: &[SocketAddr],
    workers: usize,
    manager: &mut Manager,
) -> Result<(Vec<Vec<TcpListener>>, Vec<SocketAddr>), ListenError> {
    let mut by_worker: Vec<Vec<TcpListener>> = (0..workers).map(|_| Vec::new()).collect();
    let mut bound = Vec::new();
    for wanted in addresses {
        let kept = manager.take(*wanted);
        if !kept.is_empty() {
            share(kept, &mut by_worker).map_err(|source| refused(*wanted, source))?;
            bound.push(*wanted);
            continue;
        }
        probe(*wanted)?;
        let mut address = *wanted;
        for sockets in &mut by_worker {
            let socket = open(address).map_err(|source| refused(address, source))?;
            address = socket.local_addr().map_err(|source| refused(address, source))?;
            manager.keep(&socket, address);
            sockets.push(socket);
        }
        bound.push(address);
    }
    manager.forget_the_rest();
    Ok((by_worker, bound))
}

/// Every socket has a worker, whatever their numbers: the kernel gives clients to each. Where there are
/// fewer sockets than workers several accept from one.
fn share(kept: Vec<TcpListener>, by_worker: &mut [Vec<TcpListener>]) -> std::io::Result<()> {
    let more = by_worker.len().saturating_sub(kept.len());
    let again: Vec<_> = kept.iter().cycle().take(more).map(TcpListener::try_clone).collect();
    let all = kept.into_iter().map(Ok).chain(again);
    let n_workers = by_worker.len().max(1);
    for (number, socket) in all.enumerate() {
        if let Some(sockets) = by_worker.get_mut(number % n_workers) {
            sockets.push(socket?);
        }
    }
    Ok(())
}

/// SO_REUSEPORT would let us share a port with a stranger of our own user: a bind without it finds
/// out. A predecessor whose keeper died closes its sockets within [`PREDECESSOR_MS`].
fn probe(address: SocketAddr) -> Result<(), ListenError> {
    if address.port() == 0 {
        return Ok(());
    }
    for _ in 0..PREDECESSOR_MS / STEP_MS {
        match try_alone(address) {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => rest(STEP_MS),
            tried => return tried.map_err(|source| refused(address, source)),
        }
    }
    try_alone(address).map_err(|source| refused(address, source))
}

fn try_alone(address: SocketAddr) -> std::io::Result<()> {
    let socket = socket(address)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())
}

#[expect(clippy::disallowed_methods, reason = "nothing tells when another process closes its socket")]
fn rest(ms: u64) {
    std::thread::sleep(std::time::Duration::from_millis(ms));
}

fn open(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = socket(address)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// `[::]` is IPv6 only, so that `0.0.0.0` may stand beside it.
fn socket(address: SocketAddr) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

fn refused(address: SocketAddr, source: std::io::Error) -> ListenError {
    match source.kind() {
        std::io::ErrorKind::AddrInUse => ListenError::InUse { address },
        std::io::ErrorKind::PermissionDenied => ListenError::Permission { address },
        _ => ListenError::Other { address, source },
    }
}
