//! The entry points: `packets` at XDP, `charge` by test run, `proof` at sockops. The path itself is
//! `path::decide`; here it meets the maps, the counters and the kernel's action codes.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch, core_intrinsics)]
#![expect(internal_features, reason = "cmpxchg: the bpf target has no atomic compare-and-swap in core")]
#![expect(unsafe_code, reason = "entry points take raw contexts")]

mod clock;
mod cookie;
mod maps;
mod proof;
mod socket;

use core::ptr::read_volatile;

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::macros::{sock_ops, xdp};
use aya_ebpf::programs::{SockOpsContext, XdpContext};
use weir_ebpf::abi::{ChargeAnswer, ClientEntry, Op, PROVED, Word, charge_arg};
use weir_ebpf::frame::Frame as _;
use weir_ebpf::gcra::{self, Cell as _, Charged, Limit};
use weir_ebpf::path::{Decided, Entry as _, decide};
use weir_ebpf::verdict::Action;

#[xdp(frags)]
pub fn packets(ctx: XdpContext) -> u32 {
    let Some(rules) = maps::rules() else { return xdp_action::XDP_PASS };
    let length_bytes = ctx.length_bytes();
    let decided = decide(&ctx, length_bytes, &maps::Kernel(&ctx), rules);
    let action = match decided.verdict.action(decided.flags) {
        // Where nobody is left to take a wrong rule back, dropping ends and counting goes on.
        Action::Drop if maps::is_unattended() => Action::Pass,
        action => action,
    };
    let told = decided.verdict.is_drop().then_some(rules);
    if maps::count(decided.verdict.cell(decided.rule, action), length_bytes, told) {
        tell(&ctx, &decided, action, length_bytes);
    }
    match action {
        Action::Pass => xdp_action::XDP_PASS,
        Action::Drop => xdp_action::XDP_DROP,
        Action::Tx => xdp_action::XDP_TX,
    }
}

#[inline(always)]
fn tell(ctx: &XdpContext, decided: &Decided, action: Action, length_bytes: u32) {
    let (key, class, port) = match decided.packet {
        Some(packet) => (packet.client().0, packet.class() as u8, packet.port()),
        None => (0, 0, 0),
    };
    let [low, high] = port.to_le_bytes();
    let small = [decided.verdict as u8, action as u8, 0, class, low, high, 0, 0];
    maps::tell(key, ctx.ingress_ifindex() as u32, length_bytes, u64::from_le_bytes(small));
}

#[sock_ops]
pub fn proof(ctx: SockOpsContext) -> u32 {
    proof::established(&ctx);
    1
}

/// The one way in which user space changes a client's entry; run by BPF_PROG_TEST_RUN, never
/// attached. By hand, because aya's macro discards the value that is returned.
#[unsafe(no_mangle)]
#[unsafe(link_section = "raw_tp")]
pub extern "C" fn charge(ctx: *const u64) -> u32 {
    // SAFETY: the kernel passes the [u64; 12] of the test run; each index is below 12.
    let arg = |idx: usize| unsafe { read_volatile(ctx.add(idx)) };
    let key = arg(charge_arg::KEY);
    let op = arg(charge_arg::OP);
    if op == Op::Clock as u64 {
        maps::publish_jiffies();
        return 0;
    }
    if op == Op::Prove as u64 {
        return proof::prove(key).map_or_else(refused, |()| 0);
    }
    if op == Op::Mark as u64 || op == Op::Unmark as u64 {
        return if maps::mark(key, op == Op::Mark as u64) { 0 } else { busy() };
    }
    if op == Op::Lease as u64 {
        let set = maps::set_lease(arg(charge_arg::WORD), arg(charge_arg::N));
        return if set { 0 } else { ChargeAnswer::error(EINVAL).0 };
    }
    let word = match arg(charge_arg::WORD) {
        0 => Word::Packets,
        1 => Word::Bytes,
        2 => Word::Syns,
        3 => Word::Requests,
        _ => return ChargeAnswer::error(EINVAL).0,
    };
    let limit = Limit { interval: arg(charge_arg::INTERVAL), tau_ns: arg(charge_arg::TAU_NS) };
    charge_entry(key, op, word, arg(charge_arg::N), &limit)
}

const EINVAL: u32 = 22;
const EEXIST: i32 = -17;
const EBUSY: u32 = 16;

#[inline(always)]
fn charge_entry(key: u64, op: u64, word: Word, n: u64, limit: &Limit) -> u32 {
    let Some(entry) = maps::client(key) else { return charge_newcomer(key, op, word, n, limit) };
    let cell = entry.cell(word);
    let now_ns = clock::now_ns();
    if op == Op::Charge as u64 {
        entry.prove();
        maps::see(key);
        return match gcra::charge(cell, limit, n, now_ns) {
            Charged::Conforming { debt_ns } => ChargeAnswer::admitted(debt_ns).0,
            Charged::Over { debt_ns } => ChargeAnswer::denied(debt_ns).0,
            Charged::Contended => ChargeAnswer::denied(limit.tau_ns).0,
        };
    }
    if op == Op::Raise as u64 {
        return if gcra::raise(cell, now_ns.wrapping_add(n)) { debt(cell.load(), now_ns) } else { busy() };
    }
    if op == Op::Forgive as u64 {
        for word in [Word::Packets, Word::Bytes, Word::Syns, Word::Requests] {
            if !gcra::forgive(entry.cell(word), now_ns) {
                return busy();
            }
        }
        return 0;
    }
    if op == Op::Peek as u64 { debt(cell.load(), now_ns) } else { ChargeAnswer::error(EINVAL).0 }
}

/// A client without an entry owes nothing: it gets one if there is something to write.
#[inline(always)]
fn charge_newcomer(key: u64, op: u64, word: Word, n: u64, limit: &Limit) -> u32 {
    let now_ns = clock::now_ns();
    let (tat_ns, flags) = if op == Op::Charge as u64 {
        match limit.decide(0, now_ns, n) {
            gcra::Outcome::Conforming { tat_ns } => (tat_ns, PROVED),
            gcra::Outcome::Over { debt_ns } => return ChargeAnswer::denied(debt_ns).0,
        }
    } else if op == Op::Raise as u64 {
        (now_ns.wrapping_add(n), 0)
    } else {
        return 0;
    };
    let at = |at: Word| if at as u64 == word as u64 { tat_ns } else { 0 };
    let entry = ClientEntry {
        tat: [at(Word::Packets), at(Word::Bytes), at(Word::Syns), at(Word::Requests)],
        hot: 0,
        flags,
        passed: 0,
        dropped: 0,
    };
    match maps::insert_client(key, &entry) {
        Ok(()) => {
            maps::see(key);
            debt(tat_ns, now_ns)
        }
        // Another thread was first: its entry is there now, and ours is charged by the caller's next try.
        Err(EEXIST) => ChargeAnswer::error(EEXIST.unsigned_abs()).0,
        Err(errno) => refused(errno),
    }
}

#[inline(always)]
fn debt(tat_ns: u64, now_ns: u64) -> u32 {
    ChargeAnswer::admitted(tat_ns.saturating_sub(now_ns)).0
}

#[inline(always)]
fn refused(errno: i32) -> u32 {
    ChargeAnswer::error(errno.unsigned_abs()).0
}

#[inline(always)]
fn busy() -> u32 {
    ChargeAnswer::error(EBUSY).0
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    // Never reached: nothing here can panic, and the verifier would refuse the loop.
    loop {}
}
