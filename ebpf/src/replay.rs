//! The replay of `bench accuracy`, bpf only: the packet path over its real maps, at the times that a batch
//! of events says instead of the clock's. A test run takes the next event, writes its source into the frame,
//! judges the frame and notes the verdict in the event. It is no part of the product.
#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![expect(internal_features, reason = "maps.rs wants cmpxchg")]

#[expect(dead_code, reason = "the replay needs the packet path's part of it")]
mod maps;
#[expect(dead_code, reason = "there are no sockets to hear of here")]
mod proof;

use core::ptr::{read_volatile, write_volatile};

use aya_ebpf::bindings::xdp_action::{XDP_ABORTED, XDP_PASS};
use aya_ebpf::bindings::xdp_md;
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::Array;
use aya_ebpf::programs::XdpContext;
use weir_ebpf::abi::{ClientEntry, Rules, Word};
use weir_ebpf::frame::Frame as _;
use weir_ebpf::gcra::{self, Charged, Outcome};
use weir_ebpf::packet::parse;
use weir_ebpf::path::{Entry as _, decide};
use weir_ebpf::verdict::{Action, Verdict};

/// Events of a page of a batch, and pages. This and all that follows stands in the harness too
/// (`tests/src/replay.rs`).
const PAGE: u64 = 4_096;
const PAGES: u32 = 64;

/// An event is a client's key and a word: its time, kind, action, verdict.
type Page = [[u64; 2]; PAGE as usize];

/// Where the parts of an event's word begin; its time in ns is below the first.
mod bits {
    pub const KIND: u32 = 44;
    pub const ACTION: u32 = 48;
    pub const VERDICT: u32 = 56;
}

mod kind {
    pub const UDP: u64 = 0;
    pub const SYN: u64 = 1;
    /// Any other TCP, of no connection.
    pub const STRAY: u64 = 2;
    /// TCP of a connection that this host has.
    pub const CONNECTED: u64 = 3;
    /// No packet: a handshake ended.
    pub const PROVE: u64 = 4;
    /// The batch is at its end.
    pub const NONE: u64 = 15;
}

/// A jiffy of the virtual clock: 250 a second.
const JIFFY_NS: u64 = 4_000_000;

#[map]
static BATCH: Array<Page> = Array::with_max_entries(PAGES, 0);
/// The number of the event at hand, and its time.
#[map]
static AT_HAND: Array<[u64; 2]> = Array::with_max_entries(1, 0);

/// The virtual clock, in the real one's place.
mod clock {
    pub fn jiffies() -> u64 {
        now_ns() / super::JIFFY_NS
    }

    pub fn now_ns() -> u64 {
        let Some(at_hand) = super::AT_HAND.get_ptr(0) else { return 0 };
        // SAFETY: the map's only value, of two words.
        unsafe { super::read_volatile(at_hand.cast::<u64>().add(1)) }
    }
}

/// The virtual host's connections, in the place of its sockets.
mod socket {
    use super::{kind, xdp_md};

    pub fn is_connected(_: *mut xdp_md) -> u64 {
        u64::from(super::kind_at_hand() == kind::CONNECTED)
    }
}

/// Nobody answers cookies here.
mod cookie {
    use super::xdp_md;

    pub fn answer_syn(_: *mut xdp_md) -> u64 {
        0
    }

    pub fn listener(_: *mut xdp_md) -> u64 {
        0
    }

    pub fn returns_cookie(_: *mut xdp_md) -> u64 {
        0
    }
}

/// The packet path.
#[xdp]
pub fn weir(ctx: XdpContext) -> u32 {
    match take(ctx.ctx) {
        kind::NONE => return XDP_ABORTED,
        kind::PROVE => prove(),
        _ => {
            let Some(rules) = maps::rules() else { return XDP_ABORTED };
            let length_bytes = ctx.length_bytes();
            let verdict = decide(&ctx, length_bytes, &maps::Kernel(&ctx), rules).verdict;
            note(verdict, verdict.action(rules.flags));
        }
    }
    XDP_PASS
}

/// What others do: an entry for each source that was ever seen, in the same map.
#[xdp]
pub fn naive(ctx: XdpContext) -> u32 {
    match take(ctx.ctx) {
        kind::NONE => return XDP_ABORTED,
        kind::PROVE => note(Verdict::NoRules, Action::Pass),
        _ => {
            let Some(rules) = maps::rules() else { return XDP_ABORTED };
            let verdict = match parse(&ctx) {
                Ok(packet) => seen_or_new(packet.client().0, rules),
                Err(verdict) => verdict,
            };
            note(verdict, verdict.action(rules.flags));
        }
    }
    XDP_PASS
}

#[inline(always)]
fn seen_or_new(key: u64, rules: &Rules) -> Verdict {
    let [packets, ..] = &rules.limits;
    let now_ns = clock::now_ns();
    if let Some(entry) = maps::client(key) {
        return match gcra::charge(entry.cell(Word::Packets), packets, 1, now_ns) {
            Charged::Conforming { .. } => Verdict::Conforming,
            Charged::Over { .. } => Verdict::Packets,
            Charged::Contended => Verdict::Contended,
        };
    }
    let Outcome::Conforming { tat_ns } = packets.decide(0, now_ns, 1) else { return Verdict::Packets };
    let entry = ClientEntry { tat: [tat_ns, 0, 0, 0], hot: 0, flags: 0, passed: 0, dropped: 0 };
    match maps::insert_client(key, &entry) {
        Ok(()) => Verdict::Conforming,
        Err(_) => Verdict::NoRules,
    }
}

/// Makes the next event the one at hand and the frame its packet; its kind. A global function, which the
/// verifier reads once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn take(ctx: *mut xdp_md) -> u64 {
    let Some(at_hand) = AT_HAND.get_ptr_mut(0) else { return kind::NONE };
    let Some(event) = event() else { return kind::NONE };
    // SAFETY: an event of a page.
    let [key, word] = unsafe { read_volatile(event) };
    // SAFETY: the map's only value, of two words.
    unsafe { write_volatile(at_hand.cast::<u64>().add(1), word & ((1 << bits::KIND) - 1)) };
    let kind = kind_of(word);
    match address(&XdpContext::new(ctx), key, kind) {
        Some(()) => kind,
        None => kind::NONE,
    }
}

#[inline(always)]
fn kind_of(word: u64) -> u64 {
    word >> bits::KIND & 15
}

fn kind_at_hand() -> u64 {
    // SAFETY: an event of a page.
    event().map_or(kind::NONE, |event| kind_of(unsafe { read_volatile(event)[1] }))
}

/// The event at hand; None at the batch's end.
#[inline(always)]
fn event() -> Option<*mut [u64; 2]> {
    let at_hand = AT_HAND.get_ptr(0)?;
    // SAFETY: the map's only value.
    let number = unsafe { read_volatile(at_hand.cast::<u64>()) };
    let page = BATCH.get_ptr_mut((number / PAGE) as u32)?;
    // SAFETY: the remainder is below the page's length.
    Some(unsafe { page.cast::<[u64; 2]>().add((number % PAGE) as usize) })
}

const ETHERTYPE: usize = 12;
const NETWORK: usize = 14;
const IPV4: u16 = 0x0800;
const V4_BYTES: usize = 20;
const V6_BYTES: usize = 40;
const TCP: u8 = 6;
const UDP: u8 = 17;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// Gives the frame, a TCP segment whose first bytes are a UDP header as well, its source and kind.
#[inline(always)]
fn address(ctx: &XdpContext, key: u64, kind: u64) -> Option<()> {
    let protocol = if kind == kind::UDP { UDP } else { TCP };
    let flags = if kind == kind::SYN { SYN } else { ACK };
    if u16::from_be_bytes(ctx.bytes(ETHERTYPE)?) == IPV4 {
        write(ctx, NETWORK + 9, protocol)?;
        write(ctx, NETWORK + 12, (key as u32).to_be())?;
        return write(ctx, NETWORK + V4_BYTES + 13, flags);
    }
    write(ctx, NETWORK + 6, protocol)?;
    // Another address of the /64 each time: they are one client.
    write(ctx, NETWORK + 8, [key.to_be(), clock::now_ns()])?;
    write(ctx, NETWORK + V6_BYTES + 13, flags)
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

/// What `proof` does when a handshake ends.
#[inline(never)]
fn prove() {
    let Some(event) = event() else { return };
    // SAFETY: an event of a page.
    let [key, _] = unsafe { read_volatile(event) };
    let verdict = if proof::prove(key).is_ok() { Verdict::Conforming } else { Verdict::NoRules };
    note(verdict, Action::Pass);
}

/// Writes what became of the event at hand into it, and goes on to the next.
#[inline(always)]
fn note(verdict: Verdict, action: Action) {
    let (Some(event), Some(at_hand)) = (event(), AT_HAND.get_ptr_mut(0)) else { return };
    let answer = (action as u64) << bits::ACTION | (verdict as u64) << bits::VERDICT;
    // SAFETY: an event of a page, which nobody else touches while the test run lasts.
    unsafe { (*event)[1] |= answer };
    // SAFETY: the map's only value; one test run at a time.
    unsafe { (*at_hand)[0] += 1 };
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
