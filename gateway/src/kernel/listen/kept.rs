//! Listening sockets that a service manager keeps for us: it passes them to each start (sd_listen_fds(3)),
//! and keeps those that we opened ourselves (FDSTORE of sd_notify(3)). Who waits in their queues while one
//! Weir ends and the next begins is served by the next.

use std::io::IoSlice;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixDatagram};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use socket2::{SockRef, Type};

use super::BACKLOG;

/// What a service manager says in the environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ManagerSaid {
    /// LISTEN_PID: whom the sockets are for.
    pub listen_pid: Option<String>,
    /// LISTEN_FDS: how many, from descriptor 3 on.
    pub listen_fds: Option<String>,
    /// LISTEN_FDNAMES, with ':' between them.
    pub listen_fdnames: Option<String>,
    /// NOTIFY_SOCKET: where it can be told things.
    pub notify_socket: Option<String>,
}

/// More are not looked at.
const FDS_MAX: RawFd = 4_096;
const FIRST_FD: RawFd = 3;
/// In front of the names of what we have kept; the manager's own have others.
const OURS: &str = "weir-";

/// A socket that came with the start.
struct Kept {
    socket: TcpListener,
    address: SocketAddr,
    name: String,
}

/// What is kept, and who keeps.
pub struct Manager {
    kept: Vec<Kept>,
    notify: Option<UnixDatagram>,
}

impl Manager {
    /// Takes what was passed to this process. Once, and before it opens anything.
    pub fn of(said: &ManagerSaid) -> Self {
        let notify = said.notify_socket.as_deref().and_then(|path| match connect(path) {
            Ok(notify) => Some(notify),
            Err(error) => {
                tracing::warn!(path, %error, "the service manager cannot be told of the listeners");
                None
            }
        });
        Self { kept: passed(said), notify }
    }

    /// The sockets of an address, ready to accept.
    pub(super) fn take(&mut self, address: SocketAddr) -> Vec<TcpListener> {
        let (taken, rest) =
            std::mem::take(&mut self.kept).into_iter().partition(|kept| kept.address == address);
        self.kept = rest;
        taken.into_iter().map(|kept: Kept| kept.socket).collect()
    }

    /// Has a socket kept that we opened.
    pub(super) fn keep(&self, socket: &TcpListener, address: SocketAddr) {
        let state = format!("FDSTORE=1\nFDNAME={}", name_of(address));
        self.tell(&state, Some(socket.as_fd()));
    }

    /// Nobody listens to what is left: connections to it would wait for ever.
    pub(super) fn forget_the_rest(&mut self) {
        for Kept { address, name, .. } in self.kept.drain(..) {
            tracing::warn!(%address, name, "a socket was kept for this start, and no [[listener]] is there");
            if name.starts_with(OURS) {
                tell(self.notify.as_ref(), &format!("FDSTOREREMOVE=1\nFDNAME={name}"), None);
            }
        }
    }

    fn tell(&self, state: &str, fd: Option<BorrowedFd<'_>>) {
        tell(self.notify.as_ref(), state, fd);
    }
}

fn tell(notify: Option<&UnixDatagram>, state: &str, fd: Option<BorrowedFd<'_>>) {
    let Some(notify) = notify else { return };
    let fds: Vec<RawFd> = fd.iter().map(BorrowedFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&fds)];
    let rights = if fds.is_empty() { &rights[..0] } else { &rights[..] };
    let sent = sendmsg::<()>(
        notify.as_raw_fd(),
        &[IoSlice::new(state.as_bytes())],
        rights,
        MsgFlags::MSG_NOSIGNAL,
        None,
    );
    if let Err(error) = sent {
        tracing::warn!(%error, state, "the service manager was not told");
    }
}

/// A path, or a name of the abstract space behind '@'.
fn connect(path: &str) -> std::io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    match path.strip_prefix('@') {
        Some(name) => socket.connect_addr(&UnixAddr::from_abstract_name(name)?)?,
        None => socket.connect(path)?,
    }
    Ok(socket)
}

/// No ':' may stand in one.
fn name_of(address: SocketAddr) -> String {
    format!("{OURS}{address}").replace(':', "_")
}

fn passed(said: &ManagerSaid) -> Vec<Kept> {
    let is_for_us = said.listen_pid.as_deref().and_then(|pid| pid.parse().ok()) == Some(std::process::id());
    let count = said.listen_fds.as_deref().and_then(|count| count.parse::<RawFd>().ok());
    let Some(count) = count.filter(|_| is_for_us) else { return Vec::new() };
    let names = said.listen_fdnames.as_deref().unwrap_or_default();
    let names = names.split(':').map(str::to_owned).chain(std::iter::repeat(String::new()));
    let fds = FIRST_FD..FIRST_FD.saturating_add(count.clamp(0, FDS_MAX));
    fds.zip(names).filter_map(|(fd, name)| kept(fd, name)).collect()
}

/// None: no TCP socket that listens.
fn kept(fd: RawFd, name: String) -> Option<Kept> {
    // SAFETY: borrowed for one call, which says whether the descriptor is open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).ok()?;
    // SAFETY: open, as was just seen; the service manager passed it to this process (LISTEN_PID), which
    // takes it here, once, before it opened anything itself.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let socket = SockRef::from(&fd);
    let listens =
        socket.r#type().is_ok_and(|kind| kind == Type::STREAM) && socket.is_listener().unwrap_or_default();
    let address = socket.local_addr().ok().and_then(|address| address.as_socket()).filter(|_| listens);
    let Some(address) = address else {
        tracing::warn!(fd = fd.as_raw_fd(), name, "what was passed to this start is no TCP listener");
        return None;
    };
    // The manager's own backlog may be short.
    let ready = socket.set_nonblocking(true).and_then(|()| socket.listen(BACKLOG));
    if let Err(error) = ready {
        tracing::warn!(%address, %error, "a socket that was kept cannot be used");
        return None;
    }
    Some(Kept { socket: TcpListener::from(fd), address, name })
}
