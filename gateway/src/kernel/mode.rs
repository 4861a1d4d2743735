//! How XDP runs, over all interfaces.

use std::fmt;

use super::State;

/// How XDP runs on an interface, or over all of them (the slowest).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// In the driver, before a socket buffer is made.
    Native,
    /// In the stack, on socket buffers: slower, on every interface.
    Generic,
    /// Loaded, and on no interface: each waits, or was taken off.
    Unattached,
    /// No kernel plane: limits live in the process table.
    #[default]
    Off,
}

impl Mode {
    pub const ALL: [Self; 4] = [Self::Native, Self::Generic, Self::Unattached, Self::Off];

    /// The slowest of those that are attached.
    pub(super) fn over(states: impl Iterator<Item = State>) -> Self {
        states.fold(Self::Unattached, |mode, state| match (mode, state) {
            (_, State::Generic) => Self::Generic,
            (Self::Unattached, State::Native) => Self::Native,
            _ => mode,
        })
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Unattached => "unattached",
            Self::Off => "off",
        })
    }
}
