//! This host's connections: what makes a client known again that was forgotten while its connection idled.
//! A module of its own, for the replay (`replay.rs`) has connections that no socket knows.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::generated::{bpf_sk_release, bpf_skc_lookup_tcp};
use aya_ebpf::programs::XdpContext;
use weir_ebpf::packet::{Address, Transport, parse};

/// Whether this host has a connection, established or closing, that the packet belongs to. Not those of containers:
/// the look-up stays in the interface's network namespace. 1 or 0.
///
/// A global function, which the verifier reads once, and one that reads the packet again: kept through
/// the whole path, the addresses would not fit the 512 bytes of stack.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn is_connected(ctx: *mut xdp_md) -> u64 {
    let ctx = XdpContext::new(ctx);
    let Ok(packet) = parse(&ctx) else { return 0 };
    let Transport::Tcp { source_port, port, .. } = packet.transport else { return 0 };
    let ports = u64::from(source_port.to_be()) | u64::from(port.to_be()) << 16;
    let (tuple, length_bytes) = match (packet.source, packet.destination) {
        (Address::V4(source), Address::V4(destination)) => {
            let [source, destination] =
                [source, destination].map(|address| u64::from(u32::from_le_bytes(address)));
            ([source | destination << 32, ports, 0, 0, 0], V4_TUPLE_BYTES)
        }
        (Address::V6(source), Address::V6(destination)) => {
            let [source, destination] = [source, destination].map(u128::from_le_bytes);
            let halves = |address: u128| (address as u64, (address >> 64) as u64);
            let ((a, b), (c, d)) = (halves(source), halves(destination));
            ([a, b, c, d, ports], V6_TUPLE_BYTES)
        }
        _ => return 0,
    };
    u64::from(has_socket(&ctx, &tuple, length_bytes))
}

/// Addresses and ports in the packet's order, as `bpf_sock_tuple` has them: words of a little-endian machine.
type Tuple = [u64; 5];
const V4_TUPLE_BYTES: u32 = 12;
const V6_TUPLE_BYTES: u32 = 36;
/// States of a connection that was established once, a bit each (Linux include/net/tcp_states.h): ESTABLISHED,
/// FIN_WAIT1, FIN_WAIT2, TIME_WAIT, CLOSE_WAIT, LAST_ACK, CLOSING. What ends in good order is not cut short.
const ESTABLISHED_ONCE: u32 = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 8 | 1 << 9 | 1 << 11;
/// The network namespace of the interface (BPF_F_CURRENT_NETNS).
const THIS_NETNS: u64 = u64::MAX;

#[inline(always)]
fn has_socket(ctx: &XdpContext, tuple: &Tuple, length_bytes: u32) -> bool {
    let tuple: *const Tuple = tuple;
    // SAFETY: the kernel's context, and a tuple of at least the length, which the helper only reads.
    let socket =
        unsafe { bpf_skc_lookup_tcp(ctx.as_ptr(), tuple.cast_mut().cast(), length_bytes, THIS_NETNS, 0) };
    if socket.is_null() {
        return false;
    }
    // SAFETY: not null, and held until released on the next line.
    let state = unsafe { (*socket).state };
    // SAFETY: the reference that the look-up took.
    unsafe { bpf_sk_release(socket.cast()) };
    ESTABLISHED_ONCE >> (state & 31) & 1 != 0
}
