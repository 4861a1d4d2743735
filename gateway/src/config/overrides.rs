//! `[[override]]`: other limits for the clients of some prefixes.

use std::collections::HashSet;

use ipnet::IpNet;

use super::aggregates;
use super::compile::Compiler;
use super::lists::is_a_name;
use super::ports::heaviest;
use super::raw;
use crate::limit::{self, Override};
use crate::plane::{OVERRIDES_MAX, PortRule};

/// A client is a /64.
const V6_LENGTH_MAX: u8 = 64;

/// What an override leaves out is as in `base`.
pub(super) fn overrides(
    compiler: &mut Compiler<'_>,
    raw: &[raw::Override],
    base: &limit::Config,
    rules: &[PortRule],
) -> Vec<Override> {
    let mut names: HashSet<&str> = ["client"].into_iter().collect();
    let mut overrides = Vec::new();
    for one in raw {
        let name = one.name.get_ref();
        if let Err(message) = is_a_name(name) {
            compiler.findings.at(one.name.span(), message);
        } else if !names.insert(name) {
            compiler.findings.at(one.name.span(), format!("`{name}` is the name of another limit"));
        }
        let says = [&one.requests, &one.packets, &one.bytes, &one.syns].into_iter().flatten().count();
        if says == 0 && one.aggregate.is_empty() {
            compiler.findings.at(one.name.span(), format!("`{name}` sets no limit"));
        }
        let prefixes = compiler.prefixes(&Some(one.prefixes.clone()));
        let is_too_long = |net: &&IpNet| matches!(net, IpNet::V6(net) if net.prefix_len() > V6_LENGTH_MAX);
        if let Some(net) = prefixes.iter().find(is_too_long) {
            let message = format!("{net} is part of a client, which is a /64: a prefix is at most that long");
            compiler.findings.at(one.name.span(), message);
        }
        let [requests, packets, bytes, syns] =
            compiler.client_rates(&one.requests, &one.packets, &one.bytes, &one.syns);
        let limits = Override {
            name: name.as_str().into(),
            prefixes,
            requests: requests.or(base.requests),
            packets: packets.or(base.packets),
            bytes: bytes.or(base.bytes),
            syns: syns.or(base.syns),
            aggregates: aggregates::overridden(compiler, &one.aggregate, &base.aggregates, rules),
        };
        let heaviest = heaviest(rules);
        if limits.packets.is_some_and(|packets| packets.burst() < heaviest) {
            let message =
                format!("a packet may cost {heaviest} by its rule, more than the burst of `packets`");
            compiler.findings.at(one.name.span(), message);
        }
        overrides.push(limits);
    }
    if let Some(beyond) = raw.get(OVERRIDES_MAX) {
        compiler.findings.at(beyond.name.span(), format!("at most {OVERRIDES_MAX} overrides"));
    }
    overrides
}
