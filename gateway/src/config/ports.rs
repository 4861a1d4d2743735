//! `[[kernel.rule]]`: ports with a name, counters, weights, a budget or a dry run of their own.

use std::collections::{HashMap, HashSet};

use toml::{Spanned, Value};
use weir_ebpf::abi::{self, Class, PortRow, flags};
use weir_ebpf::scope::PortCell;

use super::compile::Compiler;
use super::lists::is_a_name;
use super::raw;
use crate::limit;
use crate::plane::{PORT_RULES_MAX, PortRule};

/// Kinds of packets by their names in a file.
const KINDS: [(&str, Class); 5] = [
    ("syn", Class::Syn),
    ("tcp", Class::Tcp),
    ("udp", Class::Udp),
    ("echo", Class::Echo),
    ("fragments", Class::Fragment),
];
const CLASSES: [(&str, Class); 6] = [
    ("syn", Class::Syn),
    ("tcp", Class::Tcp),
    ("udp", Class::Udp),
    ("echo", Class::Echo),
    ("fragments", Class::Fragment),
    ("apart", Class::Apart),
];

pub(super) fn rules(compiler: &mut Compiler<'_>, raw: &[raw::Rule], limit: &limit::Config) -> Vec<PortRule> {
    let mut names: HashSet<&str> = ["none", "default"].into_iter().collect();
    let mut owners: HashMap<PortCell, &str> = HashMap::new();
    let mut rules = Vec::new();
    for rule in raw {
        let name = rule.name.get_ref();
        if let Err(message) = is_a_name(name) {
            compiler.findings.at(rule.name.span(), message);
        } else if !names.insert(name) {
            compiler.findings.at(rule.name.span(), format!("`{name}` is the name of another rule"));
        }
        let mut cells = Vec::new();
        for ports in &rule.ports {
            let Some(named) = cells_of(ports.get_ref()) else {
                compiler.findings.at(
                    ports.span(),
                    "ports are tcp/PORT, udp/PORT, a range as in \"udp/5000-5100\", \"icmp/echo\" or \"fragments\"",
                );
                continue;
            };
            for cell in &named {
                if let Some(owner) = owners.insert(*cell, name) {
                    let message = format!("`{}` meets ports of the rule `{owner}`", ports.get_ref());
                    compiler.findings.at(ports.span(), message);
                    break;
                }
            }
            cells.extend(named);
        }
        let class = compiler.word(&rule.class, "class", &CLASSES);
        let dry_run = rule.dry_run.as_ref().is_some_and(|dry_run| *dry_run.get_ref());
        let row = PortRow {
            weights: weights(compiler, rule, limit),
            class: class.map_or(0, |class| class as u8 + 1),
            flags: if dry_run { flags::OBSERVE as u8 } else { 0 },
        };
        rules.push(PortRule { name: name.clone(), cells, row });
    }
    if let Some(beyond) = raw.get(PORT_RULES_MAX) {
        compiler.findings.at(beyond.name.span(), format!("at most {PORT_RULES_MAX} rules"));
    }
    rules
}

/// The cells of a port, a range, or of what has no port.
pub(super) fn cells_of(text: &str) -> Option<Vec<PortCell>> {
    match text {
        "icmp/echo" => return Some(vec![PortCell::ECHO]),
        "fragments" => return Some(vec![PortCell::FRAGMENT]),
        _ => {}
    }
    let (protocol, ports) = text.split_once('/')?;
    let of: fn(u16) -> PortCell = match protocol {
        "tcp" => PortCell::tcp,
        "udp" => PortCell::udp,
        _ => return None,
    };
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
    (first != 0 && first <= last).then(|| (first..=last).map(of).collect())
}

/// The most that a packet costs by its rule.
pub(super) fn heaviest(rules: &[PortRule]) -> u64 {
    rules.iter().flat_map(|rule| rule.row.weights).max().map_or(1, u64::from)
}

/// A number for every packet, or a table by kind; 1 where nothing is said.
fn weights(compiler: &mut Compiler<'_>, rule: &raw::Rule, limit: &limit::Config) -> [u8; abi::CLASSES] {
    let mut weights = PortRow::default().weights;
    let Some(raw) = &rule.weight else { return weights };
    let said: Option<Vec<(Class, u8)>> = match raw.get_ref() {
        Value::Integer(_) => {
            weight_of(raw.get_ref()).map(|weight| KINDS.iter().map(|(_, kind)| (*kind, weight)).collect())
        }
        Value::Table(table) => {
            let kind_of = |name: &String| KINDS.iter().find(|(kind, _)| kind == name).map(|(_, kind)| *kind);
            table.iter().map(|(name, value)| Some((kind_of(name)?, weight_of(value)?))).collect()
        }
        _ => None,
    };
    let Some(said) = said else {
        compiler
            .findings
            .at(raw.span(), "`weight` is 1 to 255, or a table of them by syn, tcp, udp, echo and fragments");
        return weights;
    };
    for (kind, weight) in said {
        if let Some(place) = weights.get_mut(kind as usize) {
            *place = weight;
        }
    }
    check_burst(compiler, raw, &weights, limit);
    weights
}

fn weight_of(value: &Value) -> Option<u8> {
    value.as_integer().and_then(|weight| u8::try_from(weight).ok()).filter(|weight| *weight > 0)
}

/// What costs more than the burst never passes.
fn check_burst(
    compiler: &mut Compiler<'_>,
    raw: &Spanned<Value>,
    weights: &[u8; abi::CLASSES],
    limit: &limit::Config,
) {
    let heaviest = weights.iter().copied().max().map_or(1, u64::from);
    if limit.packets.is_some_and(|packets| heaviest > packets.burst()) {
        let message = format!(
            "a packet would cost {heaviest}, more than the burst of [limit.client] packets, and never pass"
        );
        compiler.findings.at(raw.span(), message);
    }
}
