//! Starts the gateway, starts it again when it dies, and follows the host's addresses and interfaces.
//! Its listening sockets stay open throughout, so no client is refused meanwhile.

use std::ffi::OsString;
use std::net::{IpAddr, TcpListener};
use std::os::fd::AsFd as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

use super::handover::{Handover, HandoverError};
use super::log::KernelLog;
use super::netlink::Monitor;
use super::privileges::drop_to_keeper;
use super::sandbox::confine_keeper;
use super::watchdog::Watchdog;
use super::{Attachments, Capacities, Occasion, Sandbox, own_addresses, resize};
use crate::plane::{Maps, MapsError, PinDir, now_ns};

/// Reads the capacities, or says what is wrong with the file.
pub type CapacitiesWanted = Box<dyn Fn() -> Result<Capacities, String>>;

/// The parent of the gateway.
pub struct Keeper {
    pub listeners: Vec<Vec<TcpListener>>,
    /// What did not come as it was wanted: proof at the handshake, SYN cookies.
    pub note: Option<String>,
    pub attachments: Attachments,
    pub pins: PinDir,
    pub maps: Arc<Maps>,
    /// What the file says now. Read here: a gateway that was taken over cannot ask for all memory.
    pub capacities: CapacitiesWanted,
    pub log: KernelLog,
    pub watchdog: Watchdog,
    /// The program and arguments that start the gateway.
    pub program: OsString,
    pub arguments: Vec<OsString>,
    pub sandbox: Sandbox,
    /// `timeouts.drain`: a gateway that was told to end gets this and [`DRAIN_GRACE`].
    pub drain: Duration,
}

#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    #[error("the gateway cannot be started: {0}")]
    Spawn(std::io::Error),
    #[error(transparent)]
    Handover(#[from] HandoverError),
    #[error("signals cannot be received: {0}")]
    Signals(Errno),
    #[error("capabilities cannot be dropped: {0}")]
    Capabilities(String),
}

/// How often addresses and interfaces are read without news of them: some things have none, such as
/// another program's end on an interface.
const FOLLOW_EVERY: Duration = Duration::from_secs(30);
/// The same where there is no news to be had.
const FOLLOW_EVERY_UNHEARD: Duration = Duration::from_secs(2);
/// News are left to gather for so long after each reading: a thousand addresses are a few readings.
const SETTLE: Duration = Duration::from_millis(100);
/// Beyond `timeouts.drain`, before the gateway is killed.
const DRAIN_GRACE: Duration = Duration::from_secs(5);
/// A gateway that lived shorter than this is started again after a pause, not at once.
const SHORT_LIFE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(500);

/// How a wait for the gateway ended.
enum Woken {
    Exited(ExitStatus),
    Signal(Signal),
    News,
    /// The gateway asks for something, or closed its end.
    Asked,
    Tick,
}

impl Keeper {
    /// Keeps the gateway running until TERM or INT; the exit code of the whole.
    pub fn run(mut self) -> Result<u8, KeeperError> {
        let signals = signals().map_err(KeeperError::Signals)?;
        self.log.start();
        drop_to_keeper().map_err(KeeperError::Capabilities)?;
        self.watchdog.keep();
        confine_keeper(self.sandbox);
        // Opened before the first reading, so that nothing falls between the two.
        let monitor = Monitor::open()
            .inspect_err(
                |error| tracing::warn!(%error, "no news of interfaces and addresses, asking for them"),
            )
            .ok();
        // What came since the start's reading is not in OWN: the first turn writes it in any case.
        let mut own = None;
        let mut was_ready = false;
        loop {
            let began_ns = now_ns();
            let (mut gateway, handover) = self.start()?;
            match handover.receive_ready() {
                Ok(()) => was_ready = true,
                // A gateway that never served said why; its word is final at the first start.
                Err(HandoverError::Gone) if !was_ready => {
                    return Ok(exit_code(gateway.wait().map_err(KeeperError::Spawn)?));
                }
                Err(error) => tracing::warn!(%error, "the gateway did not start"),
            }
            match self.watch(&mut gateway, &handover, &signals, monitor.as_ref(), &mut own)? {
                Some(status) => {
                    tracing::warn!(%status, "the gateway ended, starting it again");
                    if Duration::from_nanos(now_ns() - began_ns) < SHORT_LIFE {
                        pause();
                    }
                }
                None => return self.end(gateway, &signals),
            }
        }
    }

    fn start(&self) -> Result<(Child, Handover), KeeperError> {
        let (keeper_end, gateway_end) = Handover::pair()?;
        let gateway = Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::from(gateway_end.into_fd()))
            .spawn()
            .map_err(KeeperError::Spawn)?;
        keeper_end.send_start(&self.listeners, self.note.as_deref(), &self.attachments.interfaces())?;
        Ok((gateway, keeper_end))
    }

    /// Waits for the gateway's end (its status) or for an order to stop (None). Meanwhile addresses and
    /// interfaces are followed: at once, at the first news after a rest, and every [`FOLLOW_EVERY`].
    fn watch(
        &mut self,
        gateway: &mut Child,
        handover: &Handover,
        signals: &SignalFd,
        monitor: Option<&Monitor>,
        own: &mut Option<Vec<IpAddr>>,
    ) -> Result<Option<ExitStatus>, KeeperError> {
        let every = if monitor.is_some() { FOLLOW_EVERY } else { FOLLOW_EVERY_UNHEARD };
        let (mut told, mut occasion) = (Told::Whole, Occasion::News);
        let (mut rests_until_ns, mut due_ns) = (0, now_ns());
        let (mut asks, mut resized) = (Some(handover), None);
        loop {
            resized =
                resized.filter(|refused: &Option<String>| handover.send_resized(refused.as_deref()).is_err());
            if resized.is_some() {
                due_ns = due_ns.min(after(SETTLE));
            }
            if now_ns() >= due_ns {
                self.refresh_own(own);
                told = self.follow(occasion, handover, told);
                occasion = Occasion::Turn;
                rests_until_ns = after(SETTLE);
                due_ns = after(every);
            }
            let rest_ns = rests_until_ns.saturating_sub(now_ns());
            let (heard, longest_ns) = match rest_ns {
                0 => (monitor, due_ns.saturating_sub(now_ns())),
                rest_ns => (None, rest_ns),
            };
            match wait(gateway, signals, heard, asks, Duration::from_nanos(longest_ns))? {
                Woken::Exited(status) => return Ok(Some(status)),
                Woken::Signal(Signal::SIGHUP) => pass_on(gateway, Signal::SIGHUP),
                Woken::Signal(_) => return Ok(None),
                Woken::News => {
                    heard.into_iter().for_each(Monitor::drain);
                    (occasion, due_ns) = (Occasion::News, now_ns());
                }
                Woken::Asked => match handover.is_asked_to_resize() {
                    Ok(true) => resized = Some(self.resize().err()),
                    Ok(false) => {}
                    // It says nothing more that could be understood.
                    Err(_) => asks = None,
                },
                Woken::Tick => {}
            }
        }
    }

    /// Interfaces as they are now, told to the gateway if that is news to it.
    fn follow(&mut self, occasion: Occasion, handover: &Handover, told: Told) -> Told {
        let is_changed = self.attachments.follow(occasion).unwrap_or_else(|error| {
            tracing::warn!(%error, "the host's interfaces cannot be listed");
            false
        });
        if told == Told::Whole && !is_changed {
            return told;
        }
        match handover.send_interfaces(&self.attachments.interfaces()) {
            Ok(()) => Told::Whole,
            Err(_) => Told::Partly,
        }
    }

    /// Gives CLIENTS, BANS and AGGREGATES the capacities that the file says now.
    fn resize(&self) -> Result<(), String> {
        let wanted = (self.capacities)()?;
        let resized = resize(&self.pins, wanted).map_err(|error| error.to_string());
        // Ours would keep the map before in memory.
        self.maps.reopen_clients(&self.pins).map_err(|error| error.to_string())?;
        resized
    }

    /// Tells the gateway to drain and waits, bounded.
    fn end(&self, mut gateway: Child, signals: &SignalFd) -> Result<u8, KeeperError> {
        pass_on(&gateway, Signal::SIGTERM);
        let deadline_ns = now_ns() + u64::try_from((self.drain + DRAIN_GRACE).as_nanos()).unwrap_or(u64::MAX);
        loop {
            match wait(&mut gateway, signals, None, None, PAUSE)? {
                Woken::Exited(status) => return Ok(exit_code(status)),
                Woken::Signal(_) | Woken::News | Woken::Asked | Woken::Tick => {}
            }
            if now_ns() > deadline_ns {
                tracing::warn!("the gateway did not drain in time, killing it");
                gateway.kill().map_err(KeeperError::Spawn)?;
            }
        }
    }

    /// Makes OWN say this host's addresses; what cannot be written is tried again.
    fn refresh_own(&self, own: &mut Option<Vec<IpAddr>>) {
        let Ok(present) = own_addresses() else { return };
        if own.as_ref() == Some(&present) {
            return;
        }
        let written: Result<(), MapsError> = self.maps.set_own(&present);
        match written {
            Ok(()) => {
                if own.is_some() {
                    tracing::info!(addresses = present.len(), "the host's addresses changed");
                }
                *own = Some(present);
            }
            Err(error) => tracing::warn!(%error, "the host's addresses changed, and OWN cannot be written"),
        }
    }
}

/// Whether the gateway knows the interfaces as they are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    Whole,
    /// It did not read; it is told again.
    Partly,
}

fn after(time: Duration) -> u64 {
    now_ns().saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

fn signals() -> Result<SignalFd, Errno> {
    let mut set = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGCHLD] {
        set.add(signal);
    }
    set.thread_block()?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}

fn wait(
    gateway: &mut Child,
    signals: &SignalFd,
    monitor: Option<&Monitor>,
    asks: Option<&Handover>,
    longest: Duration,
) -> Result<Woken, KeeperError> {
    if let Some(status) = gateway.try_wait().map_err(KeeperError::Spawn)? {
        return Ok(Woken::Exited(status));
    }
    let mut fds = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
    fds.extend(asks.map(|handover| PollFd::new(handover.as_fd(), PollFlags::POLLIN)));
    fds.extend(monitor.map(|monitor| PollFd::new(monitor.as_fd(), PollFlags::POLLIN)));
    // Rounded up: a wait that ends a moment too early would be begun again and again.
    let timeout = PollTimeout::try_from(longest + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
    match poll(&mut fds, timeout) {
        Ok(0) | Err(Errno::EINTR) => return Ok(Woken::Tick),
        Ok(_) => {}
        Err(error) => return Err(KeeperError::Signals(error)),
    }
    let is_asked = asks.is_some() && fds.get(1).and_then(PollFd::any) == Some(true);
    let received = match signals.read_signal() {
        Ok(Some(received)) => received,
        Ok(None) | Err(_) if is_asked => return Ok(Woken::Asked),
        Ok(None) | Err(_) => return Ok(Woken::News),
    };
    let signal = i32::try_from(received.ssi_signo).ok().and_then(|number| Signal::try_from(number).ok());
    match signal {
        Some(signal @ (Signal::SIGTERM | Signal::SIGINT | Signal::SIGHUP)) => Ok(Woken::Signal(signal)),
        _ => match gateway.try_wait().map_err(KeeperError::Spawn)? {
            Some(status) => Ok(Woken::Exited(status)),
            None => Ok(Woken::Tick),
        },
    }
}

fn pass_on(gateway: &Child, signal: Signal) {
    let Ok(pid) = i32::try_from(gateway.id()) else { return };
    if let Err(error) = kill(Pid::from_raw(pid), signal) {
        tracing::warn!(%error, %signal, "the gateway cannot be signalled");
    }
}

/// The gateway's code; 3 where a signal ended it.
fn exit_code(status: ExitStatus) -> u8 {
    match (status.code(), status.signal()) {
        (Some(code), _) => u8::try_from(code).unwrap_or(3),
        (None, _) => 3,
    }
}

#[expect(clippy::disallowed_methods, reason = "a pause between two starts of a failing gateway")]
fn pause() {
    std::thread::sleep(PAUSE);
}
