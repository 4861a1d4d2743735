//! What a start prints: mode, interfaces, capacity, ceiling, and lines to try.

use std::fmt::Write as _;
use std::net::SocketAddr;

use crate::config::{Ceiling, Config};
use crate::kernel::Facts;
use crate::proxy::Listener;

pub(super) fn banner(
    config: &Config,
    facts: &Facts,
    ceiling: &Ceiling,
    bound: &[SocketAddr],
    admin: SocketAddr,
) -> String {
    let mut text = String::new();
    let interfaces: Vec<_> = facts
        .interfaces
        .iter()
        .map(|interface| format!("{} ({})", interface.name, interface.state))
        .collect();
    let why = facts.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    let speaks = config.proxy.listeners.iter().map(Speaks::of).chain(std::iter::repeat(Speaks::HTTP));
    let bound: Vec<_> = bound.iter().zip(speaks).collect();
    let listeners: Vec<_> =
        bound.iter().map(|(address, speaks)| format!("{}://{address}", speaks.scheme)).collect();
    let mut line = |name: &str, value: String| {
        if !value.is_empty() {
            // Writing to a String does not fail.
            writeln!(text, "  {name:<10} {value}").unwrap_or(());
        }
    };
    line("kernel", format!("{}{why}", facts.mode));
    line("interface", interfaces.join(", "));
    line("clients", format!("{} entries", config.kernel.clients));
    line("memory", format!("at most {} MiB", ceiling.ceiling_bytes.div_ceil(1 << 20)));
    line("listens", listeners.join(", "));
    line("admin", format!("http://{admin}/metrics"));
    line("socket", config.admin.socket.display().to_string());
    let is_here = |address: &SocketAddr| address.ip().is_loopback() || address.ip().is_unspecified();
    if let Some((address, speaks)) = bound.into_iter().find(|(address, _)| is_here(address)) {
        let Speaks { scheme, trust } = speaks;
        let host = if address.is_ipv6() { "[::1]" } else { "127.0.0.1" };
        let url = format!("{scheme}://{host}:{}/", address.port());
        let ip = if address.is_ipv6() { "::1" } else { "127.0.0.1" };
        line("try", format!("curl -i {trust}{url}"));
        line(
            "",
            format!(
                "for i in $(seq 50); do curl -s -m 1 -o /dev/null -w '%{{http_code}} ' {trust}{url}; done; echo"
            ),
        );
        line("", format!("target/release/weir explain {ip} --config {}", config.file.display()));
    }
    text
}

/// How curl asks a listener.
#[derive(Clone, Copy)]
struct Speaks {
    scheme: &'static str,
    /// Nobody signs a certificate for a loopback address.
    trust: &'static str,
}

impl Speaks {
    const HTTP: Self = Self { scheme: "http", trust: "" };

    fn of(listener: &Listener) -> Self {
        match listener.tls {
            Some(_) => Self { scheme: "https", trust: "-k " },
            None => Self::HTTP,
        }
    }
}
