//! `[kernel]`.

use std::path::PathBuf;
use std::time::Duration;

use toml::{Spanned, Value};
use weir_ebpf::abi::PREFIXES_MAX;

use super::compile::Compiler;
use super::lists::{self, prefix};
use super::raw::{self, Any, Flag, Text};
use super::units;
use crate::kernel::{self, Interfaces, ModeWanted, Port, Protocol, Unproved};

/// More would be a mistake in a number: 64 Mi entries are 9 GB.
const CLIENTS_MAX: u64 = 64 << 20;
/// The keeper renews its lease four times in it.
const WATCHDOG_MIN: Duration = Duration::from_secs(1);
/// IFNAMSIZ without its end.
const INTERFACE_BYTES_MAX: usize = 15;

/// What is left out is as `kernel::Config` has it.
pub(super) fn compile(compiler: &mut Compiler<'_>, raw: Option<&raw::Kernel>) -> kernel::Config {
    let mut kernel = kernel::Config::default();
    let Some(raw) = raw else { return kernel };
    kernel.interfaces = interfaces(compiler, &raw.interfaces);
    const MODES: [(&str, ModeWanted); 4] = [
        ("auto", ModeWanted::Auto),
        ("native", ModeWanted::Native),
        ("generic", ModeWanted::Generic),
        ("off", ModeWanted::Off),
    ];
    kernel.mode = compiler.word(&raw.mode, "mode", &MODES).unwrap_or(kernel.mode);
    const MALFORMED: [(&str, bool); 2] = [("pass", false), ("drop", true)];
    kernel.drop_malformed =
        compiler.word(&raw.malformed, "malformed", &MALFORMED).unwrap_or(kernel.drop_malformed);
    let least = u64::from(weir_ebpf::abi::CLIENTS_MIN);
    kernel.clients = compiler.within(&raw.clients, "clients", least..=CLIENTS_MAX).unwrap_or(kernel.clients);
    kernel.bans = compiler.within(&raw.bans, "bans", 1..=CLIENTS_MAX).unwrap_or(kernel.bans);
    kernel.protect = raw.protect.iter().flatten().filter_map(|raw| port(compiler, raw)).collect();
    kernel.allow = compiler.prefixes(&raw.allow);
    kernel.deny = compiler.prefixes(&raw.deny);
    kernel.management = compiler.prefixes(&raw.management);
    not_both(compiler, raw, &kernel);
    kernel.lists = lists::lists(compiler, &raw.list);
    kernel.prefixes =
        compiler.within(&raw.prefixes, "prefixes", 1..=PREFIXES_MAX.into()).unwrap_or(kernel.prefixes);
    kernel.guard_own_addresses = flag(&raw.guard_own_addresses, kernel.guard_own_addresses);
    kernel.observe = flag(&raw.observe, kernel.observe);
    kernel.unproved = unproved(compiler, raw.unproved.as_ref());
    kernel.syn_cookies = flag(&raw.syn_cookies, kernel.syn_cookies);
    kernel.watchdog = raw.watchdog.as_ref().and_then(|raw| watchdog(compiler, raw));
    if let Some(pin_dir) = &raw.pin_dir {
        kernel.pin_dir = PathBuf::from(pin_dir.get_ref());
        if !kernel.pin_dir.is_absolute() {
            compiler.findings.at(pin_dir.span(), "`pin_dir` is an absolute path on a BPF file system");
        }
    }
    kernel
}

fn watchdog(compiler: &mut Compiler<'_>, raw: &Spanned<String>) -> Option<Duration> {
    if raw.get_ref() == "off" {
        return None;
    }
    let time = compiler.time(raw)?;
    if time < WATCHDOG_MIN {
        compiler.findings.at(raw.span(), "`watchdog` is \"off\" or at least 1s: a restart takes a while");
    }
    Some(time)
}

fn not_both(compiler: &mut Compiler<'_>, raw: &raw::Kernel, kernel: &kernel::Config) {
    for denied in raw.deny.iter().flatten() {
        let names = prefix(denied.get_ref()).filter(|net| kernel.allow.contains(net));
        if let Some(net) = names {
            compiler.findings.at(denied.span(), format!("{net} is in `allow` too, which wins"));
        }
    }
}

fn interfaces(compiler: &mut Compiler<'_>, raw: &Any) -> Interfaces {
    let Some(raw) = raw else { return Interfaces::Auto };
    let named = match raw.get_ref() {
        Value::String(word) if word == "auto" => return Interfaces::Auto,
        Value::Array(names) => names.iter().map(Value::as_str).collect::<Option<Vec<_>>>(),
        _ => None,
    };
    let fits =
        |name: &&str| !name.is_empty() && name.len() <= INTERFACE_BYTES_MAX && !name.contains(['/', ' ']);
    match named {
        Some(names) if !names.is_empty() && names.iter().all(fits) => {
            Interfaces::Named(names.into_iter().map(str::to_owned).collect())
        }
        _ => {
            compiler
                .findings
                .at(raw.span(), "`interfaces` is \"auto\" or a list of interface names, as in [\"eth0\"]");
            Interfaces::Auto
        }
    }
}

fn port(compiler: &mut Compiler<'_>, raw: &Spanned<String>) -> Option<Port> {
    let port = raw.get_ref().split_once('/').and_then(|(protocol, number)| {
        let protocol = match protocol {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            _ => return None,
        };
        let number = number.parse().ok().filter(|number| *number != 0)?;
        Some(Port { protocol, number })
    });
    if port.is_none() {
        compiler.findings.at(raw.span(), "a protected port is tcp/PORT or udp/PORT, as in \"udp/53\"");
    }
    port
}

fn unproved(compiler: &mut Compiler<'_>, raw: Option<&raw::Unproved>) -> Unproved {
    let mut unproved = Unproved::default();
    let Some(raw) = raw else { return unproved };
    if let Some(rate) = budget(compiler, &raw.other) {
        (unproved.udp, unproved.echo, unproved.fragments) = (rate, rate, rate);
    }
    for (rate, field) in [
        (&raw.syn, &mut unproved.syn),
        (&raw.tcp, &mut unproved.tcp),
        (&raw.udp, &mut unproved.udp),
        (&raw.echo, &mut unproved.echo),
        (&raw.fragments, &mut unproved.fragments),
        (&raw.apart, &mut unproved.apart),
        (&raw.cookies, &mut unproved.cookies),
    ] {
        *field = budget(compiler, rate).unwrap_or(*field);
    }
    unproved
}

/// Packets a second.
fn budget(compiler: &mut Compiler<'_>, raw: &Text) -> Option<u64> {
    let raw = raw.as_ref()?;
    match units::rate(raw.get_ref()) {
        Ok((amount, period)) if amount > 0 => return Some(amount.div_ceil(period.as_secs().max(1))),
        Ok(_) => compiler.findings.at(raw.span(), "a budget of nothing would cut off every new client"),
        Err(error) => compiler.findings.at(raw.span(), error.to_string()),
    }
    None
}

fn flag(raw: &Flag, default: bool) -> bool {
    raw.as_ref().map_or(default, |raw| *raw.get_ref())
}
