//! Lists of prefixes: texts with a prefix or an address a line, and `[[kernel.list]]`.

use std::collections::HashSet;
use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;
use toml::Spanned;
use weir_ebpf::abi::{PREFIXES_MAX, Sentence};

use super::Errors;
use super::compile::Compiler;
use super::error::Findings;
use super::raw;
use crate::kernel;
use crate::plane::{LISTS_MAX, List};

/// Bad lines of one file that are told.
const TOLD_MAX: usize = 16;
/// Characters of a bad line that are shown.
const SHOWN_MAX: usize = 60;
/// Of a name: it is a label of metrics.
const NAME_BYTES_MAX: usize = 48;

/// A prefix with its host bits cleared, or an address as a prefix of itself.
pub(super) fn prefix(text: &str) -> Option<IpNet> {
    let net = text.parse::<IpNet>().ok().map(|net| net.trunc());
    net.or_else(|| text.parse::<IpAddr>().ok().map(|address| IpNet::from(address.to_canonical())))
}

/// The prefixes of a text, one or an address a line; `#` begins a comment. `name` is what errors name.
pub fn parse_prefixes(text: &str, name: &Path) -> Result<Vec<IpNet>, Errors> {
    let mut findings = Findings::new(text, name);
    let mut prefixes = Vec::new();
    let mut bad = 0;
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let written = line.split('#').next().unwrap_or_default().trim();
        match prefix(written) {
            Some(prefix) => prefixes.push(prefix),
            None if written.is_empty() => {}
            None => {
                bad += 1;
                let shown = written.get(..written.floor_char_boundary(SHOWN_MAX)).unwrap_or(written);
                if bad <= TOLD_MAX {
                    findings.at(offset..offset, format!("`{shown}` is no address and no prefix"));
                }
            }
        }
        offset += line.len();
    }
    if bad > TOLD_MAX {
        findings.at(text.len()..text.len(), format!("and {} more bad lines", bad - TOLD_MAX));
    }
    findings.finish().map(|()| prefixes)
}

/// `[[kernel.list]]`.
pub(super) fn lists(compiler: &mut Compiler<'_>, raw: &[raw::List]) -> Vec<List> {
    const ACTIONS: [(&str, Sentence); 2] = [("allow", Sentence::Allow), ("deny", Sentence::Deny)];
    let mut names: HashSet<&str> =
        ["allow", "management", "trusted_proxies", "guard", "deny"].into_iter().collect();
    let mut lists = Vec::new();
    for list in raw {
        let name = list.name.get_ref();
        if let Err(message) = is_a_name(name) {
            compiler.findings.at(list.name.span(), message);
        } else if !names.insert(name) {
            compiler.findings.at(list.name.span(), format!("`{name}` is the name of another list"));
        }
        let action = compiler.word(&Some(list.action.clone()), "action", &ACTIONS);
        let dry_run = list.dry_run.as_ref().is_some_and(|dry_run| *dry_run.get_ref());
        let sentence = match (action, dry_run) {
            (Some(Sentence::Allow), true) => {
                let span = list.dry_run.as_ref().map_or(0..0, Spanned::span);
                compiler.findings.at(span, "what an allow list would do cannot be tried: it drops nothing");
                continue;
            }
            (Some(_), true) => Sentence::Observe,
            (Some(sentence), false) => sentence,
            (None, _) => continue,
        };
        let prefixes = compiler.prefixes(&Some(list.prefixes.clone()));
        lists.push(List::new(name, sentence, prefixes));
    }
    if let Some(first) = raw.get(LISTS_MAX) {
        compiler.findings.at(first.name.span(), format!("at most {LISTS_MAX} lists"));
    }
    lists
}

/// The sum of all lists against `prefixes`, which is what the memory ceiling reckons with.
pub(super) fn check_capacity(compiler: &mut Compiler<'_>, raw: &raw::Raw, kernel: &kernel::Config) {
    let n_prefixes = kernel.n_prefixes();
    if n_prefixes <= kernel.prefixes as usize {
        return;
    }
    let spans = raw.kernel.iter().flat_map(|raw| {
        let lists = [&raw.deny, &raw.allow, &raw.management].into_iter().flatten().flatten();
        let spans = raw.prefixes.iter().map(Spanned::span).chain(lists.map(Spanned::span));
        spans.chain(raw.list.iter().map(|list| list.name.span()))
    });
    let mut spans = spans.chain(raw.r#override.iter().map(|one| one.name.span()));
    let span = spans.next().unwrap_or(0..0);
    compiler.findings.at(
        span,
        format!(
            "the lists hold {n_prefixes} prefixes, and `prefixes` is {}: raise it (at most {PREFIXES_MAX})",
            kernel.prefixes
        ),
    );
}

/// Names of lists, rules and overrides, or why this is none.
pub(super) fn is_a_name(name: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || ['-', '_', '.'].contains(&c);
    if !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.chars().all(fits) {
        return Ok(());
    }
    Err(format!("a name is 1 to {NAME_BYTES_MAX} of letters, digits, - _ and ."))
}
