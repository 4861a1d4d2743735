//! Our decisions with their reasons, and the one table that turns them into an action, a counter and
//! a label. To add a reason: a variant here, a row in `LABELS`; counters, events and metrics follow.

use crate::abi::{PORT_RULES, flags};

/// What was decided about a frame, and why. The order is meaning: what passes, what could not be
/// parsed, what is dropped.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    // Passed.
    NoRules = 0,
    NotIp,
    Icmp,
    NoPort,
    OutOfScope,
    LinkLocal,
    Allowed,
    Conforming,
    Unproved,
    /// Beyond the budget, but of an established connection of this host.
    Connected,
    /// Beyond the budget, but it brings a SYN cookie that this host made.
    CookieReturned,
    /// Beyond the budget, but a listener accepts cookies only after a SYN of its own now and then.
    ListenerSyn,
    /// A SYN beyond the budget, answered by a SYN cookie.
    CookieSent,
    // Could not be parsed: left to the stack, or dropped by rule.
    TruncatedEthernet,
    TruncatedVlan,
    VlanDepth,
    TruncatedIpv4,
    BadIpv4,
    TruncatedIpv6,
    BadIpv6,
    TruncatedExtension,
    ExtensionDepth,
    TruncatedTcp,
    BadTcp,
    TruncatedUdp,
    BadUdp,
    // Dropped.
    BadSource,
    Denied,
    Banned,
    Packets,
    Bytes,
    Syns,
    Contended,
    BudgetSyn,
    BudgetTcp,
    BudgetUdp,
    BudgetEcho,
    BudgetFragment,
    Front,
    /// Beyond a limit that its prefix shares.
    Aggregate,
}

/// Labels in the order of [`Verdict`], for metrics and events.
#[cfg(not(target_arch = "bpf"))]
const LABELS: [&str; Verdict::COUNT] = [
    "no_rules",
    "not_ip",
    "icmp",
    "no_port",
    "out_of_scope",
    "link_local",
    "allowed",
    "conforming",
    "unproved",
    "connected",
    "cookie_returned",
    "listener_syn",
    "cookie_sent",
    "truncated_ethernet",
    "truncated_vlan",
    "vlan_depth",
    "truncated_ipv4",
    "bad_ipv4",
    "truncated_ipv6",
    "bad_ipv6",
    "truncated_extension",
    "extension_depth",
    "truncated_tcp",
    "bad_tcp",
    "truncated_udp",
    "bad_udp",
    "bad_source",
    "denied",
    "banned",
    "packets",
    "bytes",
    "syns",
    "contended",
    "budget_syn",
    "budget_tcp",
    "budget_udp",
    "budget_echo",
    "budget_fragment",
    "front",
    "aggregate",
];

/// What XDP returns.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Pass = 0,
    Drop = 1,
    /// Answered by the program itself.
    Tx = 2,
}

/// Cells of `COUNTERS` that a port rule has: one a verdict and action.
pub const RULE_CELLS: u32 = Verdict::COUNT as u32 * Action::STRIDE;
/// Cells of `COUNTERS`: those of each port rule, by its number.
pub const COUNTER_CELLS: u32 = PORT_RULES * RULE_CELLS;

impl Verdict {
    /// Number of verdicts.
    pub const COUNT: usize = Self::Aggregate as usize + 1;

    /// The action under the rules' flags: the one place where a verdict becomes one.
    #[inline(always)]
    pub const fn action(self, rule_flags: u64) -> Action {
        let number = self as u8;
        if number == Self::CookieSent as u8 {
            return Action::Tx;
        }
        let drops = number >= Self::BadSource as u8
            || (number >= Self::TruncatedEthernet as u8 && rule_flags & flags::DROP_MALFORMED != 0);
        if drops && rule_flags & flags::OBSERVE == 0 { Action::Drop } else { Action::Pass }
    }

    /// Whether the path would drop, were it not for observe mode.
    #[inline(always)]
    pub const fn is_drop(self) -> bool {
        self as u8 >= Self::BadSource as u8
    }

    /// The cell of `COUNTERS` for this verdict and action under a port rule.
    #[inline(always)]
    pub const fn cell(self, rule: u8, action: Action) -> u32 {
        rule as u32 * RULE_CELLS + self as u32 * Action::STRIDE + action as u32
    }

    /// Label in metrics, events and text.
    #[cfg(not(target_arch = "bpf"))]
    pub fn label(self) -> &'static str {
        label(self as u8)
    }
}

impl Action {
    /// Cells a verdict has: room for every action, a power of two.
    pub const STRIDE: u32 = 4;
    #[cfg(not(target_arch = "bpf"))]
    const LABELS: [&str; 3] = ["pass", "drop", "tx"];

    #[cfg(not(target_arch = "bpf"))]
    pub fn label(self) -> &'static str {
        Self::LABELS.get(self as usize).copied().unwrap_or("unknown")
    }
}

/// Verdict and action labels of a cell among a rule's; None for the cells that pad.
#[cfg(not(target_arch = "bpf"))]
pub fn cell_labels(cell: u32) -> Option<(&'static str, &'static str)> {
    let verdict = LABELS.get((cell / Action::STRIDE) as usize)?;
    let action = Action::LABELS.get((cell % Action::STRIDE) as usize)?;
    Some((verdict, action))
}

/// The label of a verdict's number, as events carry it.
#[cfg(not(target_arch = "bpf"))]
pub fn label(number: u8) -> &'static str {
    LABELS.get(usize::from(number)).copied().unwrap_or("unknown")
}
