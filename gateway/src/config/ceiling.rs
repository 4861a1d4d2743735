//! The memory that a configuration can ever take, by part: what `weir check` prints before anything
//! starts, and what the process stays under whatever clients send.

use std::fmt;

use serde::Serialize;
use weir_ebpf::abi;
use weir_ebpf::gate::GATE_WORDS;
use weir_ebpf::scope::SCOPE_WORDS;
use weir_ebpf::verdict::COUNTER_CELLS;

use super::Config;
use crate::fleet;
use crate::kernel::ModeWanted;
use crate::limit::{Ledger, TABLE_ENTRIES};
use crate::model::{Answer, AuthBounds, Speaks, Upstream};
use crate::plane::Table;
use crate::proxy::{
    COMPRESSING_BYTES, COMPRESSING_MAX, HTTP2_CONNECTION_BYTES, HTTP2_HEADS, IDLE_ALL_MAX, KEY_SET_BYTES_MAX,
    KEYS_OF_A_SET_MAX, KeptByAuth, TLS_WRITE_BYTES, VerifiedTokens, http2_upstream_bytes,
};
use crate::store::redis;
use crate::telemetry::access_log;

/// The kernel's `struct htab_elem`, before key and value (kernel/bpf/hashtab.c).
const HASH_ELEMENT: u64 = 48;
/// A bucket of a hash map; as many as entries, rounded up to a power of two.
const HASH_BUCKET: u64 = 16;
/// A prefix in an LPM trie: its node and the inner node that it may need, as the slab rounds them.
const TRIE_PREFIX: u64 = 192;
/// A prefix in ADDED: a hash element of 48, 20 and 8 bytes as the slab rounds it, and a bucket.
const ADDED_PREFIX: u64 = 96 + HASH_BUCKET;
/// A prefix in the gateway: configuration, compiled rows and the ranges that requests meet, each twice
/// while one takes over from the other, and an operator's addition.
const PREFIX: u64 = 2 * (20 + 24 + 32) + 64;
/// Programs, their BTF and JIT images.
const PROGRAMS: u64 = 2 << 20;
/// A connection besides its buffers: socket, task, the exchange that runs, the head's parsed headers.
const CONNECTION: u64 = 24 << 10;
/// TLS of a connection: its state, a record that is being read, plaintext that waits (16 KiB in rustls),
/// records that wait for the socket.
const TLS_CONNECTION: u64 = (8 << 10) + (18 << 10) + (16 << 10) + (TLS_WRITE_BYTES as u64);
/// A stream besides its buffers: its task, the exchange, its state in the h2 crate.
const STREAM: u64 = 8 << 10;
/// An idle connection to an upstream: the socket's registration and state; it holds no buffer while it is
/// idle. Over HTTP/2 a task and the h2 crate's windows.
const IDLE_UPSTREAM: u64 = 16 << 10;
/// TLS of an idle connection: its state, and what rustls keeps to read into.
const TLS_IDLE: u64 = 12 << 10;
/// A row of a file of revoked tokens, with its text.
const REVOKED: u64 = 512;
/// A key, for each algorithm that it may be used with.
const KEY: u64 = 24 << 10;
/// A set of keys: a document twice (it is fetched, and written to its pin), and the keys that it may hold twice.
const KEY_SET: u64 = 2 * (KEY_SET_BYTES_MAX as u64) + 2 * KEYS_OF_A_SET_MAX as u64 * KEY;
/// Keeper and gateway before the first client: binary, heap, stacks.
const PROCESSES: u64 = 64 << 20;
/// A ban in the gateway's own map, and the count of its cell of SEEN.
const BAN_ROW: u64 = 128;

/// The whole and its parts, in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ceiling {
    pub ceiling_bytes: u64,
    pub parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Part {
    pub name: &'static str,
    pub bytes: u64,
    /// How it is reckoned.
    pub note: String,
}

/// Reckons with `workers` workers and `cpus` possible CPUs (per-CPU maps).
pub fn ceiling(config: &Config, workers: usize, cpus: usize) -> Ceiling {
    let mut parts = Vec::new();
    let mut part = |name, bytes, note: String| parts.push(Part { name, bytes, note });
    let kernel = &config.kernel;
    let (clients, bans) = (u64::from(kernel.clients), u64::from(kernel.bans));
    if kernel.mode != ModeWanted::Off {
        let entry = size_of::<abi::ClientEntry>() as u64;
        part("kernel clients", hash_bytes(clients, entry), format!("{clients} entries of CLIENTS"));
        part(
            "kernel bans",
            hash_bytes(bans, size_of::<abi::Ban>() as u64),
            format!("{bans} entries of BANS"),
        );
        if kernel.aggregates > 0 {
            let words = u64::from(kernel.aggregates);
            // The key is the one that is longer than a client's.
            part("kernel aggregates", hash_bytes(words, 8 + 8), format!("{words} words of AGGREGATES"));
        }
        part("kernel gate", u64::from(abi::SEEN_CELLS), "cells of SEEN".to_owned());
        part("kernel front", u64::from(abi::FRONT_LINES) * 64, "slots of unproved sources".to_owned());
        let prefixes = u64::from(kernel.prefixes);
        let rows = prefixes + u64::from(abi::OWN_ADDRESSES);
        part(
            "kernel lists",
            2 * rows * TRIE_PREFIX + prefixes * ADDED_PREFIX,
            format!("{prefixes} prefixes, up to {} guarded, old and new", abi::OWN_ADDRESSES),
        );
        part("kernel list gate", u64::from(GATE_WORDS) * 8, "bits in front of the lists".to_owned());
        let per_cpu = u64::from(COUNTER_CELLS + abi::LIST_CELLS) * size_of::<abi::Count>() as u64
            + size_of::<abi::Budget>() as u64;
        let small = u64::from(SCOPE_WORDS) * 8
            + u64::from(abi::EVENTS_BYTES)
            + u64::from(abi::RULES_ENTRIES) * size_of::<abi::Rules>() as u64
            + u64::from(abi::AGGREGATE_ROWS) * size_of::<abi::AggregateRow>() as u64
            + 2 * u64::from(abi::PORT_RULES) * size_of::<abi::PortRow>() as u64
            + u64::from(abi::NAME_CELLS) * abi::NAME_BYTES as u64;
        part(
            "kernel rest",
            PROGRAMS + small + per_cpu * cpus as u64,
            "programs, counters, events, rules".to_owned(),
        );
    }
    let prefixes = u64::from(kernel.prefixes);
    part("lists", prefixes * PREFIX, format!("{prefixes} prefixes, old and new"));
    part("process table", Table::bytes_for(kernel.clients), format!("{clients} clients, 16 B each"));
    let tables = 5 * Table::bytes_for(TABLE_ENTRIES);
    part("limit tables", tables, "refusals, levels, graces, API limits, connections".to_owned());
    part("bans", bans * BAN_ROW, format!("{bans} rows"));
    let bounds = &config.proxy.bounds;
    let has_tls = config.proxy.listeners.iter().any(|listener| listener.tls.is_some());
    let has_http2 = has_tls || config.proxy.listeners.iter().any(|listener| listener.h2c);
    let mut connection = CONNECTION + 3 * u64::from(bounds.header_bytes);
    if has_tls {
        connection += TLS_CONNECTION;
    }
    if has_http2 {
        let heads = HTTP2_HEADS as u64 * u64::from(bounds.header_bytes);
        connection += HTTP2_CONNECTION_BYTES + heads;
        let streams = u64::from(bounds.all_streams);
        part("streams", streams * STREAM, format!("{streams} times {} KiB", STREAM >> 10));
    }
    let connections = u64::from(bounds.connections);
    part("connections", connections * connection, format!("{connections} times {} KiB", connection >> 10));
    let upstreams = || config.catalog.apis.iter().flat_map(|api| upstreams(&api.answer));
    // A name may stand for many addresses.
    let each = if upstreams().next().is_none() { 0 } else { IDLE_ALL_MAX };
    let idle = (workers * each) as u64;
    let each = IDLE_UPSTREAM + if upstreams().any(|one| one.tls.is_some()) { TLS_IDLE } else { 0 };
    part("idle upstream connections", idle * each, format!("{idle} times {} KiB", each >> 10));
    let lines = config.access_log.as_ref().map_or(0, |log| u64::from(log.queue));
    part("access log", lines * access_log::Config::LINE_BYTES, format!("{lines} lines that wait"));
    if config.catalog.jwts().next().is_some() {
        let tokens = config.proxy.auth.tokens;
        part("verified tokens", VerifiedTokens::bytes_for(tokens), format!("{tokens} tokens of [auth]"));
    }
    let revoked: usize = config.catalog.jwts().map(|auth| auth.revoked.len()).sum();
    if revoked > 0 {
        part("revoked tokens", 2 * revoked as u64 * REVOKED, format!("{revoked} rows, old and new"));
    }
    let mut sets: Vec<_> = config.catalog.key_sets().map(|set| &set.url).collect();
    sets.sort_unstable();
    sets.dedup();
    if !sets.is_empty() {
        let sets = sets.len() as u64;
        part(
            "key sets",
            sets * KEY_SET,
            format!("{sets} times {} KiB, a document and its keys", KEY_SET >> 10),
        );
    }
    let http2: u64 = config.catalog.apis.iter().map(|api| http2_upstreams(&api.answer, workers as u64)).sum();
    if http2 > 0 {
        part("HTTP/2 to upstreams", http2, "in_flight of each, one address a name".to_owned());
    }
    if let Some(store) = &config.store {
        let (bytes, masters) = (redis::Link::bytes_a_master(), store.masters_max());
        part("store", bytes * masters, format!("requests that wait, {masters} times {} KiB", bytes >> 10));
    }
    of_the_fleet(config, &mut part);
    if config.catalog.apis.iter().any(|api| api.shaping.compress.is_some()) {
        let (places, each) = (u64::from(COMPRESSING_MAX), COMPRESSING_BYTES);
        part("compression", places * each, format!("{places} answers at once, {} KiB each", each >> 10));
    }
    auth(config, &mut part);
    part("processes", PROCESSES, "keeper and gateway at rest".to_owned());
    Ceiling { ceiling_bytes: parts.iter().map(|part| part.bytes).sum(), parts }
}

/// What a node of a fleet follows.
fn of_the_fleet(config: &Config, part: &mut impl FnMut(&'static str, u64, String)) {
    if config.store.is_none() {
        return;
    }
    part("fleet ledger", Ledger::BYTES, "notes and shares of clients and rows".to_owned());
    let tracked = fleet::TRACKED as u64;
    part("fleet clients", tracked * fleet::ENTRY_BYTES, format!("{tracked} clients and rows"));
}

/// Credentials are there twice while one snapshot takes over from another.
fn auth(config: &Config, part: &mut impl FnMut(&'static str, u64, String)) {
    let schemes =
        || config.catalog.apis.iter().flat_map(|api| api.auth.iter().flat_map(|auth| &auth.schemes));
    if schemes().next().is_none() {
        return;
    }
    let bounds = &config.proxy.auth;
    let n_files = schemes().filter(|scheme| scheme.has_file()).count() as u64;
    let rows = n_files * u64::from(bounds.credentials);
    part("credentials", 2 * rows * AuthBounds::CREDENTIAL_BYTES, format!("{rows} rows, old and new"));
    part("auth memory", KeptByAuth::BYTES, "passwords and nonces that are remembered".to_owned());
    if schemes().any(|scheme| scheme.as_basic().is_some()) {
        let threads = KeptByAuth::PASSWORD_THREADS;
        let each = AuthBounds::PASSWORD_BYTES;
        part("passwords", threads * each, format!("{threads} threads, {} MiB each", each >> 20));
    }
    let waiting = u64::from(bounds.waiting);
    part("auth that waits", waiting * AuthBounds::WAITING_BYTES, format!("{waiting} requests"));
}

fn hash_bytes(entries: u64, value: u64) -> u64 {
    entries * (HASH_ELEMENT + 8 + value) + entries.next_power_of_two() * HASH_BUCKET
}

fn upstreams(answer: &Answer) -> &[Upstream] {
    match answer {
        Answer::Forward(forwarding) => &forwarding.upstreams,
        Answer::Respond(_) | Answer::Redirect(_) => &[],
    }
}

fn http2_upstreams(answer: &Answer, workers: u64) -> u64 {
    let Answer::Forward(forwarding) = answer else { return 0 };
    let n = forwarding.upstreams.iter().filter(|one| one.speaks == Speaks::Http2).count() as u64;
    n * http2_upstream_bytes(u64::from(forwarding.admit.in_flight), workers)
}

/// A line a part, the sum last.
impl fmt::Display for Ceiling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.parts {
            writeln!(f, "  {:<26} {:>10}  {}", part.name, mebibytes(part.bytes), part.note)?;
        }
        write!(f, "  {:<26} {:>10}", "memory ceiling", mebibytes(self.ceiling_bytes))
    }
}

/// `36.1 MiB`.
fn mebibytes(bytes: u64) -> String {
    let tenths = (bytes * 10).div_ceil(1 << 20);
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}
