//! Raw to checked: units, bounds, sums. Every mistake is noted with its place and the work goes on,
//! so that one run tells them all.

use std::collections::HashSet;
use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use toml::{Spanned, Value};
use weir_ebpf::gcra::Limit;

use super::error::{Findings, nearest};
use super::lists::{self, prefix};
use super::raw::{self, Any, Flag, Number, Raw, Text, Texts};
use super::units::{self, UnitError};
use super::{
    Admin, Config, Errors, aggregates, apis, auth, fleet, kernel, keys, overrides, ports, store, tls,
};
use crate::kernel::Sandbox;
use crate::limit::{self, Shed};
use crate::model::{KeySetSource, Rate};
use crate::proxy::{self, Bounds, Listener, Timeouts};
use crate::telemetry::access_log::{self, To};

const WORKERS_MAX: u64 = 1_024;
/// A line takes up to 1.25 KiB.
const ACCESS_LOG_LINES_MAX: u64 = 1 << 20;
/// It goes with every request.
const PSEUDONYM_BYTES_MAX: usize = 64;
const STREAMS_MAX: u64 = 1_000;
const HEADER_BYTES: std::ops::RangeInclusive<u64> = 8 << 10..=16 << 20;

pub(super) fn compile(raw: &Raw, text: &str, file: &Path, default_socket: &Path) -> Result<Config, Errors> {
    let mut compiler = Compiler {
        findings: Findings::new(text, file),
        folder: file.parent().unwrap_or(Path::new("")).to_owned(),
        also: Vec::new(),
        policies: HashSet::new(),
        credentials: 0,
        key_sets: Vec::new(),
    };
    let config = compiler.config(raw, default_socket);
    compiler.findings.finish()?;
    Ok(config)
}

type RawRate = Option<Spanned<raw::RateBurst>>;

/// Notes mistakes while it makes the parts.
pub(super) struct Compiler<'a> {
    pub findings: Findings<'a>,
    pub folder: PathBuf,
    pub also: Vec<PathBuf>,
    /// Names of policies.
    pub policies: HashSet<String>,
    /// Rows of a file of credentials.
    pub credentials: u32,
    /// Of all APIs so far, each once.
    pub key_sets: Vec<KeySetSource>,
}

impl Compiler<'_> {
    /// What credentials may refer to.
    pub fn known(&self) -> keys::Known<'_> {
        keys::Known { policies: &self.policies, most: self.credentials }
    }

    fn config(&mut self, raw: &Raw, default_socket: &Path) -> Config {
        let trusted_proxies = self.prefixes(&raw.trusted_proxies);
        let listeners = self.listeners(&raw.listener, &trusted_proxies);
        let mut kernel = kernel::compile(self, raw.kernel.as_ref());
        let proxy = proxy::Config {
            trusted_proxies,
            via: self.pseudonym(&raw.via),
            listeners,
            timeouts: self.timeouts(raw.timeouts.as_ref()),
            bounds: self.bounds(raw.bounds.as_ref()),
            auth: auth::bounds(self, raw.auth.as_ref()),
        };
        let mut limit = self.limit(raw.limit.as_ref().and_then(|limit| limit.client.as_ref()));
        if let Some(raw) = &raw.kernel {
            kernel.rules = ports::rules(self, &raw.rule, &limit);
        }
        let raw_aggregates = raw.limit.as_ref().map_or(&[][..], |limit| &limit.aggregate);
        limit.aggregates = aggregates::aggregates(self, raw_aggregates, &kernel.rules);
        kernel.aggregates = aggregates::capacity(self, raw.kernel.as_ref(), &limit.aggregates);
        limit.overrides = overrides::overrides(self, &raw.r#override, &limit, &kernel.rules);
        kernel.overridden = limit.overrides.iter().map(|one| one.prefixes.len()).sum();
        lists::check_capacity(self, raw, &kernel);
        let listeners = &proxy.listeners;
        let admin = self.admin(raw.admin.as_ref(), default_socket, listeners);
        self.credentials = proxy.auth.credentials;
        let catalog = apis::catalog(self, raw);
        if !listeners.iter().any(|listener| listener.tls.as_ref().is_some_and(|tls| tls.asks_clients())) {
            apis::refuse_certificates(self, &raw.api);
        }
        if listeners.is_empty() && kernel.protect.is_empty() && kernel.rules.is_empty() {
            self.findings.at(0..0, "nothing to do: no [[listener]] and nothing in [kernel] protect");
        }
        Config {
            file: self.findings.file.to_owned(),
            also: std::mem::take(&mut self.also),
            workers: self.workers(&raw.workers),
            sandbox: self.sandbox(&raw.sandbox),
            catalog,
            proxy,
            limit,
            kernel,
            admin,
            store: raw.store.as_ref().and_then(|raw| store::store(self, raw)),
            fleet: fleet::fleet(self, raw),
            access_log: raw.access_log.as_ref().map(|raw| self.access_log(raw.get_ref())),
        }
    }

    /// RFC 9110 section 7.6.3: a token, here without its odder signs.
    fn pseudonym(&mut self, raw: &Text) -> Option<Arc<str>> {
        let raw = raw.as_ref()?;
        let name = raw.get_ref();
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if name.is_empty() || name.len() > PSEUDONYM_BYTES_MAX || !name.bytes().all(is_name) {
            let message =
                format!("`via` is a name of letters, digits, - _ . ({PSEUDONYM_BYTES_MAX} at most)");
            self.findings.at(raw.span(), message);
        }
        Some(name.as_str().into())
    }

    fn sandbox(&mut self, raw: &Text) -> Sandbox {
        const WORDS: [(&str, Sandbox); 2] = [("auto", Sandbox::Auto), ("off", Sandbox::Off)];
        self.word(raw, "sandbox", &WORDS).unwrap_or_default()
    }

    fn access_log(&mut self, raw: &raw::AccessLog) -> access_log::Config {
        let to = match raw.to.get_ref().as_str() {
            "stdout" => To::Stdout,
            "stderr" => To::Stderr,
            path => To::File(self.folder.join(path)),
        };
        if raw.to.get_ref().is_empty() {
            self.findings.at(raw.to.span(), "`to` is \"stdout\", \"stderr\" or a file");
        }
        let queue = self.within(&raw.queue, "queue", 1..=ACCESS_LOG_LINES_MAX);
        access_log::Config { to, queue: queue.unwrap_or(access_log::Config::QUEUE) }
    }

    fn workers(&mut self, raw: &Any) -> Option<usize> {
        let raw = raw.as_ref()?;
        match raw.get_ref() {
            Value::String(word) if word == "auto" => None,
            Value::Integer(number) if (1..=WORKERS_MAX.cast_signed()).contains(number) => {
                usize::try_from(*number).ok()
            }
            _ => {
                self.findings.at(raw.span(), format!("`workers` is \"auto\" or 1 to {WORKERS_MAX}"));
                None
            }
        }
    }

    fn listeners(&mut self, raw: &[Spanned<raw::Listener>], trusted: &[IpNet]) -> Vec<Listener> {
        let mut seen = HashSet::new();
        let mut listeners = Vec::new();
        for listener in raw {
            let listener = listener.get_ref();
            let tls = listener.tls.as_ref().and_then(|tls| tls::tls(self, tls));
            let proxy_protocol = self.proxy_protocol(&listener.proxy_protocol, trusted);
            let h2c = listener.h2c.as_ref().is_some_and(|h2c| *h2c.get_ref());
            if let (true, Some(flag), true) = (h2c, &listener.h2c, listener.tls.is_some()) {
                self.findings.at(flag.span(), "`h2c` is for a listener without `tls`, where ALPN chooses");
            }
            let Some(address) =
                self.parsed::<SocketAddr>(&listener.address, "an address and port, as in \"0.0.0.0:8080\"")
            else {
                continue;
            };
            if address.port() != 0 && !seen.insert(address) {
                self.findings.at(listener.address.span(), format!("{address} stands twice"));
            }
            listeners.push(Listener { address, tls, h2c, proxy_protocol });
        }
        listeners
    }

    fn proxy_protocol(&mut self, raw: &Flag, trusted: &[IpNet]) -> bool {
        let Some(raw) = raw.as_ref().filter(|raw| *raw.get_ref()) else { return false };
        if trusted.is_empty() {
            let message = "`proxy_protocol` needs `trusted_proxies`: nobody else's header is believed";
            self.findings.at(raw.span(), message);
        }
        true
    }

    fn admin(&mut self, raw: Option<&raw::Admin>, default_socket: &Path, listeners: &[Listener]) -> Admin {
        let mut admin = Admin { address: Admin::DEFAULT_ADDRESS, socket: default_socket.to_owned() };
        let Some(raw) = raw else { return admin };
        if let Some(address) = &raw.address {
            admin.address = self.parsed(address, "an address and port").unwrap_or(admin.address);
            if admin.address.port() != 0 && listeners.iter().any(|listener| listener.address == admin.address)
            {
                self.findings.at(address.span(), "the admin listener's address is a [[listener]]'s too");
            }
        }
        if let Some(socket) = &raw.socket {
            admin.socket = self.folder.join(socket.get_ref());
        }
        admin
    }

    fn limit(&mut self, raw: Option<&raw::ClientLimit>) -> limit::Config {
        let Some(raw) = raw else { return limit::Config::default() };
        let [requests, packets, bytes, syns] =
            self.client_rates(&raw.requests, &raw.packets, &raw.bytes, &raw.syns);
        let shed = self.shed(raw);
        limit::Config { requests, packets, bytes, syns, shed, ..limit::Config::default() }
    }

    /// Rates of a client: requests, packets, bytes, SYNs.
    pub fn client_rates(
        &mut self,
        requests: &RawRate,
        packets: &RawRate,
        bytes: &RawRate,
        syns: &RawRate,
    ) -> [Option<Rate>; 4] {
        let bytes = bytes.as_ref().and_then(|bytes| {
            let rate = self.byte_rate(bytes.get_ref())?;
            if rate.burst() < Limit::BYTE_BURST_MIN {
                self.findings.at(
                    bytes.get_ref().burst.span(),
                    "a byte burst is at least 64KiB: a frame may be as long",
                );
            }
            Some(rate)
        });
        let mut of = |rate: &RawRate| {
            rate.as_ref().and_then(|rate| self.rate(&rate.get_ref().rate, &rate.get_ref().burst))
        };
        [of(requests), of(packets), bytes, of(syns)]
    }

    fn shed(&mut self, raw: &raw::ClientLimit) -> Shed {
        let mut shed = Shed::default();
        if let Some(after) = &raw.shed_after {
            shed.refused = self.number(&after.refused, "refused", 1..=1 << 20).unwrap_or(shed.refused);
            shed.within = self.time(&after.within).unwrap_or(shed.within);
        }
        if let Some(steps) = &raw.shed {
            shed.steps = steps.iter().filter_map(|step| self.time(step)).collect();
        }
        shed
    }

    fn timeouts(&mut self, raw: Option<&raw::Timeouts>) -> Timeouts {
        let mut timeouts = Timeouts::default();
        let Some(raw) = raw else { return timeouts };
        for (text, field) in [
            (&raw.handshake, &mut timeouts.handshake),
            (&raw.request_head, &mut timeouts.request_head),
            (&raw.request_body_idle, &mut timeouts.request_body_idle),
            (&raw.response_write_idle, &mut timeouts.response_write_idle),
            (&raw.keep_alive, &mut timeouts.keep_alive),
            (&raw.upstream_connect, &mut timeouts.upstream_connect),
            (&raw.upstream_response_head, &mut timeouts.upstream_response_head),
            (&raw.upstream_response_idle, &mut timeouts.upstream_response_idle),
            (&raw.drain, &mut timeouts.drain),
        ] {
            if let Some(time) = text.as_ref().and_then(|text| self.time(text)) {
                *field = time;
            }
        }
        timeouts.request_total = raw.request_total.as_ref().and_then(|text| self.time(text));
        timeouts
    }

    fn bounds(&mut self, raw: Option<&raw::Bounds>) -> Bounds {
        let mut bounds = Bounds::default();
        let Some(raw) = raw else { return bounds };
        let most = 1 << 24;
        bounds.connections =
            self.within(&raw.connections, "connections", 1..=most).unwrap_or(bounds.connections);
        let per_client = self.within(&raw.connections_per_client, "connections_per_client", 1..=most);
        bounds.connections_per_client =
            per_client.unwrap_or(bounds.connections_per_client.min(bounds.connections));
        bounds.headers = self.within(&raw.headers, "headers", 1..=10_000).unwrap_or(bounds.headers);
        bounds.streams = self.within(&raw.streams, "streams", 1..=STREAMS_MAX).unwrap_or(bounds.streams);
        let all_streams = self.within(&raw.all_streams, "all_streams", 1..=most);
        bounds.all_streams = all_streams.unwrap_or(bounds.all_streams);
        bounds.header_bytes = self.bytes(&raw.header_bytes, "header_bytes").unwrap_or(bounds.header_bytes);
        bounds.uri_bytes = self.bytes(&raw.uri_bytes, "uri_bytes").unwrap_or(bounds.uri_bytes);
        bounds.body_bytes = self.body_bytes(&raw.body_bytes).flatten();
        if let Some(raw) = &raw.client_rate
            && let Some((bytes, period)) = self.fallible(raw, units::byte_rate(raw.get_ref()))
        {
            bounds.client_bytes_a_second = bytes.checked_div(period.as_secs()).unwrap_or(0);
        }
        if let Some(number) = &raw.connections_per_client
            && bounds.connections_per_client > bounds.connections
        {
            self.findings.at(number.span(), "`connections_per_client` is above `connections`");
        }
        bounds
    }

    /// A size, or `"unlimited"`, which is None inside.
    pub fn body_bytes(&mut self, raw: &Text) -> Option<Option<u64>> {
        let raw = raw.as_ref()?;
        if raw.get_ref() == "unlimited" {
            return Some(None);
        }
        match units::size(raw.get_ref()) {
            Ok(bytes) => Some(Some(bytes)),
            Err(error) => {
                self.findings.at(raw.span(), format!("{error}, or \"unlimited\""));
                None
            }
        }
    }

    pub fn size(&mut self, raw: &Spanned<String>) -> Option<u64> {
        self.fallible(raw, units::size(raw.get_ref()))
    }

    fn bytes(&mut self, raw: &Text, name: &str) -> Option<u32> {
        let raw = raw.as_ref()?;
        let bytes = self.fallible(raw, units::size(raw.get_ref()))?;
        if !HEADER_BYTES.contains(&bytes) {
            self.findings.at(raw.span(), format!("`{name}` is 8KiB to 16MiB"));
        }
        u32::try_from(bytes).ok()
    }

    /// Prefixes, single addresses, or files of them.
    pub fn prefixes(&mut self, raw: &Texts) -> Vec<IpNet> {
        let mut prefixes = Vec::new();
        for entry in raw.iter().flatten() {
            match prefix(entry.get_ref()) {
                Some(prefix) => prefixes.push(prefix),
                None => prefixes.extend(self.prefix_file(entry)),
            }
        }
        prefixes
    }

    fn prefix_file(&mut self, entry: &Spanned<String>) -> Vec<IpNet> {
        let file = self.folder.join(entry.get_ref());
        let looks_like_a_path = entry.get_ref().contains(['/', '.']) && file.exists();
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) => {
                let what = if looks_like_a_path {
                    format!("cannot be read: {error}")
                } else {
                    "no such file".to_owned()
                };
                let message = format!(
                    "`{}` is no address, no prefix and no file of prefixes ({what})",
                    entry.get_ref()
                );
                self.findings.at(entry.span(), message);
                return Vec::new();
            }
        };
        let prefixes = lists::parse_prefixes(&text, &file).unwrap_or_else(|errors| {
            self.findings.extend(errors);
            Vec::new()
        });
        self.also.push(file);
        prefixes
    }

    /// A rate and a burst in units.
    pub fn rate(&mut self, rate: &Spanned<String>, burst: &Spanned<Value>) -> Option<Rate> {
        let (amount, period) = self.fallible(rate, units::rate(rate.get_ref()))?;
        let units = match burst.get_ref() {
            Value::Integer(units) => u64::try_from(*units).ok(),
            _ => None,
        };
        let Some(units) = units else {
            self.findings.at(burst.span(), "`burst` is a number of units");
            return None;
        };
        self.made_rate(amount, period, units, rate.span())
    }

    fn byte_rate(&mut self, raw: &raw::RateBurst) -> Option<Rate> {
        let (amount, period) = self.fallible(&raw.rate, units::byte_rate(raw.rate.get_ref()))?;
        let bytes = match raw.burst.get_ref() {
            Value::Integer(bytes) => u64::try_from(*bytes).ok(),
            Value::String(text) => units::size(text).ok(),
            _ => None,
        };
        let Some(bytes) = bytes else {
            self.findings.at(raw.burst.span(), "`burst` is a size, as in \"40MiB\"");
            return None;
        };
        self.made_rate(amount, period, bytes, raw.rate.span())
    }

    fn made_rate(&mut self, amount: u64, period: Duration, burst: u64, span: Range<usize>) -> Option<Rate> {
        let rate = Rate::new(amount, period, burst);
        if rate.is_none() {
            let message = if amount == 0 || burst == 0 {
                "rate and burst are at least 1".to_owned()
            } else {
                "the burst takes longer than 15 min to refill at this rate: lower it, or raise the rate"
                    .to_owned()
            };
            self.findings.at(span, message);
        }
        rate
    }

    pub fn time(&mut self, raw: &Spanned<String>) -> Option<Duration> {
        let time = self.fallible(raw, units::duration(raw.get_ref()))?;
        if time.is_zero() {
            self.findings.at(raw.span(), "a time of 0 would never do anything");
        }
        Some(time)
    }

    pub fn number(
        &mut self,
        raw: &Spanned<u64>,
        name: &str,
        range: std::ops::RangeInclusive<u64>,
    ) -> Option<u32> {
        let number = *raw.get_ref();
        if !range.contains(&number) {
            self.findings.at(raw.span(), format!("`{name}` is {} to {}", range.start(), range.end()));
            return None;
        }
        u32::try_from(number).ok()
    }

    pub fn within(&mut self, raw: &Number, name: &str, range: std::ops::RangeInclusive<u64>) -> Option<u32> {
        self.number(raw.as_ref()?, name, range)
    }

    pub fn word<T: Copy>(&mut self, raw: &Text, name: &str, words: &[(&str, T)]) -> Option<T> {
        let raw = raw.as_ref()?;
        let found = words.iter().find(|(word, _)| word == raw.get_ref());
        if found.is_none() {
            let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            let hint =
                nearest(raw.get_ref(), known.iter().copied()).map(|word| format!("; did you mean `{word}`?"));
            let message = format!("`{name}` is one of {}{}", known.join(", "), hint.unwrap_or_default());
            self.findings.at(raw.span(), message);
        }
        found.map(|(_, value)| *value)
    }

    pub fn parsed<T: std::str::FromStr>(&mut self, raw: &Spanned<String>, what: &str) -> Option<T> {
        let parsed = raw.get_ref().parse().ok();
        if parsed.is_none() {
            self.findings.at(raw.span(), format!("`{}` is not {what}", raw.get_ref()));
        }
        parsed
    }

    fn fallible<T>(&mut self, raw: &Spanned<String>, result: Result<T, UnitError>) -> Option<T> {
        self.noted(raw.span(), result)
    }

    fn noted<T, E: Display>(&mut self, span: Range<usize>, result: Result<T, E>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.findings.at(span, error.to_string());
                None
            }
        }
    }
}
