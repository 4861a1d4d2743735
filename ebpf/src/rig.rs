//! The traffic rig of benches and tests, bpf only: a generator that runs by live frames, the
//! ceiling that Weir is compared with, and the programs that the far end of a veth needs. It is no
//! part of the product: nothing here may be used by the packet path.
#![no_std]
#![no_main]

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::xdp_action::{XDP_ABORTED, XDP_DROP, XDP_PASS};
use aya_ebpf::helpers::generated::bpf_xdp_store_bytes;
use aya_ebpf::helpers::{bpf_ktime_get_ns, bpf_redirect};
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::{Array, PerCpuArray};
use aya_ebpf::programs::XdpContext;

const ETHERTYPE: usize = 12;
const NETWORK: usize = 14;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const TCP: u8 = 6;
const UDP: u8 = 17;
const V4_BYTES: usize = 20;
const V6_BYTES: usize = 40;
/// What is later than this is not made up for: a burst would overrun the receiver's ring.
const CATCH_UP_NS: u64 = 50_000;
/// Frames that are sent together when paced, as a card hands them over that does not interrupt for each:
/// waking the receiver for every second frame would cost more than the frames.
const LUMP: u64 = 16;
/// The longest frame that can be written anew; the same number stands in the harness.
const TEMPLATE_BYTES: usize = 128;

/// Positions in `GENERATE`; the same numbers stand in the harness (`tests/src/rig.rs`).
mod generate_at {
    pub const IFINDEX: usize = 0;
    /// IPv4: the address. IPv6: the upper half of it. Its low bits are zero where `MASK` is set.
    pub const SOURCE: usize = 1;
    pub const MASK: usize = 2;
    /// A source sends `1 << SHIFT` frames in a row.
    pub const SHIFT: usize = 3;
    /// Checksum words of what does not vary: the IPv4 header, and pseudo header with the segment.
    pub const NETWORK_SUM: usize = 4;
    pub const TRANSPORT_SUM: usize = 5;
    /// Between two frames; 0: as fast as it goes, without a look at the clock.
    pub const INTERVAL_NS: usize = 6;
    /// CLOCK_MONOTONIC after which a paced generator sends nothing.
    pub const END_NS: usize = 7;
    /// Number of the first frame that is not sent any more.
    pub const END_FRAME: usize = 8;
    /// Bytes of the frame in `TEMPLATE`.
    pub const FRAME_BYTES: usize = 9;
    pub const LEN: usize = 10;
}

/// Positions in `CEILING`.
mod ceiling_at {
    pub const SEEN: usize = 0;
    pub const PASSED: usize = 1;
    pub const DROPPED: usize = 2;
    pub const LEN: usize = 3;
}

#[map]
static GENERATE: Array<[u64; generate_at::LEN]> = Array::with_max_entries(1, 0);
/// The frame as it was handed in.
#[map]
static TEMPLATE: Array<[u8; TEMPLATE_BYTES]> = Array::with_max_entries(1, 0);
/// On each CPU: frames generated, which is the next one's number, and when the next one is due.
#[map]
static GENERATED: PerCpuArray<[u64; 2]> = PerCpuArray::with_max_entries(1, 0);
#[map]
static CEILING: PerCpuArray<[u64; ceiling_at::LEN]> = PerCpuArray::with_max_entries(1, 0);

/// Gives the frame its source address, source port and checksums and sends it out of an interface.
/// Live frames are not restored between runs, so everything that varies is written every time.
/// A test run costs some 25 ms beside its frames (its page pool waits for RCU), so the pace is kept
/// in here: a run that comes before its turn drops its frame.
#[xdp]
pub fn generate(ctx: XdpContext) -> u32 {
    try_generate(&ctx).unwrap_or(XDP_ABORTED)
}

fn try_generate(ctx: &XdpContext) -> Option<u32> {
    let wanted = GENERATE.get(0)?;
    restore(ctx, wanted)?;
    let Some(frame) = turn(wanted)? else { return Some(XDP_DROP) };
    // An odd factor is a bijection on the masked bits: every source comes once before one comes again.
    let id =
        (frame >> wanted[generate_at::SHIFT]).wrapping_mul(0x9e37_79b9_7f4a_7c15) & wanted[generate_at::MASK];
    let source = wanted[generate_at::SOURCE] | id;
    let port = 1_024 + (frame & 0x7fff) as u16;
    match u16::from_be(read(ctx, ETHERTYPE)?) {
        IPV4 => {
            let source = source as u32;
            let words = sum32(source);
            write(ctx, NETWORK + 10, checksum(wanted[generate_at::NETWORK_SUM] + words).to_be())?;
            write(ctx, NETWORK + 12, source.to_be())?;
            let sum = wanted[generate_at::TRANSPORT_SUM] + words + u64::from(port);
            transport(ctx, NETWORK + V4_BYTES, read(ctx, NETWORK + 9)?, port, sum)?;
        }
        IPV6 => {
            write(ctx, NETWORK + 8, source.to_be())?;
            let words = sum32(source as u32) + sum32((source >> 32) as u32);
            let sum = wanted[generate_at::TRANSPORT_SUM] + words + u64::from(port);
            transport(ctx, NETWORK + V6_BYTES, read(ctx, NETWORK + 6)?, port, sum)?;
        }
        _ => return None,
    }
    // SAFETY: a helper without pointers; an ifindex that does not exist is the kernel's to refuse.
    Some(unsafe { bpf_redirect(wanted[generate_at::IFINDEX] as u32, 0) } as u32)
}

/// A frame that its receiver turned round and sent back is another one when its memory comes again.
#[inline(always)]
fn restore(ctx: &XdpContext, wanted: &[u64; generate_at::LEN]) -> Option<()> {
    const DESTINATION: usize = 2;
    let template = TEMPLATE.get_ptr_mut(0)?;
    // SAFETY: inside the value, which nobody writes while this program runs.
    let destination = unsafe { template.cast::<u8>().add(DESTINATION).cast::<u32>().read_unaligned() };
    if read::<u32>(ctx, DESTINATION)? == destination {
        return Some(());
    }
    let length = wanted[generate_at::FRAME_BYTES];
    if length == 0 || length > TEMPLATE_BYTES as u64 {
        return None;
    }
    // SAFETY: at most the value's length; the helper checks the frame's bounds.
    let stored = unsafe { bpf_xdp_store_bytes(ctx.as_ptr().cast(), 0, template.cast(), length as u32) };
    (stored == 0).then_some(())
}

/// The number of the frame to send, if it is time for one.
fn turn(wanted: &[u64; generate_at::LEN]) -> Option<Option<u64>> {
    let state = GENERATED.get_ptr_mut(0)?;
    // SAFETY: a slot of this CPU, which nobody else writes while this program runs; constant indexes.
    let (frame, due_ns) = unsafe { ((*state)[0], (*state)[1]) };
    if frame >= wanted[generate_at::END_FRAME] {
        return Some(None);
    }
    let mut next_ns = 0;
    if wanted[generate_at::INTERVAL_NS] != 0 {
        // SAFETY: a helper without arguments.
        let now_ns = unsafe { bpf_ktime_get_ns() };
        if now_ns >= wanted[generate_at::END_NS] {
            return Some(None);
        }
        if !frame.is_multiple_of(LUMP) {
            next_ns = due_ns;
        } else if now_ns < due_ns {
            return Some(None);
        } else {
            let late_ns = now_ns - due_ns;
            let base_ns = if late_ns > CATCH_UP_NS { now_ns } else { due_ns };
            next_ns = base_ns.wrapping_add(wanted[generate_at::INTERVAL_NS] * LUMP);
        }
    }
    // SAFETY: as above.
    unsafe { *state = [frame.wrapping_add(1), next_ns] };
    Some(Some(frame))
}

/// Source port and checksum of the TCP or UDP header at `at`.
fn transport(ctx: &XdpContext, at: usize, protocol: u8, port: u16, sum: u64) -> Option<()> {
    write(ctx, at, port.to_be())?;
    match (protocol, checksum(sum)) {
        (TCP, checksum) => write(ctx, at + 16, checksum.to_be()),
        // RFC 768: a computed zero is sent as all ones, because zero says that there is no checksum.
        (_, 0) => write(ctx, at + 6, 0xffff_u16),
        (_, checksum) => write(ctx, at + 6, checksum.to_be()),
    }
}

/// The cheapest useful program: reads addresses and ports, counts, lets the good client
/// (10.77.0.0/16, fd77::/16) and everything that is neither TCP nor UDP through, drops the rest.
#[xdp]
pub fn ceiling(ctx: XdpContext) -> u32 {
    match good_or_flood(&ctx) {
        Some(action) => action,
        None => XDP_PASS,
    }
}

fn good_or_flood(ctx: &XdpContext) -> Option<u32> {
    let (good, protocol, at) = match u16::from_be(read(ctx, ETHERTYPE)?) {
        IPV4 => {
            let source = u32::from_be(read(ctx, NETWORK + 12)?);
            (source >> 16 == 0x0a4d, read::<u8>(ctx, NETWORK + 9)?, NETWORK + V4_BYTES)
        }
        IPV6 => {
            let source = u64::from_be(read(ctx, NETWORK + 8)?);
            (source >> 48 == 0xfd77, read::<u8>(ctx, NETWORK + 6)?, NETWORK + V6_BYTES)
        }
        _ => return None,
    };
    if protocol != TCP && protocol != UDP {
        return None;
    }
    let destination_port: u16 = read(ctx, at + 2)?;
    let counts = CEILING.get_ptr_mut(0)?;
    let passed = good || destination_port == 0;
    let at = if passed { ceiling_at::PASSED } else { ceiling_at::DROPPED };
    // SAFETY: a slot of this CPU; the indexes are constants below its length.
    unsafe {
        (*counts)[ceiling_at::SEEN] = (*counts)[ceiling_at::SEEN].wrapping_add(1);
        (*counts)[at] = (*counts)[at].wrapping_add(1);
    }
    Some(if passed { XDP_PASS } else { XDP_DROP })
}

/// For the far end of a veth: native transmit and redirect want a program there.
#[xdp]
pub fn pass(_ctx: XdpContext) -> u32 {
    XDP_PASS
}

/// The far end of a server under attack: answers to made-up sources (11.0.0.0/8, 2001:db8::/32) end here,
/// as they would somewhere else in the world.
#[xdp]
pub fn far_end(ctx: XdpContext) -> u32 {
    if is_for_nobody(&ctx).unwrap_or(false) { XDP_DROP } else { XDP_PASS }
}

fn is_for_nobody(ctx: &XdpContext) -> Option<bool> {
    Some(match u16::from_be(read(ctx, ETHERTYPE)?) {
        IPV4 => read::<u8>(ctx, NETWORK + 16)? == 11,
        IPV6 => u32::from_be(read(ctx, NETWORK + 24)?) == 0x2001_0db8,
        _ => false,
    })
}

/// The price of the ring and NAPI alone.
#[xdp]
pub fn bare_drop(_ctx: XdpContext) -> u32 {
    XDP_DROP
}

fn sum32(word: u32) -> u64 {
    u64::from(word >> 16) + u64::from(word & 0xffff)
}

/// Folds twice: the sums here stay below 2^32.
fn checksum(sum: u64) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    !(sum as u16)
}

#[inline(always)]
fn read<T: Copy>(ctx: &XdpContext, at: usize) -> Option<T> {
    let start = ctx.data() + at;
    if start + size_of::<T>() > ctx.data_end() {
        return None;
    }
    // SAFETY: the check above keeps the read inside the frame; the verifier holds us to it.
    Some(unsafe { (start as *const T).read_unaligned() })
}

#[inline(always)]
fn write<T>(ctx: &XdpContext, at: usize, value: T) -> Option<()> {
    let start = ctx.data() + at;
    if start + size_of::<T>() > ctx.data_end() {
        return None;
    }
    // SAFETY: as in `read`.
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
