//! What passes between keeper and gateway: fixed-size messages over a socket pair, a listening
//! socket with each of the first. The other end's death is an end of file.

use std::io::{IoSlice, IoSliceMut};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::signal::SigSet;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg,
    socketpair,
};
use tokio::io::unix::AsyncFd;

use super::{Interface, State};

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

/// Every message: its kind, an index or a count, the length of the text, the text.
const MESSAGE_BYTES: usize = 512;
const TEXT_BYTES: usize = MESSAGE_BYTES - 5;

/// What the keeper tells a gateway that starts.
#[derive(Debug, Default)]
pub struct Start {
    /// Listening sockets by worker.
    pub listeners: Vec<Vec<TcpListener>>,
    /// Why clients are not proved at their handshake.
    pub note: Option<String>,
    pub interfaces: Vec<Interface>,
}

const KIND_LISTENER: u8 = 1;
const KIND_START: u8 = 2;
const KIND_READY: u8 = 3;
/// An interface; its index counts from 0.
const KIND_INTERFACE: u8 = 4;
/// So many were told: they are all.
const KIND_INTERFACES: u8 = 5;
/// Asked of the keeper: the capacities that the file says.
const KIND_RESIZE: u8 = 6;
/// They are in force, or the text says why not.
const KIND_RESIZED: u8 = 7;

/// What the keeper tells a gateway that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    Interfaces(Vec<Interface>),
    /// CLIENTS and BANS are to be opened again; why one of them keeps its capacity.
    Resized(Option<String>),
}

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
    pub fn send_start(
        &self,
        listeners: &[Vec<TcpListener>],
        note: Option<&str>,
        interfaces: &[Interface],
    ) -> Result<(), HandoverError> {
        for (worker, sockets) in listeners.iter().enumerate() {
            for socket in sockets {
                self.send(KIND_LISTENER, worker, "", Some(socket.as_fd()), MsgFlags::empty())?;
            }
        }
        for (idx, interface) in interfaces.iter().enumerate() {
            self.send(KIND_INTERFACE, idx, &line(interface), None, MsgFlags::empty())?;
        }
        self.send(KIND_START, listeners.len(), note.unwrap_or_default(), None, MsgFlags::empty())
    }

    /// Tells a gateway that runs what became of the interfaces. It does not wait for one that does not
    /// read: then the caller tells it later.
    pub fn send_interfaces(&self, interfaces: &[Interface]) -> Result<(), HandoverError> {
        for (idx, interface) in interfaces.iter().enumerate() {
            self.send(KIND_INTERFACE, idx, &line(interface), None, MsgFlags::MSG_DONTWAIT)?;
        }
        self.send(KIND_INTERFACES, interfaces.len(), "", None, MsgFlags::MSG_DONTWAIT)
    }

    pub fn receive_start(&self) -> Result<Start, HandoverError> {
        let mut start = Start::default();
        loop {
            let Message { kind, number, text, fd } = self.receive(MsgFlags::empty())?;
            match (kind, fd) {
                (KIND_LISTENER, Some(fd)) => {
                    if start.listeners.len() <= number {
                        start.listeners.resize_with(number + 1, Vec::new);
                    }
                    let sockets = start.listeners.get_mut(number).ok_or(HandoverError::Message(kind))?;
                    sockets.push(TcpListener::from(fd));
                }
                (KIND_INTERFACE, None) => start.interfaces.extend(interface_of(&text)),
                (KIND_START, None) => {
                    start.listeners.resize_with(number, Vec::new);
                    start.note = (!text.is_empty()).then_some(text);
                    return Ok(start);
                }
                _ => return Err(HandoverError::Message(kind)),
            }
        }
    }

    /// The gateway serves.
    pub fn send_ready(&self) -> Result<(), HandoverError> {
        self.send(KIND_READY, 0, "", None, MsgFlags::empty())
    }

    /// Waits for the gateway to say so.
    pub fn receive_ready(&self) -> Result<(), HandoverError> {
        match self.receive(MsgFlags::empty())? {
            Message { kind: KIND_READY, fd: None, .. } => Ok(()),
            Message { kind, .. } => Err(HandoverError::Message(kind)),
        }
    }

    /// The same end once more, for who asks while another hears.
    pub fn try_clone(&self) -> std::io::Result<Self> {
        Ok(Self { socket: self.socket.try_clone()? })
    }

    /// Asks the keeper for the capacities that the file says; it tells when they are in force.
    pub fn ask_resize(&self) -> Result<(), HandoverError> {
        self.send(KIND_RESIZE, 0, "", None, MsgFlags::MSG_DONTWAIT)
    }

    /// Whether the gateway asked for that. It asks for nothing else.
    pub fn is_asked_to_resize(&self) -> Result<bool, HandoverError> {
        match self.receive(MsgFlags::MSG_DONTWAIT) {
            Ok(Message { kind: KIND_RESIZE, .. }) => Ok(true),
            Ok(Message { kind, .. }) => Err(HandoverError::Message(kind)),
            Err(HandoverError::Socket(Errno::EAGAIN | Errno::EINTR)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// As [`Handover::send_interfaces`], of the maps.
    pub fn send_resized(&self, refused: Option<&str>) -> Result<(), HandoverError> {
        self.send(KIND_RESIZED, 0, refused.unwrap_or_default(), None, MsgFlags::MSG_DONTWAIT)
    }

    /// Hears, in the current runtime, what the keeper tells, until it is gone.
    pub async fn hear(self, mut heard: impl FnMut(Heard)) -> std::io::Result<()> {
        // SAFETY: the descriptor is owned by what is registered and never changes.
        let handover = unsafe { AsyncFd::register(self) }.map_err(std::io::Error::from)?;
        let mut interfaces = Vec::new();
        loop {
            let mut ready = handover.readable().await?;
            let received = handover.get_ref().receive(MsgFlags::MSG_DONTWAIT);
            match received {
                Ok(Message { kind: KIND_INTERFACE, number, text, .. }) => {
                    interfaces.truncate(number);
                    interfaces.extend(interface_of(&text));
                }
                // Fewer arrived than were told: the keeper tells again.
                Ok(Message { kind: KIND_INTERFACES, number, .. }) => {
                    let told = std::mem::take(&mut interfaces);
                    if told.len() == number {
                        heard(Heard::Interfaces(told));
                    }
                }
                Ok(Message { kind: KIND_RESIZED, text, .. }) => {
                    heard(Heard::Resized((!text.is_empty()).then_some(text)));
                }
                Err(HandoverError::Socket(Errno::EAGAIN | Errno::EINTR)) => ready.clear_ready(),
                Err(HandoverError::Gone | HandoverError::Socket(_)) => return Ok(()),
                Ok(Message { kind, .. }) | Err(HandoverError::Message(kind)) => {
                    tracing::warn!(kind, "a message of the keeper's that is not known");
                }
            }
        }
    }

    fn send(
        &self,
        kind: u8,
        number: usize,
        text: &str,
        fd: Option<BorrowedFd<'_>>,
        flags: MsgFlags,
    ) -> Result<(), HandoverError> {
        let mut message = [0; MESSAGE_BYTES];
        let [number_hi, number_lo] = u16::try_from(number).unwrap_or(u16::MAX).to_be_bytes();
        let end = text.floor_char_boundary(TEXT_BYTES);
        let text = text.as_bytes().get(..end).unwrap_or_default();
        let [length_hi, length_lo] = u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes();
        let header = [kind, number_hi, number_lo, length_hi, length_lo];
        for (to, from) in message.iter_mut().zip(header.iter().chain(text)) {
            *to = *from;
        }
        let fds = fd.map(|fd| [fd.as_raw_fd()]);
        let control: Vec<_> = fds.iter().map(|fds| ControlMessage::ScmRights(fds)).collect();
        sendmsg::<()>(
            self.socket.as_raw_fd(),
            &[IoSlice::new(&message)],
            &control,
            MsgFlags::MSG_NOSIGNAL | flags,
            None,
        )?;
        Ok(())
    }

    fn receive(&self, flags: MsgFlags) -> Result<Message, HandoverError> {
        let mut message = [0; MESSAGE_BYTES];
        let mut control = cmsg_space!([RawFd; 1]);
        let mut slices = [IoSliceMut::new(&mut message)];
        let received = recvmsg::<()>(
            self.socket.as_raw_fd(),
            &mut slices,
            Some(&mut control),
            MsgFlags::MSG_CMSG_CLOEXEC | flags,
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
            MESSAGE_BYTES => Ok(Message::read(&message, fd)),
            _ => Err(HandoverError::Message(message.first().copied().unwrap_or_default())),
        }
    }
}

/// A message as it was sent.
struct Message {
    kind: u8,
    number: usize,
    text: String,
    fd: Option<OwnedFd>,
}

impl Message {
    fn read(message: &[u8; MESSAGE_BYTES], fd: Option<OwnedFd>) -> Self {
        let [kind, number_hi, number_lo, length_hi, length_lo, text @ ..] = message;
        let length = usize::from(u16::from_be_bytes([*length_hi, *length_lo]));
        let text = text.get(..length).unwrap_or_default();
        Self {
            kind: *kind,
            number: usize::from(u16::from_be_bytes([*number_hi, *number_lo])),
            text: String::from_utf8_lossy(text).into_owned(),
            fd,
        }
    }
}

/// State, name and reason of an interface; names have no spaces.
fn line(interface: &Interface) -> String {
    let Interface { name, state, why } = interface;
    format!("{state} {name} {}", why.as_deref().unwrap_or_default())
}

fn interface_of(line: &str) -> Option<Interface> {
    let (state, rest) = line.split_once(' ')?;
    let (name, why) = rest.split_once(' ')?;
    let state = State::ALL.into_iter().find(|known| known.name() == state)?;
    Some(Interface { name: name.to_owned(), state, why: (!why.is_empty()).then(|| why.to_owned()) })
}

impl AsRawFd for Handover {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
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
