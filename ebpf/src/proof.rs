//! Proof of address: a finished handshake. A sockops program at the root of the cgroup v2 hierarchy
//! sees every accepted TCP connection, those of containers too, and marks its client PROVED.

use aya_ebpf::bindings::BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB;
use aya_ebpf::programs::SockOpsContext;
use weir_ebpf::abi::{ClientEntry, ClientKey, PROVED};
use weir_ebpf::scope::PortCell;

use crate::maps;

const AF_INET6: u32 = 10;

/// Marks or inserts the entry of `key`. An errno when the map refused.
#[inline(always)]
pub fn prove(key: u64) -> Result<(), i32> {
    maps::see(key);
    if let Some(entry) = maps::client(key) {
        entry.prove();
        return Ok(());
    }
    let entry = ClientEntry { tat: [0; 4], hot: 0, flags: PROVED, passed: 0, dropped: 0 };
    maps::insert_client(key, &entry)
}

/// An accepted connection to a protected port proves its peer.
#[inline(always)]
pub fn established(ctx: &SockOpsContext) {
    if ctx.op() != BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB {
        return;
    }
    let cell = PortCell::tcp(ctx.local_port() as u16);
    let Some(rules) = maps::rules() else { return };
    if cell.read(maps::scope_word(cell.word_idx(rules.scope))) == 0 {
        return;
    }
    // A lost race means that the other side proved the client. Where the map refuses, the client
    // stays unproved until its next handshake or charge: limited with the others, not cut off.
    let key = peer(ctx).0;
    // Not in the packet program: aya-log's frame and the path's are together more than the 512 bytes of
    // stack. What happens there is told by events.
    #[cfg(feature = "log")]
    aya_log_ebpf::debug!(ctx, "proved {:x} on port {}", key, ctx.local_port());
    prove(key).unwrap_or(());
}

/// A dual-stack listener shows IPv4 peers as ::ffff:a.b.c.d: the same client as by IPv4.
#[inline(always)]
fn peer(ctx: &SockOpsContext) -> ClientKey {
    if ctx.family() != AF_INET6 {
        return ClientKey::v4(ctx.remote_ip4().to_ne_bytes());
    }
    let [a, b, c, d] = ctx.remote_ip6();
    if a == 0 && b == 0 && c == u32::from_be(0x0000_ffff) {
        return ClientKey::v4(d.to_ne_bytes());
    }
    ClientKey(u64::from(u32::from_be(a)) << 32 | u64::from(u32::from_be(b)))
}
