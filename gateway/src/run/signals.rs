//! Signals, caught before anything is served.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a person may tell the process.
pub(super) struct Signals {
    pub terminate: Signal,
    pub interrupt: Signal,
    pub hangup: Signal,
}

impl Signals {
    pub fn caught() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}
