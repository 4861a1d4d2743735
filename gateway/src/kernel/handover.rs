//! What passes between keeper and gateway: fixed-size messages over a socket pair, a listening
//! socket with each of the first. The other end's death is an end of file.

use std::io::{IoSlice, IoSliceMut};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::signal::SigSet;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg,
    socketpair,
};
use tokio::io::unix::AsyncFd;

/// One end of the pair.
#[derive(Debug)]
pub struct Handover {
    socket: OwnedFd,
}

#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    #[error("the other process is gone")]
    Gone,
    #[error("the keeper's socket failed: {0}")]
    Socket(#[from] Errno),
    #[error("a message of unknown kind {0}")]
    Message(u8),
}

/// Every message: its kind, a worker's index, the length of the text, the text.
const MESSAGE_BYTES: usize = 256;
const TEXT_BYTES: usize = MESSAGE_BYTES - 4;

/// What the keeper tells a gateway that starts.
#[derive(Debug, Default)]
pub struct Start {
    /// Listening sockets by worker.
    pub listeners: Vec<Vec<TcpListener>>,
    /// Why the kernel plane is not native everywhere.
    pub why: Option<String>,
}

const KIND_LISTENER: u8 = 1;
const KIND_START: u8 = 2;
const KIND_READY: u8 = 3;

impl Handover {
    /// The keeper's end and the gateway's.
    pub fn pair() -> Result<(Self, Self), HandoverError> {
        let (keeper, gateway) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        Ok((Self { socket: keeper }, Self { socket: gateway }))
    }

    /// The gateway's end, which the keeper put in the place of standard input. Takes back the blocked
    /// signals too: the keeper reads its own from a descriptor, and a child inherits the mask.
    pub fn inherited() -> std::io::Result<Self> {
        SigSet::all().thread_unblock()?;
        Ok(Self { socket: std::io::stdin().as_fd().try_clone_to_owned()? })
    }

    pub fn into_fd(self) -> OwnedFd {
        self.socket
    }

    /// Hands every socket over, then lets the gateway start.
    pub fn send_start(&self, listeners: &[Vec<TcpListener>], why: Option<&str>) -> Result<(), HandoverError> {
        for (worker, sockets) in listeners.iter().enumerate() {
            for socket in sockets {
                self.send(KIND_LISTENER, worker, "", Some(socket.as_fd()))?;
            }
        }
        self.send(KIND_START, listeners.len(), why.unwrap_or_default(), None)
    }

    pub fn receive_start(&self) -> Result<Start, HandoverError> {
        let mut start = Start::default();
        loop {
            let (message, fd) = self.receive()?;
            let [kind, worker_hi, worker_lo, length, text @ ..] = message;
            let worker = usize::from(u16::from_be_bytes([worker_hi, worker_lo]));
            match (kind, fd) {
                (KIND_LISTENER, Some(fd)) => {
                    if start.listeners.len() <= worker {
                        start.listeners.resize_with(worker + 1, Vec::new);
                    }
                    let sockets = start.listeners.get_mut(worker).ok_or(HandoverError::Message(kind))?;
                    sockets.push(TcpListener::from(fd));
                }
                (KIND_START, None) => {
                    start.listeners.resize_with(worker, Vec::new);
                    let text = text.get(..usize::from(length)).unwrap_or_default();
                    let why = String::from_utf8_lossy(text).into_owned();
                    start.why = (!why.is_empty()).then_some(why);
                    return Ok(start);
                }
                _ => return Err(HandoverError::Message(kind)),
            }
        }
    }

    /// The gateway serves.
    pub fn send_ready(&self) -> Result<(), HandoverError> {
        self.send(KIND_READY, 0, "", None)
    }

    /// Waits for the gateway to say so.
    pub fn receive_ready(&self) -> Result<(), HandoverError> {
        match self.receive()? {
            ([KIND_READY, ..], None) => Ok(()),
            ([kind, ..], _) => Err(HandoverError::Message(kind)),
        }
    }

    /// Waits, in the current runtime, until the other process is gone: after the start it sends nothing.
    pub async fn gone(self) -> std::io::Result<()> {
        // SAFETY: the descriptor is owned by what is registered and never changes.
        let socket = unsafe { AsyncFd::register(self.socket) }.map_err(std::io::Error::from)?;
        socket.readable().await.map(drop)
    }

    fn send(
        &self,
        kind: u8,
        worker: usize,
        text: &str,
        fd: Option<BorrowedFd<'_>>,
    ) -> Result<(), HandoverError> {
        let mut message = [0; MESSAGE_BYTES];
        let [worker_hi, worker_lo] = u16::try_from(worker).unwrap_or(u16::MAX).to_be_bytes();
        let end = text.floor_char_boundary(TEXT_BYTES);
        let text = text.as_bytes().get(..end).unwrap_or_default();
        let header = [kind, worker_hi, worker_lo, u8::try_from(text.len()).unwrap_or(u8::MAX)];
        for (to, from) in message.iter_mut().zip(header.iter().chain(text)) {
            *to = *from;
        }
        let fds = fd.map(|fd| [fd.as_raw_fd()]);
        let control: Vec<_> = fds.iter().map(|fds| ControlMessage::ScmRights(fds)).collect();
        sendmsg::<()>(
            self.socket.as_raw_fd(),
            &[IoSlice::new(&message)],
            &control,
            MsgFlags::MSG_NOSIGNAL,
            None,
        )?;
        Ok(())
    }

    fn receive(&self) -> Result<([u8; MESSAGE_BYTES], Option<OwnedFd>), HandoverError> {
        let mut message = [0; MESSAGE_BYTES];
        let mut control = cmsg_space!([std::os::fd::RawFd; 1]);
        let mut slices = [IoSliceMut::new(&mut message)];
        let received = recvmsg::<()>(
            self.socket.as_raw_fd(),
            &mut slices,
            Some(&mut control),
            MsgFlags::MSG_CMSG_CLOEXEC,
        )?;
        let bytes = received.bytes;
        let mut fd = None;
        for part in received.cmsgs()? {
            if let ControlMessageOwned::ScmRights(fds) = part {
                for raw in fds {
                    // SAFETY: the kernel just made this descriptor for us; nobody else owns it.
                    fd = Some(unsafe { OwnedFd::from_raw_fd(raw) });
                }
            }
        }
        match bytes {
            0 => Err(HandoverError::Gone),
            MESSAGE_BYTES => Ok((message, fd)),
            _ => Err(HandoverError::Message(message.first().copied().unwrap_or_default())),
        }
    }
}

impl AsFd for Handover {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Addresses that the sockets of the first worker listen on.
pub fn addresses(listeners: &[Vec<TcpListener>]) -> Vec<SocketAddr> {
    listeners.first().into_iter().flatten().filter_map(|socket| socket.local_addr().ok()).collect()
}
