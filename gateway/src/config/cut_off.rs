//! Holds a configuration against the guard: a line that would cut the host off from its router, its
//! operator or another whom it needs is refused, with its place and whom it would hit.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use ipnet::IpNet;
use toml::Spanned;

use super::error::Findings;
use super::lists::prefix;
use super::{Config, Errors, raw};
use crate::kernel::{Guard, Guarded, Host, HostFacts, Names, Ranges, Why};
use crate::model::Answer;
use crate::store::redis;

/// Refusals that are told; whoever denies everything need not hear of everybody.
const TOLD_MAX: usize = 16;
/// For the addresses of upstreams that are named.
const NAMES_PATIENCE: Duration = Duration::from_secs(2);

impl Config {
    /// Hosts that it names, each once for each API.
    pub fn hosts(&self) -> Vec<Host> {
        let mut hosts = Vec::new();
        for api in &self.catalog.apis {
            if let Answer::Forward(forwarding) = &api.answer {
                hosts.extend(forwarding.upstreams.iter().map(|upstream| Host {
                    authority: upstream.authority.clone(),
                    why: Why::Upstream,
                    from: format!("API {}", api.name),
                }));
            }
        }
        hosts.extend(self.store.iter().flat_map(|store| &store.addresses).map(store_host));
        hosts.sort();
        hosts.dedup();
        hosts
    }
}

/// A server of the store, written down or found by its Sentinels or its Cluster.
pub fn store_host(address: &redis::Address) -> Host {
    Host { authority: address.to_string().into(), why: Why::Store, from: "[store]".to_owned() }
}

/// Whom `config` may not cut off, as this host is now, and `found` beside those whom it names. `names`
/// are renewed.
pub fn find_guard(
    config: &Config,
    found: &[Host],
    sessions: &[IpAddr],
    names: &mut Names,
) -> Result<Guard, Errors> {
    let facts = HostFacts::read()
        .map_err(|error| Errors::unreadable(Path::new("this host's addresses and routes"), &error))?;
    let hosts = [config.hosts().as_slice(), found].concat();
    names.renew(Names::resolve_within(&hosts, NAMES_PATIENCE));
    Ok(Guard::of(&config.kernel, facts, &hosts, names, sessions))
}

/// Refuses a configuration that denies whom `guard` names; `text` is what `config` was made of. Who is
/// in `allow` too is not cut off.
pub fn refuse_cut_off(text: &str, config: &Config, guard: &Guard) -> Result<(), Errors> {
    let allow = Ranges::of(config.kernel.allowed());
    let hit = |net: &IpNet| guard.met_by(net).find(|row| !allow.covers(&row.prefix)).cloned();
    if config.kernel.denied().all(|net| hit(&net).is_none()) {
        return Ok(());
    }
    let mut findings = Findings::new(text, &config.file);
    let raw = raw::parse(text, &config.file)?;
    let mut left = TOLD_MAX;
    let named = |kernel: &raw::Kernel| -> Vec<Spanned<String>> {
        let denies = |list: &&raw::List| list.action.get_ref() == "deny" && !is_dry_run(list);
        kernel.list.iter().filter(denies).flat_map(|list| list.prefixes.clone()).collect()
    };
    let named = raw.kernel.as_ref().map(named).unwrap_or_default();
    for entry in raw.kernel.iter().flat_map(|kernel| &kernel.deny).flatten().chain(&named) {
        match prefix(entry.get_ref()) {
            Some(net) => {
                if let Some(row) = hit(&net).filter(|_| left > 0) {
                    findings.at(entry.span(), refusal(&net, &row));
                    left -= 1;
                }
            }
            None => left = refuse_in_file(entry, config, &mut findings, &hit, left),
        }
    }
    findings.finish()
}

fn is_dry_run(list: &raw::List) -> bool {
    list.dry_run.as_ref().is_some_and(|dry_run| *dry_run.get_ref())
}

/// The lines of a file of prefixes; how many more may be told.
fn refuse_in_file(
    entry: &Spanned<String>,
    config: &Config,
    findings: &mut Findings<'_>,
    hit: &impl Fn(&IpNet) -> Option<Guarded>,
    mut left: usize,
) -> usize {
    let file = config.file.parent().unwrap_or(Path::new("")).join(entry.get_ref());
    let Ok(text) = std::fs::read_to_string(&file) else { return left };
    let mut inner = Findings::new(&text, &file);
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let net = prefix(line.split('#').next().unwrap_or_default().trim());
        if let Some((net, row)) = net.and_then(|net| Some((net, hit(&net)?))).filter(|_| left > 0) {
            inner.at(offset..offset, refusal(&net, &row));
            left -= 1;
        }
        offset += line.len();
    }
    if let Err(errors) = inner.finish() {
        findings.extend(errors);
    }
    left
}

fn refusal(net: &IpNet, row: &Guarded) -> String {
    let verb = if net.contains(&row.prefix) { "covers" } else { "cuts into" };
    format!(
        "deny {net} {verb} {row}, which it would cut off: narrow it, or name {} in `allow`, which wins",
        row.name()
    )
}
