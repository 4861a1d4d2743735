//! Who a request comes from, after the trusted-proxy rules.

use ipnet::IpNet;
use weir_ebpf::abi::ClientKey;

/// A client and how it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    pub key: ClientKey,
    pub origin: Origin,
}

/// The addresses that a key stands for: an IPv4 address, an IPv6 /64.
pub fn prefix_of(key: ClientKey) -> IpNet {
    let length = if key.is_v4() { 32 } else { 64 };
    IpNet::new_assert(key.address(), length)
}

/// How a client's address is known; decides the plane that may hold its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It is the socket's peer: its entry may be the kernel's, and it may be shed.
    Peer,
    /// A trusted proxy named it: held in the process table, never shed.
    Forwarded,
}
