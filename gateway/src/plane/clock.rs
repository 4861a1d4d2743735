//! The clock that both planes charge by.

use nix::time::{ClockId, clock_getres, clock_gettime};

/// CLOCK_MONOTONIC in ns: what bpf_ktime_get_ns reads.
pub fn now_ns() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map(nanoseconds).unwrap_or_default()
}

/// Seconds of Unix time, as of the last tick.
pub fn unix_s() -> u64 {
    clock_gettime(ClockId::CLOCK_REALTIME_COARSE).map(nanoseconds).unwrap_or_default() / 1_000_000_000
}

/// This thread gives way to all others from now on.
pub fn lower_priority() {
    // SAFETY: no pointers; 0 names the calling thread. What it answers changes nothing.
    unsafe { nix::libc::setpriority(nix::libc::PRIO_PROCESS, 0, 19) };
}

/// Jiffies a second (CONFIG_HZ): the coarse clock's resolution is one tick.
pub fn jiffies_hz() -> u64 {
    let tick_ns = clock_getres(ClockId::CLOCK_MONOTONIC_COARSE).map(nanoseconds).unwrap_or_default();
    1_000_000_000_u64.checked_div(tick_ns).unwrap_or(250)
}

fn nanoseconds(time: nix::sys::time::TimeSpec) -> u64 {
    let seconds = u64::try_from(time.tv_sec()).unwrap_or_default();
    let nanoseconds = u64::try_from(time.tv_nsec()).unwrap_or_default();
    seconds * 1_000_000_000 + nanoseconds
}
