//! SYN cookies: a SYN beyond the budget becomes a SYN-ACK in place, and the ACK that brings the cookie
//! back passes. Nothing is stored for either. Only packets without IP options or extension headers;
//! others are left to the budget.

use core::arch::asm;
use core::mem::MaybeUninit;
use core::ptr::read_volatile;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::generated::{
    bpf_tcp_raw_check_syncookie_ipv4, bpf_tcp_raw_check_syncookie_ipv6, bpf_tcp_raw_gen_syncookie_ipv4,
    bpf_tcp_raw_gen_syncookie_ipv6, bpf_xdp_adjust_tail, bpf_xdp_load_bytes, bpf_xdp_store_bytes,
};
use aya_ebpf::programs::XdpContext;
use weir_ebpf::frame::Frame as _;
use weir_ebpf::packet::{Address, EtherType, ethernet};
use weir_ebpf::reply::{self, Cookie, Syn};
use weir_ebpf::scope::own_key;

/// Turns the SYN at hand into the SYN-ACK that answers it: 1, or 0 where it was left as it is. A global
/// function, which the verifier reads once; it reads the SYN again, for the path keeps only addresses.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn answer_syn(ctx: *mut xdp_md) -> u64 {
    let ctx = XdpContext::new(ctx);
    let answered = match Headers::of(&ctx) {
        Some(Headers { network, version: Version::V4 }) => answer_v4(&ctx, network),
        Some(Headers { network, version: Version::V6 }) => answer_v6(&ctx, network),
        None => None,
    };
    u64::from(answered.is_some())
}

/// The listener that the SYN at hand is for, as its key in LISTENERS; 0 where there is none. A global
/// function as [`answer_syn`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn listener(ctx: *mut xdp_md) -> u64 {
    let ctx = XdpContext::new(ctx);
    let key = match Headers::of(&ctx) {
        Some(Headers { network, version: Version::V4 }) => listener_v4(&ctx, network),
        Some(Headers { network, version: Version::V6 }) => listener_v6(&ctx, network),
        None => None,
    };
    key.unwrap_or(0)
}

#[inline(always)]
fn listener_v4(ctx: &XdpContext, network: usize) -> Option<u64> {
    let address = Address::V4(ctx.bytes(network + 16)?);
    Some(listener_key(&address, ctx.bytes(network + V4_BYTES + 2)?))
}

#[inline(always)]
fn listener_v6(ctx: &XdpContext, network: usize) -> Option<u64> {
    let address = Address::V6(ctx.bytes(network + 24)?);
    Some(listener_key(&address, ctx.bytes(network + V6_BYTES + 2)?))
}

#[inline(always)]
fn listener_key(address: &Address, port: [u8; 2]) -> u64 {
    own_key(address).rotate_left(16) ^ u64::from(u16::from_be_bytes(port))
}

/// Whether the packet at hand is an ACK whose number is a cookie of this host: 1 or 0. A global
/// function as [`answer_syn`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn returns_cookie(ctx: *mut xdp_md) -> u64 {
    let ctx = XdpContext::new(ctx);
    let Some(headers) = Headers::of(&ctx) else { return 0 };
    let start = ctx.data() + headers.network;
    let checked = match headers.version {
        Version::V4 => {
            if start + V4_BYTES + TCP_BYTES > ctx.data_end() {
                return 0;
            }
            let (ip, tcp) = (start as *mut u8, (start + V4_BYTES) as *mut u8);
            // SAFETY: both headers lie before data_end, as checked; the helper only reads them.
            unsafe { bpf_tcp_raw_check_syncookie_ipv4(ip.cast(), tcp.cast()) }
        }
        Version::V6 => {
            if start + V6_BYTES + TCP_BYTES > ctx.data_end() {
                return 0;
            }
            let (ip, tcp) = (start as *mut u8, (start + V6_BYTES) as *mut u8);
            // SAFETY: as for IPv4.
            unsafe { bpf_tcp_raw_check_syncookie_ipv6(ip.cast(), tcp.cast()) }
        }
    };
    u64::from(checked == 0)
}

const V4_BYTES: usize = 20;
const V6_BYTES: usize = 40;
/// Without options, as in an ACK that answers a SYN-ACK which offered none.
const TCP_BYTES: usize = 20;

/// Where the headers stand of a TCP packet with no options or extensions before TCP.
struct Headers {
    network: usize,
    version: Version,
}

enum Version {
    V4,
    V6,
}

impl Headers {
    #[inline(always)]
    fn of(ctx: &XdpContext) -> Option<Self> {
        const TCP: u8 = 6;
        let (ether_type, network) = ethernet(ctx).ok()?;
        match ether_type {
            EtherType::IPV4 => {
                let [version, _, _, _, _, _, fragment_hi, fragment_lo, _, protocol]: [u8; 10] =
                    ctx.bytes(network)?;
                let whole = fragment_hi & 0x3f == 0 && fragment_lo == 0;
                (version == 0x45 && whole && protocol == TCP)
                    .then_some(Self { network, version: Version::V4 })
            }
            EtherType::IPV6 => {
                let [_, _, _, _, _, _, next]: [u8; 7] = ctx.bytes(network)?;
                (next == TCP).then_some(Self { network, version: Version::V6 })
            }
            _ => None,
        }
    }
}

#[inline(always)]
fn answer_v4(ctx: &XdpContext, network: usize) -> Option<()> {
    let mut room = Room::new();
    let tcp = room.read(ctx, network + V4_BYTES)?;
    // In one read: of two, the compiler joins the checks in a way that the verifier cannot follow.
    let [s0, s1, s2, s3, d0, d1, d2, d3] = ctx.bytes(network + 12)?;
    let (source, destination) = ([s0, s1, s2, s3], [d0, d1, d2, d3]);
    let start = ctx.data() + network;
    if start + V4_BYTES > ctx.data_end() {
        return None;
    }
    let ip = start as *mut u8;
    // SAFETY: the header lies before data_end, as checked; the helper only reads both.
    let made = unsafe { bpf_tcp_raw_gen_syncookie_ipv4(ip.cast(), room.at(), tcp.length_bytes) };
    let (source, destination) = (u32::from_ne_bytes(source), u32::from_ne_bytes(destination));
    let words = room.hold(reply::v4(source, destination, tcp.syn, cookie(made)?));
    send(ctx, network, words)
}

#[inline(always)]
fn answer_v6(ctx: &XdpContext, network: usize) -> Option<()> {
    let mut room = Room::new();
    let tcp = room.read(ctx, network + V6_BYTES)?;
    let start = ctx.data() + network;
    if start + V6_BYTES > ctx.data_end() {
        return None;
    }
    let ip = start as *mut u8;
    // SAFETY: as for IPv4.
    let made = unsafe { bpf_tcp_raw_gen_syncookie_ipv6(ip.cast(), room.at(), tcp.length_bytes) };
    let words_at = |offset: usize| -> Option<[u32; 4]> {
        let at = |idx: usize| Some(u32::from_ne_bytes(ctx.bytes(network + offset + idx * 4)?));
        Some([at(0)?, at(1)?, at(2)?, at(3)?])
    };
    let words = room.hold(reply::v6(words_at(8)?, words_at(24)?, tcp.syn, cookie(made)?));
    send(ctx, network, words)
}

/// What the helpers give: the cookie below, the segment size above, or an errno.
#[inline(always)]
fn cookie(made: i64) -> Option<Cookie> {
    (made >= 0).then_some(Cookie { sequence: made as u32, segment: (made >> 32) as u16 })
}

/// What the path needs of a SYN's TCP header; the rest stays in its [`Room`].
struct Tcp {
    syn: Syn,
    length_bytes: u32,
}

/// Stack for a SYN's TCP header, then for the headers that answer it: there is none to spare for both.
/// Not zeroed: helpers fill it, and zeroing is a loop over bytes on this target.
struct Room(MaybeUninit<[u32; reply::V6_WORDS]>);

impl Room {
    #[inline(always)]
    fn new() -> Self {
        Self(MaybeUninit::uninit())
    }

    /// Copies the header with its options: its length is not known to the verifier, so it cannot be
    /// handed over in the frame.
    #[inline(always)]
    fn read(&mut self, ctx: &XdpContext, offset: usize) -> Option<Tcp> {
        let [data_offset] = ctx.bytes::<1>(offset + 12)?;
        let mut length = u64::from(data_offset >> 4) * 4;
        if length < TCP_BYTES as u64 {
            return None;
        }
        // SAFETY: changes its register only, and nothing in it: real instructions, so that the verifier sees
        // both bounds on the very register that the helpers get. The compiler checks the one before the
        // multiplication, and Linux 6.1 loses what a comparison of 32 bits says of the 64.
        unsafe {
            asm!(
                "{0} &= 60",
                "if {0} > 19 goto +1",
                "{0} = 20",
                inout(reg) length,
                options(nomem, nostack, preserves_flags)
            );
        }
        let length_bytes = length as u32;
        // SAFETY: at most 60 bytes, which the room has.
        let failed =
            unsafe { bpf_xdp_load_bytes(ctx.as_ptr().cast(), offset as u32, self.at(), length_bytes) };
        if failed != 0 {
            return None;
        }
        let words: *const u32 = self.at();
        // SAFETY: the helper filled at least 20 bytes.
        let (ports, sequence) = unsafe { (read_volatile(words), read_volatile(words.add(1))) };
        Some(Tcp { syn: Syn { ports, sequence: u32::from_be(sequence) }, length_bytes })
    }

    /// Puts the answer where the question was.
    #[inline(always)]
    fn hold<const N: usize>(&mut self, words: [u32; N]) -> &[u32; N] {
        const { assert!(N <= reply::V6_WORDS) };
        let room: *mut [u32; N] = self.at();
        // SAFETY: as large as the larger answer; alignment is the words' own.
        unsafe {
            room.write(words);
            &*room
        }
    }

    #[inline(always)]
    fn at<T>(&mut self) -> *mut T {
        self.0.as_mut_ptr().cast()
    }
}

/// Cuts the frame to the words behind its Ethernet header, tags kept, and turns it round.
#[inline(always)]
fn send<const N: usize>(ctx: &XdpContext, network: usize, words: &[u32; N]) -> Option<()> {
    let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5]: [u8; 12] = ctx.bytes(0)?;
    let turned = [s0, s1, s2, s3, s4, s5, d0, d1, d2, d3, d4, d5];
    let wanted_bytes = (network + N * 4) as i32;
    let context: *mut xdp_md = ctx.as_ptr().cast();
    // SAFETY: the kernel's context. Pointers into the frame end here; none is used below.
    if unsafe { bpf_xdp_adjust_tail(context, wanted_bytes - ctx.length_bytes() as i32) } != 0 {
        return None;
    }
    let words: *const [u32; N] = words;
    // SAFETY: the helper reads N words of the stack and checks the frame's bounds itself.
    let headers =
        unsafe { bpf_xdp_store_bytes(context, network as u32, words.cast_mut().cast(), N as u32 * 4) };
    let addresses: *const [u8; 12] = &turned;
    // SAFETY: as before, of twelve bytes.
    let turned = unsafe { bpf_xdp_store_bytes(context, 0, addresses.cast_mut().cast(), 12) };
    (headers == 0 && turned == 0).then_some(())
}
