//! Every metric's name, labels and help text; the one place where they stand. Labels are bounded:
//! API and limit names from the configuration, fixed reasons; never an address or a key.
//! Code counts into handles that were looked up at publish, so a request touches atomics only.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// All that is counted by code. What is read at scrape time (kernel counters, tables) joins by [`Metrics::collect`].
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    /// Open client connections.
    pub connections: Gauge,
    pub connections_accepted: Counter,
    /// Clients put into BANS for coming on after 429.
    pub sheds: Counter,
    pub streams: Gauge,
    pub streams_refused: Counter,
    /// Answers that are being compressed.
    pub compressing: Gauge,
    /// Lines of the access log that found its queue full.
    pub access_log_dropped: Counter,
    connections_closed: Family<ReasonLabel, Counter>,
    malformed: Family<ReasonLabel, Counter>,
    refusals: Family<LimitLabel, Counter>,
    auth_refused: Family<AuthLabel, Counter>,
    requests: Family<RequestLabel, Counter>,
    durations: Family<ApiLabel, Histogram, fn() -> Histogram>,
    upstream_faults: Family<FaultLabel, Counter>,
    abandoned: Family<ApiLabel, Counter>,
    retries: Family<ApiLabel, Counter>,
    retries_refused: Family<ApiLabel, Counter>,
    tunnels: Family<ApiLabel, Gauge>,
}

/// One API's handles, looked up at publish.
#[derive(Clone)]
pub struct ApiMetrics {
    /// Answers by status class, 1xx to 5xx.
    pub answers: [Counter; 5],
    /// From a request's head to the head of its answer.
    pub duration_seconds: Histogram,
    pub connect_failed: Counter,
    pub connect_timeout: Counter,
    pub response_timeout: Counter,
    pub broken: Counter,
    pub no_address: Counter,
    pub queue_full: Counter,
    pub queue_timeout: Counter,
    /// Answers that broke off.
    pub cut: Counter,
    /// Requests that their clients gave up.
    pub abandoned: Counter,
    /// Requests beyond their time in all.
    pub late: Counter,
    /// Attempts at another upstream.
    pub retries: Counter,
    /// Those that the budget did not allow.
    pub retries_refused: Counter,
    /// Open WebSockets.
    pub tunnels: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitLabel {
    limit: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AuthLabel {
    api: String,
    scheme: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ApiLabel {
    api: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabel {
    api: String,
    class: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FaultLabel {
    api: String,
    fault: &'static str,
}

const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// 100 us to about 26 s, each four times the last.
fn duration_buckets() -> Histogram {
    Histogram::new(exponential_buckets(0.0001, 4.0, 10))
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("weir");
        let metrics = Self {
            registry: Arc::default(),
            connections: Gauge::default(),
            connections_accepted: Counter::default(),
            sheds: Counter::default(),
            streams: Gauge::default(),
            streams_refused: Counter::default(),
            compressing: Gauge::default(),
            access_log_dropped: Counter::default(),
            connections_closed: Family::default(),
            malformed: Family::default(),
            refusals: Family::default(),
            auth_refused: Family::default(),
            requests: Family::default(),
            durations: Family::new_with_constructor(duration_buckets),
            upstream_faults: Family::default(),
            abandoned: Family::default(),
            retries: Family::default(),
            retries_refused: Family::default(),
            tunnels: Family::default(),
        };
        registry.register("connections", "Open client connections", metrics.connections.clone());
        registry.register(
            "connections_accepted",
            "Client connections accepted",
            metrics.connections_accepted.clone(),
        );
        registry.register(
            "connections_closed",
            "Client connections that the gateway refused or ended, by reason",
            metrics.connections_closed.clone(),
        );
        registry.register("streams", "Open streams of HTTP/2", metrics.streams.clone());
        let refused = metrics.streams_refused.clone();
        registry.register("streams_refused", "Streams beyond bounds.all_streams", refused);
        let compressing = metrics.compressing.clone();
        registry.register("compressing", "Answers that are being compressed", compressing);
        registry.register("sheds", "Clients shed for coming on after 429", metrics.sheds.clone());
        registry.register(
            "access_log_dropped",
            "Lines of the access log that were dropped because its queue was full",
            metrics.access_log_dropped.clone(),
        );
        registry.register("http_malformed", "Malformed requests, by reason", metrics.malformed.clone());
        registry.register("refusals", "Requests refused with 429, by limit", metrics.refusals.clone());
        registry.register(
            "auth_refused",
            "Requests that auth refused, by API, scheme and reason",
            metrics.auth_refused.clone(),
        );
        registry.register("requests", "Requests answered, by API and status class", metrics.requests.clone());
        registry.register(
            "request_duration_seconds",
            "From a request's head to the head of its answer",
            metrics.durations.clone(),
        );
        registry.register(
            "upstream_faults",
            "Attempts that an upstream failed, or that none could be chosen for, by API and fault",
            metrics.upstream_faults.clone(),
        );
        registry.register(
            "requests_abandoned",
            "Requests that their clients gave up before an answer, by API",
            metrics.abandoned.clone(),
        );
        registry.register(
            "upstream_retries",
            "Attempts at another upstream, by API",
            metrics.retries.clone(),
        );
        registry.register(
            "upstream_retries_refused",
            "Retries that the API's budget did not allow",
            metrics.retries_refused.clone(),
        );
        registry.register("tunnels", "Open WebSockets, by API", metrics.tunnels.clone());
        *metrics.locked() = registry;
        metrics
    }
}

impl ApiMetrics {
    /// Counts an answer by its status and the time from the request's head.
    pub fn count(&self, status: u16, began_ns: u64, now_ns: u64) {
        let class = usize::from(status / 100).saturating_sub(1);
        if let Some(answers) = self.answers.get(class) {
            answers.inc();
        }
        self.duration_seconds.observe(now_ns.saturating_sub(began_ns) as f64 / 1e9);
    }
}

impl Metrics {
    /// Adds what is read at scrape time.
    pub fn collect(&self, collector: Box<dyn Collector>) {
        self.locked().register_collector(collector);
    }

    /// The whole in OpenMetrics text.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.locked())?;
        Ok(text)
    }

    pub fn api(&self, api: &str) -> ApiMetrics {
        let fault =
            |fault| self.upstream_faults.get_or_create_owned(&FaultLabel { api: api.to_owned(), fault });
        ApiMetrics {
            answers: CLASSES
                .map(|class| self.requests.get_or_create_owned(&RequestLabel { api: api.to_owned(), class })),
            duration_seconds: self.durations.get_or_create_owned(&ApiLabel { api: api.to_owned() }),
            connect_failed: fault("connect_failed"),
            connect_timeout: fault("connect_timeout"),
            response_timeout: fault("response_timeout"),
            broken: fault("broken"),
            no_address: fault("no_address"),
            queue_full: fault("queue_full"),
            queue_timeout: fault("queue_timeout"),
            late: fault("request_total"),
            cut: fault("cut"),
            abandoned: self.abandoned.get_or_create_owned(&ApiLabel { api: api.to_owned() }),
            retries: self.retries.get_or_create_owned(&ApiLabel { api: api.to_owned() }),
            retries_refused: self.retries_refused.get_or_create_owned(&ApiLabel { api: api.to_owned() }),
            tunnels: self.tunnels.get_or_create_owned(&ApiLabel { api: api.to_owned() }),
        }
    }

    /// Refusals of the limit `name`.
    pub fn refusals(&self, name: &str) -> Counter {
        self.refusals.get_or_create_owned(&LimitLabel { limit: name.to_owned() })
    }

    /// Requests to `api` that auth refused.
    pub fn auth_refused(&self, api: &str, scheme: &'static str, reason: &'static str) -> Counter {
        self.auth_refused.get_or_create_owned(&AuthLabel { api: api.to_owned(), scheme, reason })
    }

    /// Connections that we refused or ended for `reason`.
    pub fn closed(&self, reason: &'static str) -> Counter {
        self.connections_closed.get_or_create_owned(&ReasonLabel { reason })
    }

    /// Malformed requests, by `reason`.
    pub fn malformed(&self, reason: &'static str) -> Counter {
        self.malformed.get_or_create_owned(&ReasonLabel { reason })
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Names of what is read at scrape time; the prefix `weir_` and a counter's `_total` are added.
pub mod collected {
    /// A metric's name and help text.
    #[derive(Clone, Copy, Debug)]
    pub struct Named {
        pub name: &'static str,
        pub help: &'static str,
    }

    const fn named(name: &'static str, help: &'static str) -> Named {
        Named { name, help }
    }

    pub const KERNEL_MODE: Named = named("kernel_mode", "1 for the mode that the kernel plane is in");
    pub const KERNEL_INTERFACES: Named =
        named("kernel_interfaces", "Interfaces that are wanted, by what became of them");
    pub const KERNEL_PACKETS: Named = named("kernel_packets", "Packets judged by XDP, by verdict and action");
    pub const KERNEL_BYTES: Named = named("kernel_bytes", "Bytes judged by XDP, by verdict and action");
    pub const RULE_PACKETS: Named =
        named("kernel_rule_packets", "Packets judged by XDP, by port rule, verdict and action");
    pub const LIST_PACKETS: Named =
        named("kernel_list_packets", "Packets from sources that a list names, by list");
    pub const LIST_BYTES: Named = named("kernel_list_bytes", "Bytes from sources that a list names, by list");
    pub const PROMOTIONS: Named =
        named("kernel_promotions", "Unproved sources that their debt earned an entry");
    pub const BUDGET_EXHAUSTED: Named =
        named("kernel_budget_exhausted", "Packets of unproved sources refused for want of budget, by class");
    pub const CLIENTS: Named = named("kernel_clients", "Entries of CLIENTS at the last census");
    pub const CLIENTS_PROVED: Named =
        named("kernel_clients_proved", "Entries of clients that finished a handshake, at the last census");
    pub const CLIENTS_OWING: Named = named("kernel_clients_owing", "Entries with a debt, at the last census");
    pub const EVICTED_OWING: Named = named(
        "kernel_evicted_owing",
        "Entries evicted while they owed, estimated from a sample: CLIENTS is too small where this rises",
    );
    pub const CLIENTS_CAPACITY: Named = named("kernel_clients_capacity", "Entries that CLIENTS can hold");
    pub const TABLE_CAPACITY: Named =
        named("process_table_capacity", "Clients that the process table can hold");
    pub const TABLE_USED: Named =
        named("process_table_used", "Slots of the process table that were ever taken");
    pub const TABLE_REPLACED: Named =
        named("process_table_replaced", "Clients that made room while they still owed");
    pub const FLEET_NODES: Named =
        named("fleet_nodes", "Nodes of the fleet that are alive, as the store says");
    pub const FLEET_TRACKED: Named =
        named("fleet_tracked", "Clients and rows whose sum over the fleet this node follows");
    pub const FLEET_LAG: Named = named(
        "fleet_lag_seconds",
        "Since the store was last heard of, by the tag that is silent for longest",
    );
    pub const FLEET_PUSHED: Named =
        named("fleet_pushed", "Clients and rows told to the store, and confirmed");
    pub const FLEET_DEFERRED: Named =
        named("fleet_deferred", "Hot clients and rows that a flush had no room for");
    pub const FLEET_OVERSHOOT: Named =
        named("fleet_overshoot_requests", "Requests admitted here beyond the fleet's limit");
    pub const FLEET_SENTENCES: Named =
        named("fleet_sentences", "Findings of the fleet that a client is over its limit, heard here");
    pub const FLEET_WIDE: Named =
        named("fleet_wide", "Findings that many nodes admit a little of one client, heard here");
    pub const FLEET_MISSED: Named = named("fleet_missed", "Notes of requests that found no place");
    pub const FLEET_ORDERS: Named =
        named("fleet_orders_waiting", "Bans and their ends that wait for the store");
    pub const UPSTREAMS: Named = named("upstreams", "Addresses of upstreams, by API and how they stand");
    pub const UPSTREAM_IN_FLIGHT: Named =
        named("upstream_in_flight", "Requests that an upstream is answering, by API");
    pub const UPSTREAM_CONNECTIONS: Named =
        named("upstream_connections", "Open connections to upstreams, idle ones too, by API");
    pub const UPSTREAM_WAITING: Named =
        named("upstream_waiting", "Requests that wait because every upstream of their API is full");
    pub const UPSTREAM_EJECTIONS: Named =
        named("upstream_ejections", "Addresses left out because their answers failed, by API");
    pub const AUTH_REMEMBERED: Named =
        named("auth_remembered", "What auth remembers: passwords that were right, nonces that passed");
    pub const AUTH_REMEMBERED_CAPACITY: Named =
        named("auth_remembered_capacity", "How much of it auth can remember");
    pub const AUTH_WAITING: Named = named("auth_waiting", "Requests whose credential waits for slow work");
    pub const AUTH_WAITING_CAPACITY: Named =
        named("auth_waiting_capacity", "Requests whose credential may wait at once");
    pub const JWT_TOKENS: Named = named("jwt_tokens", "Verified JSON Web Tokens that are kept");
    pub const JWT_TOKENS_CAPACITY: Named = named("jwt_tokens_capacity", "Tokens that can be kept");
    pub const JWKS_DOCUMENTS: Named = named("jwks_documents", "Key sets that are held");
    pub const JWKS_KEYS: Named = named("jwks_keys", "Keys of all key sets");
    pub const JWKS_KEYS_LEFT_OUT: Named =
        named("jwks_keys_left_out", "Keys of key sets that are broken or not used here");
    pub const JWKS_BYTES: Named = named("jwks_bytes", "Bytes of the documents of all key sets");
    pub const JWKS_AGE: Named = named("jwks_age_seconds", "Age of the oldest key set that is held");
    pub const JWKS_FETCHES: Named = named("jwks_fetches", "Fetches of key sets, by result");
    pub const JWKS_HELD_OFF: Named =
        named("jwks_held_off", "Requests that would have had a key set fetched during its cool-down");
    pub const BANS: Named = named("bans", "Bans that hold");
    pub const BANS_CAPACITY: Named = named("bans_capacity", "Bans that can hold at once");
    pub const CEILING: Named = named("memory_ceiling_bytes", "Most memory that the configuration can take");
    pub const RESIDENT: Named = named("process_resident_bytes", "Resident memory of the gateway");
    pub const CERTIFICATE_END: Named =
        named("certificate_not_after_seconds", "When a certificate expires, in Unix time, by its file");
    pub const STORE_UP: Named = named("store_up", "1 while every master of the store answers, be it late");
    pub const STORE_FLUSH: Named =
        named("store_flush_seconds", "What the last answer of the store took, of the slowest master");
    pub const STORE_LAG: Named = named(
        "store_lag_seconds",
        "Since the last answer of the store, of the master that is silent longest",
    );
    pub const STORE_PENDING: Named = named("store_pending", "Requests that wait for the store");
    pub const STORE_CONNECTS: Named = named("store_connects", "Connections made to the store's masters");
    pub const STORE_CHANGES: Named = named("store_changes", "Changes of the store's state: up, slow, down");
    pub const RELOAD_OK: Named = named("config_reload_ok", "1 when the file on disk is the one in force");
    pub const RELOADS: Named = named("config_reloads", "Reloads, by result");
}
