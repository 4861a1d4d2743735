//! The kernel's clocks. A module of its own, for the replay (`replay.rs`) brings another: everything that
//! asks for the time asks here.

use aya_ebpf::helpers::{bpf_jiffies64, bpf_ktime_get_ns};

#[inline(always)]
pub fn jiffies() -> u64 {
    // SAFETY: the helper has no arguments and no preconditions.
    unsafe { bpf_jiffies64() }
}

#[inline(always)]
pub fn now_ns() -> u64 {
    // SAFETY: the helper has no arguments and no preconditions.
    unsafe { bpf_ktime_get_ns() }
}
