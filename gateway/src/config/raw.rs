//! The file as it is written: names and shapes only, every value with its place. A field left out is
//! None; defaults stand beside the fields that they fill, in each part's Config.

use std::path::Path;

use serde::Deserialize;
use toml::{Spanned, Value};

use super::error::from_toml;
use super::{Errors, auth};

pub type Text = Option<Spanned<String>>;
pub type Number = Option<Spanned<u64>>;
pub type Flag = Option<Spanned<bool>>;
pub type Texts = Option<Vec<Spanned<String>>>;
/// A value of more than one shape.
pub type Any = Option<Spanned<Value>>;

pub(super) fn parse(text: &str, file: &Path) -> Result<Raw, Errors> {
    toml::from_str(text).map_err(|error| from_toml(text, file, &error))
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Raw {
    pub trusted_proxies: Texts,
    pub via: Text,
    pub workers: Any,
    pub sandbox: Text,
    pub access_log: Option<Spanned<AccessLog>>,
    #[serde(default)]
    pub listener: Vec<Spanned<Listener>>,
    pub admin: Option<Admin>,
    pub kernel: Option<Kernel>,
    pub limit: Option<Limit>,
    #[serde(default)]
    pub r#override: Vec<Override>,
    pub store: Option<Spanned<Store>>,
    pub fleet: Option<Spanned<Fleet>>,
    pub timeouts: Option<Timeouts>,
    pub bounds: Option<Bounds>,
    pub auth: Option<AuthBounds>,
    #[serde(default)]
    pub policy: Vec<Policy>,
    #[serde(default)]
    pub api: Vec<Spanned<Api>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessLog {
    pub to: Spanned<String>,
    pub queue: Number,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    pub address: Spanned<String>,
    pub tls: Option<Spanned<Tls>>,
    pub h2c: Flag,
    pub proxy_protocol: Flag,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    pub certificates: Spanned<Vec<Certificate>>,
    pub client_ca: Text,
    pub client_auth: Text,
    pub min_version: Text,
    pub suites: Texts,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    pub cert: Spanned<String>,
    pub key: Spanned<String>,
    pub ocsp: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    pub address: Text,
    pub socket: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kernel {
    pub interfaces: Any,
    pub mode: Text,
    pub clients: Number,
    pub protect: Texts,
    pub allow: Texts,
    pub deny: Texts,
    pub management: Texts,
    #[serde(default)]
    pub list: Vec<List>,
    pub prefixes: Number,
    #[serde(default)]
    pub rule: Vec<Rule>,
    pub guard_own_addresses: Flag,
    pub unproved: Option<Unproved>,
    pub syn_cookies: Flag,
    pub bans: Number,
    pub aggregates: Number,
    pub pin_dir: Text,
    pub observe: Flag,
    pub malformed: Text,
    pub watchdog: Text,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    pub name: Spanned<String>,
    pub ports: Vec<Spanned<String>>,
    pub class: Text,
    pub weight: Any,
    pub dry_run: Flag,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct List {
    pub name: Spanned<String>,
    pub action: Spanned<String>,
    pub prefixes: Vec<Spanned<String>>,
    pub dry_run: Flag,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unproved {
    pub syn: Text,
    pub tcp: Text,
    pub other: Text,
    pub udp: Text,
    pub echo: Text,
    pub fragments: Text,
    pub apart: Text,
    pub cookies: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    pub client: Option<ClientLimit>,
    #[serde(default)]
    pub aggregate: Vec<Aggregate>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Aggregate {
    pub name: Spanned<String>,
    pub prefix: Spanned<String>,
    pub port: Text,
    pub packets: Spanned<RateBurst>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientLimit {
    pub requests: Option<Spanned<RateBurst>>,
    pub packets: Option<Spanned<RateBurst>>,
    pub bytes: Option<Spanned<RateBurst>>,
    pub syns: Option<Spanned<RateBurst>>,
    pub shed_after: Option<ShedAfter>,
    pub shed: Texts,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Override {
    pub name: Spanned<String>,
    pub prefixes: Vec<Spanned<String>>,
    pub requests: Option<Spanned<RateBurst>>,
    pub packets: Option<Spanned<RateBurst>>,
    pub bytes: Option<Spanned<RateBurst>>,
    pub syns: Option<Spanned<RateBurst>>,
    #[serde(default)]
    pub aggregate: Vec<OverAggregate>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OverAggregate {
    pub name: Spanned<String>,
    pub packets: Option<Spanned<RateBurst>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateBurst {
    pub rate: Spanned<String>,
    pub burst: Spanned<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShedAfter {
    pub refused: Spanned<u64>,
    pub within: Spanned<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timeouts {
    pub handshake: Text,
    pub request_head: Text,
    pub request_total: Text,
    pub request_body_idle: Text,
    pub response_write_idle: Text,
    pub keep_alive: Text,
    pub upstream_connect: Text,
    pub upstream_response_head: Text,
    pub upstream_response_idle: Text,
    pub drain: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    pub connections: Number,
    pub connections_per_client: Number,
    pub header_bytes: Text,
    pub headers: Number,
    pub uri_bytes: Text,
    pub streams: Number,
    pub all_streams: Number,
    pub body_bytes: Text,
    pub client_rate: Text,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Api {
    pub name: Spanned<String>,
    pub host: Text,
    pub listen_path: Spanned<String>,
    pub strip_listen_path: Flag,
    pub upstreams: Option<Spanned<Vec<Spanned<Value>>>>,
    pub upstream_tls: Option<Spanned<UpstreamTls>>,
    pub balance: Any,
    pub slow_start: Text,
    pub eject: Option<Spanned<Eject>>,
    pub in_flight: Option<Spanned<InFlight>>,
    pub retry: Option<Spanned<Retry>>,
    pub check: Option<Spanned<Check>>,
    pub respond: Option<Spanned<Respond>>,
    pub redirect: Option<Spanned<Redirect>>,
    pub request_headers: Option<Spanned<HeaderChanges>>,
    pub response_headers: Option<Spanned<HeaderChanges>>,
    pub https_only: Flag,
    pub cors: Option<Spanned<Cors>>,
    pub request_id: Any,
    pub compress: Option<Spanned<Compress>>,
    pub body_bytes: Text,
    pub client_certificate: Text,
    pub request_total: Text,
    pub auth: Option<Spanned<Auth>>,
    #[serde(default)]
    pub limits: Vec<LimitRow>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpstreamTls {
    pub ca: Text,
    pub cert: Text,
    pub key: Text,
    pub server_name: Text,
    pub pins: Texts,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Eject {
    pub failures: Number,
    pub statuses: Option<Vec<Spanned<u64>>>,
    pub time: Text,
    pub most: Text,
    pub percent: Number,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InFlight {
    pub most: Number,
    pub queue: Number,
    pub wait: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    pub times: Number,
    pub percent: Number,
    pub reserve: Number,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    pub path: Text,
    pub grpc: Text,
    pub every: Text,
    pub timeout: Text,
    pub up: Number,
    pub down: Number,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redirect {
    pub to: Spanned<String>,
    pub status: Number,
    pub keep_path: Flag,
}

pub type Fields = std::collections::BTreeMap<Spanned<String>, Spanned<String>>;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeaderChanges {
    #[serde(default)]
    pub remove: Vec<Spanned<String>>,
    #[serde(default)]
    pub set: Fields,
    #[serde(default)]
    pub add: Fields,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cors {
    pub origins: Spanned<Vec<Spanned<String>>>,
    pub methods: Texts,
    pub headers: Texts,
    pub expose: Texts,
    pub credentials: Flag,
    pub max_age: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compress {
    pub types: Texts,
    pub min: Text,
    pub level: Number,
    pub with_credentials: Flag,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Respond {
    pub status: Spanned<u64>,
    #[serde(default)]
    pub body: String,
    pub content_type: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    pub key: Option<Spanned<auth::key::Raw>>,
    pub jwt: Option<Spanned<auth::jwt::Raw>>,
    pub basic: Option<Spanned<auth::basic::Raw>>,
    pub hmac: Option<Spanned<auth::hmac::Raw>>,
    pub mtls: Option<Spanned<auth::mtls::Raw>>,
    pub require: Text,
    pub realm: Text,
    #[serde(default)]
    pub headers: Fields,
    pub lift_client_limit: Flag,
}

/// `[auth]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthBounds {
    pub refused_weight: Number,
    pub credentials: Number,
    pub waiting: Number,
    pub wait: Text,
    pub tokens: Number,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitRow {
    pub key: Spanned<String>,
    pub rate: Spanned<String>,
    pub burst: Spanned<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    pub redis: Spanned<Vec<Spanned<String>>>,
    pub cluster: Flag,
    pub sentinel: Text,
    pub tls: Option<Spanned<StoreTls>>,
    pub user: Text,
    pub password_file: Text,
    pub sentinel_user: Text,
    pub sentinel_password_file: Text,
    pub prefix: Text,
    pub tags: Number,
    pub timeouts: Option<StoreTimeouts>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fleet {
    pub node: Text,
    pub period: Text,
    pub on_partition: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreTls {
    pub ca: Text,
    pub cert: Text,
    pub key: Text,
    pub server_name: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreTimeouts {
    pub connect: Text,
    pub late: Text,
    pub give_up: Text,
}

/// keys.toml.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    #[serde(default)]
    pub key: Vec<Key>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    pub name: Spanned<String>,
    pub sha256: Spanned<String>,
    #[serde(default)]
    pub policies: Vec<Spanned<String>>,
    pub expires: Any,
    #[serde(default)]
    pub metadata: Fields,
    pub disabled: Flag,
    pub previous: Option<PreviousKey>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreviousKey {
    pub sha256: Spanned<String>,
    pub until: Spanned<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    pub name: Spanned<String>,
    pub grants: Option<Vec<Grant>>,
    pub rate: Text,
    pub burst: Any,
    #[serde(default)]
    pub headers: Fields,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    pub api: Spanned<String>,
    pub paths: Texts,
    pub methods: Texts,
}
