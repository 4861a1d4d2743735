//! `[[limit.aggregate]]`: limits above the single client, and what an override makes of them.

use std::collections::HashSet;

use toml::Spanned;
use weir_ebpf::abi::{self, AGGREGATES_MAX};

use super::compile::Compiler;
use super::error::nearest;
use super::lists::is_a_name;
use super::ports::{cells_of, heaviest};
use super::raw;
use crate::limit::Aggregate;
use crate::model::Rate;
use crate::plane::{AggregatePorts, AggregatePrefix, PortRule};

const PREFIXES: [(&str, AggregatePrefix); 3] = [
    ("v4/24", AggregatePrefix::V4Net24),
    ("v6/56", AggregatePrefix::V6Net56),
    ("v6/48", AggregatePrefix::V6Net48),
];

/// More would be a mistake in a number.
const CAPACITY_MAX: u64 = 64 << 20;

pub(super) fn aggregates(
    compiler: &mut Compiler<'_>,
    raw: &[raw::Aggregate],
    rules: &[PortRule],
) -> Vec<Aggregate> {
    let mut names: HashSet<&str> = HashSet::new();
    let mut aggregates: Vec<Aggregate> = Vec::new();
    for one in raw {
        let name = one.name.get_ref();
        if let Err(message) = is_a_name(name) {
            compiler.findings.at(one.name.span(), message);
        } else if !names.insert(name) {
            compiler.findings.at(one.name.span(), format!("`{name}` is the name of another aggregate"));
        }
        let prefix = compiler.word(&Some(one.prefix.clone()), "prefix", &PREFIXES);
        let ports = ports(compiler, one);
        let packets = packets(compiler, &one.packets, rules);
        let (Some(prefix), Some(ports), Some(packets)) = (prefix, ports, packets) else { continue };
        if let Some(other) =
            aggregates.iter().find(|other| other.prefix == prefix && meet(other.ports, ports))
        {
            let message = format!("`{name}` and `{}` would count the same packets in one word", other.name);
            compiler.findings.at(one.name.span(), message);
        }
        let of_family = aggregates.iter().filter(|other| other.prefix.is_v4() == prefix.is_v4()).count();
        if of_family == AGGREGATES_MAX as usize {
            let message =
                format!("at most {AGGREGATES_MAX} aggregates of a family: each costs a packet a look-up");
            compiler.findings.at(one.name.span(), message);
        }
        aggregates.push(Aggregate { name: name.as_str().into(), prefix, ports, packets });
    }
    aggregates
}

/// Words of AGGREGATES that the kernel plane has to hold.
pub(super) fn capacity(compiler: &mut Compiler<'_>, raw: Option<&raw::Kernel>, limited: &[Aggregate]) -> u32 {
    let least = u64::from(abi::AGGREGATES_MIN);
    let said = raw.and_then(|raw| compiler.within(&raw.aggregates, "aggregates", least..=CAPACITY_MAX));
    if limited.is_empty() { 0 } else { said.unwrap_or(abi::AGGREGATES_DEFAULT) }
}

/// What holds for an override's clients: an aggregate that it names has the limit that it gives, or none.
pub(super) fn overridden(
    compiler: &mut Compiler<'_>,
    raw: &[raw::OverAggregate],
    base: &[Aggregate],
    rules: &[PortRule],
) -> Vec<Aggregate> {
    let mut held = base.to_vec();
    let mut names: HashSet<&str> = HashSet::new();
    for over in raw {
        let name = over.name.get_ref();
        if !base.iter().any(|one| &*one.name == name) {
            let hint = nearest(name, base.iter().map(|one| &*one.name));
            let hint = hint.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
            compiler.findings.at(over.name.span(), format!("no [[limit.aggregate]] is named `{name}`{hint}"));
        } else if !names.insert(name) {
            compiler.findings.at(over.name.span(), format!("`{name}` stands twice"));
        }
        match &over.packets {
            None => held.retain(|one| &*one.name != name),
            Some(raw) => {
                let Some(packets) = packets(compiler, raw, rules) else { continue };
                if let Some(one) = held.iter_mut().find(|one| &*one.name == name) {
                    one.packets = packets;
                }
            }
        }
    }
    held
}

/// Whether some packet counts in the same word for both.
fn meet(one: AggregatePorts, other: AggregatePorts) -> bool {
    use AggregatePorts::{Each, Only};
    one == other || matches!((one, other), (Each, Only(_)) | (Only(_), Each))
}

fn packets(compiler: &mut Compiler<'_>, raw: &Spanned<raw::RateBurst>, rules: &[PortRule]) -> Option<Rate> {
    let packets = compiler.rate(&raw.get_ref().rate, &raw.get_ref().burst)?;
    let heaviest = heaviest(rules);
    if packets.burst() < heaviest {
        let message = format!("a packet may cost {heaviest} by its rule, more than this burst");
        compiler.findings.at(raw.get_ref().burst.span(), message);
    }
    Some(packets)
}

fn ports(compiler: &mut Compiler<'_>, raw: &raw::Aggregate) -> Option<AggregatePorts> {
    let Some(port) = &raw.port else { return Some(AggregatePorts::Together) };
    if port.get_ref() == "each" {
        return Some(AggregatePorts::Each);
    }
    match cells_of(port.get_ref()).as_deref() {
        Some([cell]) => Some(AggregatePorts::Only(*cell)),
        Some(_) | None => {
            let message =
                "`port` is \"each\", or one port: tcp/PORT, udp/PORT, \"icmp/echo\" or \"fragments\"";
            compiler.findings.at(port.span(), message);
            None
        }
    }
}
