//! net.ipv4.tcp_syncookies, which SYN cookies from XDP need at 2: only then does a listener take a
//! cookie that it has not sent. What was found is kept in the map KEPT, beside the programs that need
//! it, so that whoever takes them away puts it back, whatever became of this process.

use std::io;
use std::os::unix::fs::MetadataExt as _;

use aya::maps::{Array, Map, MapData, MapError};
use weir_ebpf::abi::maps;

use crate::plane::PinDir;

const SYSCTL: &str = "/proc/sys/net/ipv4/tcp_syncookies";
/// Every listener answers by cookies, always (Linux Documentation/networking/ip-sysctl.rst).
const ALWAYS: u64 = 2;
/// Positions in KEPT.
const FOUND_PLUS_ONE: u32 = 0;
const NAMESPACE: u32 = 1;

#[derive(Debug, thiserror::Error)]
pub enum SyncookiesError {
    #[error("{SYSCTL} cannot be read: {0}")]
    Read(io::Error),
    #[error("{SYSCTL} says {0:?}, which is no number")]
    Nonsense(String),
    #[error("net.ipv4.tcp_syncookies cannot be set to {value}: {source}; set it by `sysctl -w`")]
    Write { value: u64, source: io::Error },
    #[error("map KEPT: {0}")]
    Map(Box<MapError>),
    #[error("net.ipv4.tcp_syncookies was {0} in another network namespace: put it back there")]
    Elsewhere(u64),
}

impl From<MapError> for SyncookiesError {
    fn from(error: MapError) -> Self {
        Self::Map(Box::new(error))
    }
}

/// Sets it, and keeps what was found: before the change, so that no moment loses it.
pub(super) fn begin(pins: &PinDir) -> Result<(), SyncookiesError> {
    let found = read()?;
    if found == ALWAYS {
        return Ok(());
    }
    let mut kept = open(pins)?;
    kept.set(NAMESPACE, namespace()?, 0)?;
    kept.set(FOUND_PLUS_ONE, found + 1, 0)?;
    write(ALWAYS)?;
    tracing::info!(from = found, to = ALWAYS, "set net.ipv4.tcp_syncookies, for SYN cookies");
    Ok(())
}

/// Puts back what was found, if anything was changed and nobody changed it since. Where the pins are gone
/// whoever removed them by `weir xdp detach` has put it back.
pub(super) fn end(pins: &PinDir) -> Result<(), SyncookiesError> {
    if !pins.map(maps::KEPT).exists() {
        return Ok(());
    }
    let mut kept = open(pins)?;
    let Some(found) = kept.get(&FOUND_PLUS_ONE, 0)?.checked_sub(1) else { return Ok(()) };
    if kept.get(&NAMESPACE, 0)? != namespace()? {
        return Err(SyncookiesError::Elsewhere(found));
    }
    if read()? == ALWAYS {
        write(found)?;
        tracing::info!(to = found, "put net.ipv4.tcp_syncookies back");
    }
    kept.set(FOUND_PLUS_ONE, 0, 0)?;
    Ok(())
}

fn open(pins: &PinDir) -> Result<Array<MapData, u64>, MapError> {
    Array::try_from(Map::Array(MapData::from_pin(pins.map(maps::KEPT))?))
}

fn read() -> Result<u64, SyncookiesError> {
    let text = std::fs::read_to_string(SYSCTL).map_err(SyncookiesError::Read)?;
    text.trim().parse().map_err(|_| SyncookiesError::Nonsense(text.trim().to_owned()))
}

fn write(value: u64) -> Result<(), SyncookiesError> {
    std::fs::write(SYSCTL, value.to_string()).map_err(|source| SyncookiesError::Write { value, source })
}

/// The network namespace whose setting it is.
fn namespace() -> Result<u64, SyncookiesError> {
    std::fs::metadata("/proc/thread-self/ns/net").map(|file| file.ino()).map_err(SyncookiesError::Read)
}
