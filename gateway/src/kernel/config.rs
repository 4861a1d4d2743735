//! `[kernel]`.

use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use weir_ebpf::abi::Sentence;

use crate::plane::{List, PortRule};

/// What the kernel plane is told. Rates of the client are `limit::Config`'s.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub interfaces: Interfaces,
    pub mode: ModeWanted,
    /// Entries of CLIENTS and of the process table; at least 4,096.
    pub clients: u32,
    /// Ports beside the listeners'.
    pub protect: Vec<Port>,
    /// `[[kernel.rule]]`: ports with terms of their own.
    pub rules: Vec<PortRule>,
    /// Free of every per-client limit, in both planes.
    pub allow: Vec<IpNet>,
    pub deny: Vec<IpNet>,
    /// `[[kernel.list]]`: lists with a name and counters of their own.
    pub lists: Vec<List>,
    /// Prefixes of the overrides, which share the lists' tries.
    pub overridden: usize,
    /// Prefixes of all lists and overrides together, at most.
    pub prefixes: u32,
    /// Never dropped in the kernel; their requests are limited as anyone's.
    pub management: Vec<IpNet>,
    pub guard_own_addresses: bool,
    pub unproved: Unproved,
    /// Answer SYNs beyond the budget by SYN cookies; wants net.ipv4.tcp_syncookies=2, which is set then.
    pub syn_cookies: bool,
    /// Entries of BANS.
    pub bans: u32,
    /// Words of AGGREGATES; 0 where there are no limits above the single client.
    pub aggregates: u32,
    /// Without the layout version, which is appended.
    pub pin_dir: PathBuf,
    pub observe: bool,
    /// `malformed = "drop"`: frames that cannot be parsed are dropped instead of left to the stack.
    pub drop_malformed: bool,
    /// Without a keeper for so long nothing is dropped any more; None: dropping goes on.
    pub watchdog: Option<Duration>,
}

impl Config {
    /// Prefixes of every list and of `management`.
    pub fn n_prefixes(&self) -> usize {
        let named: usize = self.lists.iter().map(|list| list.prefixes.len()).sum();
        self.allow.len() + self.deny.len() + self.management.len() + named + self.overridden
    }

    /// Free of every per-client limit: `allow` and each list that allows.
    pub fn allowed(&self) -> impl Iterator<Item = IpNet> + '_ {
        self.allow.iter().chain(self.named(Sentence::Allow)).copied()
    }

    /// Dropped: `deny` and each list that denies; not those in dry run.
    pub fn denied(&self) -> impl Iterator<Item = IpNet> + '_ {
        self.deny.iter().chain(self.named(Sentence::Deny)).copied()
    }

    fn named(&self, sentence: Sentence) -> impl Iterator<Item = &IpNet> {
        self.lists.iter().filter(move |list| list.sentence == sentence).flat_map(|list| &list.prefixes)
    }
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
    pub udp: u64,
    pub echo: u64,
    pub fragments: u64,
    /// Of port rules that ask for it.
    pub apart: u64,
    /// SYN cookies sent a second and core.
    pub cookies: u64,
}

impl Default for Unproved {
    fn default() -> Self {
        Self {
            syn: 20_000,
            tcp: 20_000,
            udp: 20_000,
            echo: 20_000,
            fragments: 20_000,
            apart: 20_000,
            cookies: 500_000,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            interfaces: Interfaces::Auto,
            mode: ModeWanted::Auto,
            clients: weir_ebpf::abi::CLIENTS_DEFAULT,
            protect: Vec::new(),
            rules: Vec::new(),
            allow: Vec::new(),
            deny: Vec::new(),
            lists: Vec::new(),
            overridden: 0,
            prefixes: weir_ebpf::abi::PREFIXES_DEFAULT,
            management: Vec::new(),
            guard_own_addresses: true,
            unproved: Unproved::default(),
            syn_cookies: false,
            bans: weir_ebpf::abi::BANS_DEFAULT,
            aggregates: 0,
            pin_dir: PathBuf::from("/sys/fs/bpf/weir"),
            observe: false,
            drop_malformed: false,
            watchdog: None,
        }
    }
}
