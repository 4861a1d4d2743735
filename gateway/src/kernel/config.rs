//! `[kernel]`.

use std::path::PathBuf;

use ipnet::IpNet;

/// What the kernel plane is told. Rates of the client are `limit::Config`'s.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub interfaces: Interfaces,
    pub mode: ModeWanted,
    /// Entries of CLIENTS and of the process table; at least 4,096.
    pub clients: u32,
    /// Ports beside the listeners'.
    pub protect: Vec<Port>,
    /// Free of every per-client limit, in both planes.
    pub allow: Vec<IpNet>,
    pub deny: Vec<IpNet>,
    /// Never dropped in the kernel; their requests are limited as anyone's.
    pub management: Vec<IpNet>,
    pub guard_own_addresses: bool,
    pub unproved: Unproved,
    /// Answer SYNs beyond the budget by SYN cookies; wants net.ipv4.tcp_syncookies=2, which is set then.
    pub syn_cookies: bool,
    /// Entries of BANS.
    pub bans: u32,
    /// Without the layout version, which is appended.
    pub pin_dir: PathBuf,
    pub observe: bool,
    /// `malformed = "drop"`: frames that cannot be parsed are dropped instead of left to the stack.
    pub drop_malformed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Interfaces {
    /// Those that carry a listener's address; for 0.0.0.0 and [::] every one that is up, but lo.
    Auto,
    Named(Vec<String>),
}

/// `mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModeWanted {
    /// Native, else generic, else none, each said loudly.
    Auto,
    /// Native or exit 3.
    Native,
    /// Generic or exit 3.
    Generic,
    Off,
}

/// A protected port: `tcp/443`, `udp/53`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    pub protocol: Protocol,
    pub number: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    Tcp,
    Udp,
}

/// Packets a second and core that sources without a finished handshake may pass together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unproved {
    pub syn: u64,
    pub tcp: u64,
    pub other: u64,
    /// SYN cookies sent a second and core.
    pub cookies: u64,
}

impl Default for Unproved {
    fn default() -> Self {
        Self { syn: 20_000, tcp: 20_000, other: 20_000, cookies: 500_000 }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            interfaces: Interfaces::Auto,
            mode: ModeWanted::Auto,
            clients: weir_ebpf::abi::CLIENTS_DEFAULT,
            protect: Vec::new(),
            allow: Vec::new(),
            deny: Vec::new(),
            management: Vec::new(),
            guard_own_addresses: true,
            unproved: Unproved::default(),
            syn_cookies: false,
            bans: weir_ebpf::abi::BANS_DEFAULT,
            pin_dir: PathBuf::from("/sys/fs/bpf/weir"),
            observe: false,
            drop_malformed: false,
        }
    }
}
