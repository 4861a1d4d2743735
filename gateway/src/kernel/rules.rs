//! The configuration as the packet path applies it.

use std::net::SocketAddr;

use ipnet::IpNet;
use weir_ebpf::abi::{CLASSES, Rules, Sentence, WORDS, flags};
use weir_ebpf::gcra::Limit;
use weir_ebpf::scope::PortCell;

use super::{Config, Guard, Protocol, Unproved};
use crate::limit;
use crate::model::Rate;
use crate::plane::{Additions, Aggregate, LimitRow, List, Wanted, jiffies_hz};

/// The longest tick of the budgets: a flood that spends one waits for the next.
const TICK_MAX_MS: u64 = 4;
/// An epoch of SEEN at most, and more than half of this: a client is known for one epoch after its last
/// packet, and forgotten after two; then its socket or its next handshake makes it known again.
const EPOCH_SECONDS: u64 = 66;
/// Sampled events of a CPU in a tick: a thousand a second at 250 Hz.
const EVENTS_PER_TICK: u64 = 4;

/// Unproved sources a second and core that may get an entry of their own: as many as the default budget of
/// a class can bring to the debt that earns one.
const PROMOTIONS: u64 = 2_500;

/// Rules, ports and lists for the maps. `listeners` with the ports they really have.
pub fn wanted(
    config: &Config,
    limit: &limit::Config,
    trusted_proxies: &[IpNet],
    listeners: &[SocketAddr],
    guard: &Guard,
    additions: &Additions,
) -> Wanted {
    let hz = jiffies_hz();
    let rule_flags = [
        (config.observe, flags::OBSERVE),
        (config.drop_malformed, flags::DROP_MALFORMED),
        (config.syn_cookies, flags::SYN_COOKIES),
    ];
    let tick_shift = tick_shift(hz);
    let rules = Rules {
        limits: limits([limit.packets, limit.bytes, limit.syns, limit.requests]),
        budget: budgets(&config.unproved, hz, tick_shift),
        tick_shift,
        events_per_tick: EVENTS_PER_TICK,
        seed: 0,
        flags: rule_flags.into_iter().filter(|(on, _)| *on).fold(0, |flags, (_, flag)| flags | flag),
        epoch_shift: epoch_shift(hz),
        promotions_per_tick: per_tick(PROMOTIONS, hz, tick_shift),
        cookies_per_tick: per_tick(config.unproved.cookies, hz, tick_shift),
        lists: 0,
        scope: 0,
        place: 0,
    };
    Wanted {
        rules,
        ports: ports(config, listeners),
        port_rules: config.rules.clone(),
        own: guard.own().to_vec(),
        overrides: limit.overrides.iter().map(limit_row).collect(),
        aggregates: aggregates(&limit.aggregates),
        lists: lists(config, trusted_proxies, guard, additions),
    }
}

fn limits(rates: [Option<Rate>; WORDS]) -> [Limit; WORDS] {
    rates.map(|rate| rate.as_ref().map_or(Limit::NONE, Rate::limit))
}

fn limit_row(one: &limit::Override) -> LimitRow {
    LimitRow {
        name: one.name.to_string(),
        prefixes: one.prefixes.clone(),
        limits: limits([one.packets, one.bytes, one.syns, one.requests]),
        aggregates: aggregates(&one.aggregates),
    }
}

fn aggregates(limited: &[limit::Aggregate]) -> Vec<Aggregate> {
    limited.iter().map(limit::Aggregate::in_plane).collect()
}

/// Every list that names somebody. Where several say the same of a source, the first counts it.
fn lists(config: &Config, trusted_proxies: &[IpNet], guard: &Guard, additions: &Additions) -> Vec<List> {
    let found: Vec<_> = guard.prefixes().collect();
    let settings = [
        ("allow", Sentence::Allow, &config.allow[..]),
        ("management", Sentence::Allow, &config.management),
        ("trusted_proxies", Sentence::Allow, trusted_proxies),
        ("guard", Sentence::Allow, &found),
        ("deny", Sentence::Deny, &config.deny),
    ];
    let settings = settings.into_iter().filter(|(.., prefixes)| !prefixes.is_empty());
    let settings =
        settings.map(|(name, sentence, prefixes)| List::new(name, sentence, prefixes.iter().copied()));
    settings.chain(config.lists.iter().cloned()).chain(additions.lists()).collect()
}

fn ports(config: &Config, listeners: &[SocketAddr]) -> Vec<PortCell> {
    let protected = config.protect.iter().map(|port| match port.protocol {
        Protocol::Tcp => PortCell::tcp(port.number),
        Protocol::Udp => PortCell::udp(port.number),
    });
    let mut cells: Vec<_> =
        listeners.iter().map(|listener| PortCell::tcp(listener.port())).chain(protected).collect();
    if !cells.is_empty() || !config.rules.is_empty() {
        cells.push(PortCell::FRAGMENT);
    }
    cells
}

/// The largest power of two of jiffies within [`TICK_MAX_MS`], as a shift; a single jiffy where even that is longer.
fn tick_shift(hz: u64) -> u64 {
    let jiffies = (hz * TICK_MAX_MS / 1_000).max(1);
    u64::from(jiffies.ilog2())
}

/// The largest power of two of jiffies within [`EPOCH_SECONDS`], as a shift.
fn epoch_shift(hz: u64) -> u64 {
    u64::from((hz * EPOCH_SECONDS).max(1).ilog2())
}

/// Packets a tick from packets a second, rounded up so that no class is closed.
fn budgets(unproved: &Unproved, hz: u64, tick_shift: u64) -> [u64; CLASSES] {
    let Unproved { syn, tcp, udp, echo, fragments, apart, .. } = *unproved;
    [syn, tcp, udp, echo, fragments, apart].map(|rate| per_tick(rate, hz, tick_shift))
}

fn per_tick(rate: u64, hz: u64, tick_shift: u64) -> u64 {
    (rate << tick_shift).div_ceil(hz.max(1))
}
