//! `[fleet]`: how this node takes part in the fleet that `[store]` makes.

use toml::Spanned;

use super::compile::Compiler;
use super::raw::Raw;
use crate::fleet::Config;

/// What is left out has its default; without a store there is no fleet.
pub(super) fn fleet(compiler: &mut Compiler<'_>, raw: &Raw) -> Config {
    let mut fleet = Config::default();
    let Some(written) = &raw.fleet else { return fleet };
    if raw.store.is_none() {
        compiler
            .findings
            .at(written.span(), "`fleet` needs [store]: nodes are a fleet by the Redis they share");
    }
    let written = written.get_ref();
    if let Some(node) = written.node.as_ref().filter(|node| node.get_ref() != "auto") {
        let name = node.get_ref();
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if name.is_empty() || name.len() > Config::NODE_BYTES_MAX || !name.bytes().all(is_name) {
            let most = Config::NODE_BYTES_MAX;
            let message = format!("`node` is \"auto\" or a name of letters, digits, - _ . ({most} at most)");
            compiler.findings.at(node.span(), message);
        }
        fleet.node = Some(name.clone());
    }
    if let Some(period) = written.period.as_ref()
        && let Some(time) = compiler.time(period)
    {
        if !Config::PERIODS.contains(&time) {
            let message = "`period` is 20ms to 150ms: shorter costs the store, longer lets more through";
            compiler.findings.at(period.span(), message);
        }
        fleet.period = time;
    }
    on_partition(compiler, written.on_partition.as_ref());
    fleet
}

fn on_partition(compiler: &mut Compiler<'_>, raw: Option<&Spanned<String>>) {
    let Some(raw) = raw else { return };
    match raw.get_ref().as_str() {
        "local" => {}
        "share" | "closed" => {
            let message =
                "`on_partition` is \"local\" in this version: a new client has its limit on each node";
            compiler.findings.at(raw.span(), message);
        }
        _ => compiler.findings.at(raw.span(), "`on_partition` is \"local\""),
    }
}
