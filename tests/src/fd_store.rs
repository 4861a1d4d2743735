//! A service manager's part in keeping listeners: it passes sockets to each start (LISTEN_FDS) and keeps
//! those that it is given (FDSTORE over NOTIFY_SOCKET).

use std::io::IoSliceMut;
use std::net::TcpListener;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

use crate::weir::{Place, binary};

/// Keeps sockets while instances come and go.
pub struct Manager {
    notify: UnixDatagram,
    path: PathBuf,
    kept: Vec<(String, OwnedFd)>,
}

impl Manager {
    pub fn new(place: &Place) -> Result<Self> {
        let path = place.folder().join("notify.sock");
        let notify = UnixDatagram::bind(&path)?;
        notify.set_nonblocking(true)?;
        Ok(Self { notify, path, kept: Vec::new() })
    }

    /// As a unit of sockets does it: opened here, before anybody serves.
    pub fn listen(&mut self, address: std::net::SocketAddr) -> Result<()> {
        self.kept.push(("unit".to_owned(), TcpListener::bind(address)?.into()));
        Ok(())
    }

    pub fn names(&self) -> Vec<&str> {
        self.kept.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// Reads what was told since the last time.
    pub fn hear(&mut self) -> Result<()> {
        let mut text = [0; 1_024];
        let mut space = cmsg_space!([i32; 16]);
        loop {
            let mut slices = [IoSliceMut::new(&mut text)];
            let received = recvmsg::<()>(
                self.notify.as_raw_fd(),
                &mut slices,
                Some(&mut space),
                MsgFlags::MSG_CMSG_CLOEXEC,
            );
            let received = match received {
                Ok(received) => received,
                Err(Errno::EAGAIN) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let mut fds = Vec::new();
            for message in received.cmsgs()? {
                if let ControlMessageOwned::ScmRights(came) = message {
                    // SAFETY: the kernel made them for this message, and nobody else has them.
                    fds.extend(came.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
                }
            }
            let length = received.bytes;
            let told = String::from_utf8_lossy(text.get(..length).unwrap_or_default()).into_owned();
            let name = told.lines().find_map(|line| line.strip_prefix("FDNAME=")).unwrap_or("?").to_owned();
            if told.starts_with("FDSTOREREMOVE=1") {
                self.kept.retain(|(kept, _)| *kept != name);
            } else {
                self.kept.extend(fds.into_iter().map(|fd| (name.clone(), fd)));
            }
        }
    }

    /// `weir run`, given everything that is kept.
    pub fn command(&mut self, place: &Place) -> Result<Command> {
        self.hear()?;
        let mut command = Command::new("bash");
        command.args(["-c", "export LISTEN_PID=$$; exec \"$0\" run --config \"$1\""]);
        command.arg(binary()?).arg(place.folder().join("weir.toml"));
        let fds: Vec<i32> = self.kept.iter().map(|(_, fd)| fd.as_raw_fd()).collect();
        // SAFETY: between fork and exec only fcntl and dup2 are called, which are async-signal-safe; the
        // descriptors belong to `self`, and stay open in the child until it is another program.
        unsafe { command.pre_exec(move || place_from_three(&fds)) };
        command
            .env("LISTEN_FDS", self.kept.len().to_string())
            .env("LISTEN_FDNAMES", self.names().join(":"))
            .env("NOTIFY_SOCKET", &self.path);
        Ok(command)
    }
}

/// Puts the descriptors in order from 3 on, in a child. First all out of the way, where they close at exec.
fn place_from_three(fds: &[i32]) -> std::io::Result<()> {
    const ASIDE: i32 = 200;
    for (number, fd) in (0..).zip(fds) {
        // SAFETY: a system call on numbers.
        if unsafe { nix::libc::dup3(*fd, ASIDE + number, nix::libc::O_CLOEXEC) } < 0 {
            return Err(std::io::Error::last_os_error());
        }
    }
    for (number, _) in (0..).zip(fds) {
        // SAFETY: as above; the copies at 3 and on are not closed at exec.
        if unsafe { nix::libc::dup2(ASIDE + number, 3 + number) } < 0 {
            return Err(std::io::Error::last_os_error());
        }
    }
    Ok(())
}
