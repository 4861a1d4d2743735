//! Traffic in which every frame has a number, bpf only: a generator that writes it, and what notes which
//! numbers came through at the other end. It is no part of the product.
#![no_std]
#![no_main]

use core::ptr::read_volatile;

use aya_ebpf::bindings::xdp_action::{XDP_ABORTED, XDP_DROP};
use aya_ebpf::bindings::{TC_ACT_OK, TC_ACT_SHOT};
use aya_ebpf::helpers::{bpf_ktime_get_ns, bpf_redirect};
use aya_ebpf::macros::{classifier, map, xdp};
use aya_ebpf::maps::{Array, PerCpuArray};
use aya_ebpf::programs::{TcContext, XdpContext};

/// This and what follows stands in the harness too (`tests/src/sequence.rs`).
///
/// Frame `n` is sent by the client in seat `n % SEATS`.
const SEATS: u32 = 1_024;
/// Words of a bit for each number.
const WORDS: u32 = 1 << 18;

/// Positions in `ORDER`.
mod order_at {
    pub const IFINDEX: usize = 0;
    /// Checksum words of the IPv4 header without its source.
    pub const NETWORK_SUM: usize = 1;
    pub const INTERVAL_NS: usize = 2;
    /// CLOCK_MONOTONIC after which nothing is sent.
    pub const END_NS: usize = 3;
    pub const LEN: usize = 4;
}

const ETHERTYPE: usize = 12;
const IPV4_SUM: usize = 14 + 10;
const IPV4_PROTOCOL: usize = 14 + 9;
const IPV4_SOURCE: usize = 14 + 12;
const UDP_LENGTH: usize = 14 + 20 + 4;
const NUMBER: usize = 14 + 20 + 8;
const IPV4: u16 = 0x0800;
const UDP: u8 = 17;
/// Of the datagrams: header and what the smallest frame has room for.
const UDP_BYTES: u16 = 8 + 18;
/// What is later than this is not made up for: a burst would overrun the receiver's ring.
const CATCH_UP_NS: u64 = 50_000;

/// No more frames are under way than this, half of a veth's ring, so that none finds it full: a frame that
/// is lost there would be taken for one that Weir lost.
const WINDOW: u64 = 128;
/// A receiver that is silent for so long is not waited for.
const PATIENCE_NS: u64 = 100_000_000;

#[map]
static ORDER: Array<[u64; order_at::LEN]> = Array::with_max_entries(1, 0);
/// IPv4 addresses.
#[map]
static CLIENT_IN: Array<u32> = Array::with_max_entries(SEATS, 0);
/// On each CPU: the next frame's number, and when it is due.
#[map]
static NEXT: PerCpuArray<[u64; 2]> = PerCpuArray::with_max_entries(1, 0);
#[map]
static ARRIVED: Array<u64> = Array::with_max_entries(WORDS, 0);
/// When the first and the last frame came, of whoever sent them, and the last one's number.
#[map]
static SPAN: Array<[u64; 3]> = Array::with_max_entries(1, 0);

/// Gives the frame its number and source and sends it out of an interface, when it is due.
#[xdp]
pub fn send(ctx: XdpContext) -> u32 {
    try_send(&ctx).unwrap_or(XDP_ABORTED)
}

fn try_send(ctx: &XdpContext) -> Option<u32> {
    let order = ORDER.get(0)?;
    let next = NEXT.get_ptr_mut(0)?;
    // SAFETY: a slot of this CPU, which nobody else writes while this program runs; constant indexes.
    let (number, due_ns) = unsafe { ((*next)[0], (*next)[1]) };
    let now_ns = now_ns();
    if now_ns < due_ns || now_ns >= order[order_at::END_NS] || number >= u64::from(WORDS) * 64 {
        return Some(XDP_DROP);
    }
    let noted = SPAN.get_ptr(0)?;
    // SAFETY: a value of a map, one aligned word.
    let noted = unsafe { read_volatile(&raw const (*noted)[2]) };
    if number.saturating_sub(noted) > WINDOW && now_ns - due_ns < PATIENCE_NS {
        return Some(XDP_DROP);
    }
    let base_ns = if now_ns - due_ns > CATCH_UP_NS { now_ns } else { due_ns };
    // SAFETY: as above.
    unsafe { *next = [number.wrapping_add(1), base_ns.wrapping_add(order[order_at::INTERVAL_NS])] };
    let client = *CLIENT_IN.get(number as u32 & (SEATS - 1))?;
    let words = u64::from(client >> 16) + u64::from(client & 0xffff);
    write(ctx, IPV4_SUM, checksum(order[order_at::NETWORK_SUM] + words).to_be())?;
    write(ctx, IPV4_SOURCE, client.to_be())?;
    write(ctx, NUMBER, number.to_be())?;
    // SAFETY: a helper without pointers; an ifindex that does not exist is the kernel's to refuse.
    Some(unsafe { bpf_redirect(order[order_at::IFINDEX] as u32, 0) } as u32)
}

/// Behind whatever judges packets: notes the number, and ends the frame there.
#[classifier]
pub fn note(ctx: TcContext) -> i32 {
    try_note(&ctx).unwrap_or(TC_ACT_OK as i32)
}

/// None for what is not ours.
fn try_note(ctx: &TcContext) -> Option<i32> {
    let number: u64 = ctx.load(NUMBER).ok()?;
    let number = u64::from_be(number);
    let ours = u16::from_be(ctx.load(ETHERTYPE).ok()?) == IPV4
        && ctx.load::<u8>(IPV4_PROTOCOL).ok()? == UDP
        && u16::from_be(ctx.load(UDP_LENGTH).ok()?) == UDP_BYTES;
    if !ours {
        return None;
    }
    let word = ARRIVED.get_ptr_mut((number >> 6) as u32)?;
    let span = SPAN.get_ptr_mut(0)?;
    let now_ns = now_ns();
    // SAFETY: values of maps; one thread receives, so nobody else writes them. Constant indexes.
    unsafe {
        *word |= 1 << (number & 63);
        if (*span)[0] == 0 {
            (*span)[0] = now_ns;
        }
        (*span)[1] = now_ns;
        (*span)[2] = number;
    }
    Some(TC_ACT_SHOT as i32)
}

fn now_ns() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_ktime_get_ns() }
}

/// Folds twice: the sums here stay below 2^32.
fn checksum(sum: u64) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    !(sum as u16)
}

#[inline(always)]
fn write<T>(ctx: &XdpContext, at: usize, value: T) -> Option<()> {
    let start = ctx.data() + at;
    if start + size_of::<T>() > ctx.data_end() {
        return None;
    }
    // SAFETY: the check above keeps the write inside the frame; the verifier holds us to it.
    unsafe { (start as *mut T).write_unaligned(value) };
    Some(())
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
