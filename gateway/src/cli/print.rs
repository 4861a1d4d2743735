//! Answers as people read them: aligned, quiet, numbers with units.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use serde_json::json;

use crate::config::{Ceiling, Errors};
use crate::control::{
    Applied, BanView, CensusView, Explained, FleetView, GuardView, KernelView, KeySetView, ListView,
    ListsView, News, ReloadReport, SandboxView, Status, StoreView, UpstreamView, duration_text,
};
use crate::kernel::{Detached, Feature, Found, Interface};
use crate::proxy::CertificateFacts;
use crate::run::Loaded;

/// Writes a line to standard output. False: nobody reads it any more (`weir watch | head`), which is
/// no failure.
pub(super) fn say(line: impl std::fmt::Display) -> bool {
    writeln!(std::io::stdout(), "{line}").is_ok()
}

/// A text under construction; writing to a String does not fail.
#[derive(Default)]
pub(super) struct Text(String);

impl Text {
    pub fn line(&mut self, name: &str, value: impl std::fmt::Display) {
        self.0.write_fmt(format_args!("{name:<12} {value}\n")).unwrap_or(());
    }

    /// Lines that are made already.
    fn block(&mut self, lines: &str) {
        self.0.push_str(lines);
        self.0.push('\n');
    }

    pub fn finish(self) -> String {
        self.0.trim_end().to_owned()
    }
}

pub(super) fn checked(loaded: &Result<Loaded, Errors>, ceiling: Option<&Ceiling>) -> String {
    let (errors, guarded, certificates) = match loaded {
        Ok(loaded) => (json!([]), GuardView::all(&loaded.guard), loaded.config.proxy.certificates()),
        Err(errors) => (json!(errors), Vec::new(), Vec::new()),
    };
    let certificate = |one: &&CertificateFacts| json!({ "file": one.name, "names": one.names, "not_after": one.not_after, "not_after_seconds": one.not_after_s });
    let certificates: Vec<_> = certificates.iter().map(certificate).collect();
    format!(
        "{:#}",
        json!({ "errors": errors, "memory": ceiling, "guarded": guarded, "certificates": certificates })
    )
}

/// Each with its names and its end; `now_s` is Unix time.
pub(super) fn certificates(rows: &[&CertificateFacts], unix_s: u64) -> String {
    let mut text = Text::default();
    for row in rows {
        let names = if row.names.is_empty() { "no DNS name".to_owned() } else { row.names.join(", ") };
        let end = if row.is_expired(unix_s) { "EXPIRED" } else { "until" };
        text.line("certificate", format!("{}: {names}; {end} {}", row.name, row.not_after));
    }
    text.finish()
}

/// `sentinel, up`, or what is wrong.
pub(super) fn store_line(store: &StoreView) -> String {
    let StoreView { kind, state: Some(state), .. } = store else { return store.kind.clone() };
    let since = Duration::from_secs_f64(store.since_seconds.unwrap_or_default());
    let reason = store.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    format!("{kind}, {} for {}{reason}", state.to_uppercase(), duration_text(since))
}

/// Each with what it serves by, and the last fetch's mistake.
pub(super) fn key_sets(rows: &[KeySetView]) -> String {
    let mut text = Text::default();
    for row in rows {
        text.line("key set", &row.url);
        let age = match row.age_seconds {
            Some(seconds) => format!("{} old", duration_text(Duration::from_secs(seconds))),
            None => "none yet".to_owned(),
        };
        let origin = if row.is_pinned { ", from the pinned copy" } else { "" };
        let stale = if row.is_stale { ", STALE" } else { "" };
        let named = if row.keys.is_empty() { String::new() } else { format!(": {}", row.keys.join(" ")) };
        text.line("", format!("{} keys{named}; {} bytes, {age}{origin}{stale}", row.keys.len(), row.bytes));
        let fetching = if row.is_fetching { ", one under way" } else { "" };
        let (fetched, failed, held_off) = (row.fetched, row.failed, row.held_off);
        text.line("", format!("fetched {fetched}, failed {failed}, held off {held_off}{fetching}"));
        for why in &row.left_out {
            text.line("left out", why);
        }
        if let Some(error) = &row.error {
            text.line("error", error);
        }
    }
    if rows.is_empty() {
        text.line("key sets", "none: no API has `auth = { jwt = { jwks = .. } }`");
    }
    text.finish()
}

/// Rows of the guard that people are shown; `--json` has them all.
const GUARDED_SHOWN: usize = 20;

/// Whom the kernel never drops, and why.
pub(super) fn guarded(rows: &[GuardView]) -> String {
    let mut text = Text::default();
    for (idx, row) in rows.iter().take(GUARDED_SHOWN).enumerate() {
        let from = if row.from.is_empty() { String::new() } else { format!(" ({})", row.from) };
        let name = if idx == 0 { "guarded" } else { "" };
        text.line(name, format!("{:<24} {}{from}", row.prefix, row.why.replace('_', " ")));
    }
    if let Some(more) = rows.len().checked_sub(GUARDED_SHOWN).filter(|more| *more > 0) {
        text.line("", format!("and {more} more"));
    }
    text.finish()
}

pub(super) fn status(status: &Status) -> String {
    let mut text = Text::default();
    let uptime = duration_text(Duration::from_secs(status.uptime_seconds));
    text.line("weir", format!("up {uptime}, {}", if status.ready { "ready" } else { "not ready" }));
    let last = &status.config.last_reload;
    let reload = match (&last.error, last.waits_for_restart.as_slice()) {
        (Some(error), _) => format!("WRONG SINCE THE LAST CHANGE, the old one holds:\n{error}"),
        (None, []) => "in force".to_owned(),
        (None, waits) => format!("in force, but for a restart: {}", waits.join(", ")),
    };
    text.line("config", format!("{} {reload}", status.config.file));
    if let Some(seconds) = status.config.reverts_in_seconds {
        text.line("", format!("ANOTHER ONE IS ON TRIAL, this one holds again in {seconds} s"));
    }
    text.line("kernel", kernel_line(&status.kernel));
    for interface in &status.kernel.interfaces {
        let why = interface.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        text.line("", format!("{} ({}){why}", interface.name, interface.mode));
    }
    if let Some(capacity) = status.kernel.clients_capacity {
        text.line("clients", format!("{capacity} entries, proved by {}", status.kernel.proof));
        if let Some(CensusView { entries, proved, owing, evicted_owing }) = status.kernel.clients {
            text.line("", format!("{entries} taken, {proved} proved, {owing} owe"));
            if evicted_owing > 0 {
                text.line(
                    "",
                    format!("about {evicted_owing} were evicted while they owed: raise [kernel] clients"),
                );
            }
        }
    }
    if !status.kernel.guarded.is_empty() {
        text.block(&guarded(&status.kernel.guarded));
    }
    text.line("sandbox", sandbox_line(&status.sandbox));
    let memory = &status.memory;
    text.line(
        "memory",
        format!("{} MiB of at most {} MiB", memory.rss_bytes >> 20, memory.ceiling_bytes.div_ceil(1 << 20)),
    );
    text.line("store", store_line(&status.store));
    let table = &status.table;
    text.line("table", format!("{} of {} slots, {} replaced", table.used, table.capacity, table.replaced));
    for (idx, row) in status.upstreams.iter().take(UPSTREAMS_SHOWN).enumerate() {
        text.line(if idx == 0 { "upstreams" } else { "" }, upstream_line(row));
    }
    if status.upstreams.len() > UPSTREAMS_SHOWN {
        text.line("", format!("and {} more: --json has them all", status.upstreams.len() - UPSTREAMS_SHOWN));
    }
    text.line("connections", status.connections);
    text.line("bans", status.bans);
    if !status.kernel.packets.is_empty() {
        text.line("packets", "");
    }
    for row in &status.kernel.packets {
        let line = format!(
            "{:<20} {:<5} {:>14} packets {:>16} bytes",
            row.verdict, row.action, row.packets, row.bytes
        );
        text.line("", line);
    }
    text.finish()
}

/// Upstreams that people are shown.
const UPSTREAMS_SHOWN: usize = 40;

/// `orders: shop.test:80 at 10.0.0.1:80, ejected for 9 s: answered 503; 0 in flight, 2 connections`.
fn upstream_line(row: &UpstreamView) -> String {
    let at = if row.upstream == row.address { String::new() } else { format!(" at {}", row.address) };
    let left = row.ejected_for_seconds.map(|seconds| format!(" for {seconds} s")).unwrap_or_default();
    let why = row.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    let state = row.state.replace('_', " ");
    let UpstreamView { api, upstream, in_flight, connections, .. } = row;
    format!("{api}: {upstream}{at}, {state}{left}{why}; {in_flight} in flight, {connections} connections")
}

/// `seccomp on, landlock on, user 990`.
fn sandbox_line(sandbox: &SandboxView) -> String {
    let SandboxView { uid, seccomp, landlock, why } = sandbox;
    let why = why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    format!("seccomp {seccomp}, landlock {landlock}, user {uid}{why}")
}

/// The mode, and why; interfaces say it in lines of their own.
fn kernel_line(kernel: &KernelView) -> String {
    let why = if kernel.interfaces.is_empty() { &kernel.why } else { &kernel.note };
    let why = why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    format!("{}{why}", kernel.mode)
}

pub(super) fn explained(explained: &Explained) -> String {
    let mut text = Text::default();
    text.line(&explained.client, &explained.conclusion);
    for list in &explained.lists {
        text.line("list", list);
    }
    if let Some(proved) = explained.proved {
        let passed = explained.passed.unwrap_or(0);
        let dropped = explained.dropped.unwrap_or(0);
        let known = if proved { "proved" } else { "unproved" };
        text.line("kernel", format!("{known}, {passed} packets passed, {dropped} dropped by its limits"));
    }
    if let Some(name) = &explained.limits_of {
        text.line("override", name);
    }
    for word in &explained.words {
        text.line(&word.name, format!("{} of {} left", word.left, word.burst));
    }
    if let Some(view) = &explained.fleet {
        in_fleet(&mut text, view);
    }
    let level = explained.next_shed_level;
    text.line(
        "refusals",
        format!("{} of {} to a shed, next at level {level}", explained.refusals, explained.shed_after),
    );
    text.finish()
}

fn in_fleet(text: &mut Text, view: &FleetView) {
    if let Some(fault) = &view.fault {
        text.line("fleet", format!("other nodes are not known: {fault}"));
    }
    if let Some(share) = view.share {
        text.line("share", format!("{share:.1} requests a second are this node's part of the limit"));
    }
    for node in &view.nodes {
        let here = if node.here { ", this node" } else { "" };
        let name = format!("on {}", node.node);
        text.line(&name, format!("{} admitted, {} offered in a second{here}", node.admitted, node.offered));
    }
}

pub(super) fn bans(rows: &[BanView]) -> String {
    if rows.is_empty() {
        return "no bans".to_owned();
    }
    let line = |row: &BanView| {
        let ends = match (row.ends_in_seconds, &row.ends_at) {
            (Some(seconds), Some(at)) => {
                format!("{:<8} until {at}", duration_text(Duration::from_secs(seconds)))
            }
            _ => "for ever".to_owned(),
        };
        format!("{:<40} {:<8} level {} {ends}", row.client, row.reason, row.level)
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

pub(super) fn lists(view: &ListsView) -> String {
    let line = |list: &ListView| {
        let met = list.packets.map(|packets| format!("{packets:>14} packets")).unwrap_or_default();
        let dry_run = if list.dry_run { "  dry run" } else { "" };
        format!("{:<32} {:>9} prefixes {met}{dry_run}", list.name, list.prefixes)
    };
    let lists = view.lists.iter().map(line);
    let lines: Vec<_> = lists.chain(view.added.iter().map(|prefix| format!("  added {prefix}"))).collect();
    if lines.is_empty() { "no lists".to_owned() } else { lines.join("\n") }
}

pub(super) fn changed_list(list: &ListView) -> String {
    format!("in force: {} prefixes beside the configuration's", list.prefixes)
}

pub(super) fn applied(applied: &Applied) -> String {
    let waits = match applied.waits_for_restart.as_slice() {
        [] => String::new(),
        waits => format!("; these wait for a restart: {}", waits.join(", ")),
    };
    match applied.reverts_in_seconds {
        Some(seconds) => format!(
            "on trial{waits}\nthe old configuration comes back in {}: `weir apply --keep` keeps this one, `weir apply --revert` ends it now",
            duration_text(Duration::from_secs(seconds))
        ),
        None => format!("in force, and in the file{waits}"),
    }
}

pub(super) fn reloaded(report: &ReloadReport) -> String {
    let mut text = if report.changed { "reloaded" } else { "reloaded, nothing changed" }.to_owned();
    for (what, settings) in [
        ("these wait for a restart", &report.waits_for_restart),
        ("maps are changed meanwhile for", &report.under_way),
    ] {
        if !settings.is_empty() {
            text.push_str(&format!("; {what}: {}", settings.join(", ")));
        }
    }
    text
}

pub(super) fn news(news: &News) -> String {
    match news {
        News::Packet { client, verdict, action, port, length_bytes, ifindex } => {
            format!(
                "{action:<5} {verdict:<14} {client:<24} port {port:<5} {length_bytes:>5} bytes  interface {ifindex}"
            )
        }
        News::Banned { client, reason, level, seconds } => {
            let length = seconds.map_or("for ever".to_owned(), |seconds| {
                format!("for {}", duration_text(Duration::from_secs(seconds)))
            });
            format!("ban   {reason:<14} {client:<24} level {level}, {length}")
        }
        News::Unbanned { client } => format!("unban {:<14} {client}", "operator"),
        News::Reloaded { ok: true } => "reload: the new configuration is in force".to_owned(),
        News::Reloaded { ok: false } => "reload: the file is wrong, the old configuration holds".to_owned(),
        News::OnTrial { seconds } => format!("apply: a configuration is on trial for {seconds} s"),
        News::Reverted { why } => format!("apply: the old configuration holds again: {why}"),
        News::Missed { lines } => format!("({lines} lines missed)"),
    }
}

pub(super) fn xdp(interfaces: &[Interface], drops: bool, as_json: bool) -> String {
    if as_json {
        let row = |Interface { name, state, why }: &Interface| json!({ "interface": name, "mode": state.name(), "why": why, "drops": drops });
        return format!("{:#}", json!(interfaces.iter().map(row).collect::<Vec<_>>()));
    }
    if interfaces.is_empty() {
        return "no interface runs this instance's program".to_owned();
    }
    let line = |Interface { name, state, why }: &Interface| {
        format!("{name:<16} {:<10} {}", state.name(), why.as_deref().unwrap_or_default())
            .trim_end()
            .to_owned()
    };
    let note = (!drops).then(|| "nothing is dropped: the watchdog's time is over".to_owned());
    interfaces.iter().map(line).chain(note).collect::<Vec<_>>().join("\n")
}

pub(super) fn probed(rows: &[(Feature, Found)], as_json: bool) -> String {
    let said = |found: &Found| match found {
        Found::Yes => "yes",
        Found::No => "no",
        Found::Unknown(_) => "unknown",
    };
    if as_json {
        let row = |(Feature { name, since, why, .. }, found): &(Feature, Found)| {
            let error = if let Found::Unknown(error) = found { Some(error) } else { None };
            json!({ "feature": name, "since": since, "why": why, "found": said(found), "error": error })
        };
        return format!("{:#}", json!(rows.iter().map(row).collect::<Vec<_>>()));
    }
    let line = |(Feature { name, since, why, .. }, found): &(Feature, Found)| {
        let error = if let Found::Unknown(error) = found { format!(": {error}") } else { String::new() };
        format!("{name:<28} {since:<5} {:<8} {why}{error}", said(found))
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

pub(super) fn detached(detached: &Detached, as_json: bool) -> String {
    if as_json {
        let Detached { interfaces, everything } = detached;
        return format!("{:#}", json!({ "interfaces": interfaces, "everything": everything }));
    }
    let from = if detached.interfaces.is_empty() {
        "no interface".to_owned()
    } else {
        detached.interfaces.join(", ")
    };
    let rest = if detached.everything { "; maps and programs removed" } else { "; maps stay for the others" };
    format!("detached from {from}{rest}")
}
