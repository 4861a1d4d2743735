//! What passes over the control socket: a request a line, an answer a line, both JSON. The same
//! structs are what `--json` prints.

mod store;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::store::{MasterView, PingView, PingsView, StoreView};
use crate::kernel::{Guard, Guarded};

/// A command of an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    Status,
    Explain {
        address: String,
    },
    BansList,
    BansAdd {
        address: String,
        seconds: Option<u64>,
    },
    BansRemove {
        address: String,
        grace_seconds: u64,
    },
    Reload {
        /// Far ends of the SSH sessions that the command came over: guarded from now on.
        #[serde(default)]
        sessions: Vec<IpAddr>,
    },
    /// Puts a configuration in force for a while.
    Apply {
        text: String,
        /// Where the text came from, for its mistakes.
        name: String,
        confirm_seconds: u64,
        #[serde(default)]
        sessions: Vec<IpAddr>,
    },
    StoreStatus,
    /// As that, after asking every master.
    StorePing,
    /// What is on trial.
    Pending,
    /// Ends the trial by what held before.
    Revert,
    Watch,
    ListShow {
        list: ListName,
    },
    ListAdd {
        list: ListName,
        prefix: String,
    },
    ListRemove {
        list: ListName,
        prefix: String,
    },
    JwksStatus,
    /// Fetches key sets, whatever their age.
    JwksRefresh {
        /// None: all.
        url: Option<String>,
    },
    /// The line is followed by so many bytes of a text of prefixes.
    ListLoad {
        list: ListName,
        /// Where the text came from: what errors name.
        source: String,
        bytes: u64,
    },
}

/// A set of keys, by `weir jwks`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeySetView {
    pub url: String,
    /// Names; "" where a key has none.
    pub keys: Vec<String>,
    /// Why other keys of the document are not used.
    pub left_out: Vec<String>,
    pub bytes: usize,
    /// Since its fetch; None: there is no set.
    pub age_seconds: Option<u64>,
    /// Its time is over; it serves because it cannot be fetched.
    pub is_stale: bool,
    /// From the copy on disk.
    pub is_pinned: bool,
    pub is_fetching: bool,
    pub fetched: u64,
    pub failed: u64,
    /// Requests that would have had it fetched during a cool-down.
    pub held_off: u64,
    /// Of the last fetch.
    pub error: Option<String>,
}

/// Bytes of a text that `load` takes: two million prefixes, the longest.
pub const LOAD_BYTES_MAX: u64 = 96 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListName {
    Allow,
    Deny,
}

/// `weir allow list`, `weir deny list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListsView {
    pub lists: Vec<ListView>,
    /// Prefixes that were added one by one, the first thousand.
    pub added: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListView {
    pub name: String,
    pub dry_run: bool,
    pub prefixes: usize,
    /// What came from its sources; None without a kernel plane.
    pub packets: Option<u64>,
    pub bytes: Option<u64>,
}

/// `weir status`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    pub uptime_seconds: u64,
    pub ready: bool,
    pub config: ConfigView,
    pub kernel: KernelView,
    pub sandbox: SandboxView,
    pub memory: MemoryView,
    pub store: StoreView,
    pub table: TableView,
    #[serde(default)]
    pub upstreams: Vec<UpstreamView>,
    pub connections: u32,
    pub bans: usize,
}

/// An address of an API's upstream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamView {
    pub api: String,
    /// As it is written.
    pub upstream: String,
    pub address: String,
    /// `serving`, `growing` (slow start), `down` (checks), `ejected`, or `on_trial` after that.
    pub state: String,
    pub why: Option<String>,
    pub ejected_for_seconds: Option<u64>,
    pub in_flight: u32,
    pub connections: u32,
}

/// What the last census of CLIENTS found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CensusView {
    pub entries: u64,
    pub proved: u64,
    pub owing: u64,
    /// Estimated from a sample.
    pub evicted_owing: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ConfigView {
    pub file: String,
    pub last_reload: LastReload,
    /// While another configuration than the file's is on trial: until it is gone.
    pub reverts_in_seconds: Option<u64>,
}

/// How the last reload went; the start counts as one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastReload {
    pub ok: bool,
    pub error: Option<String>,
    /// Settings of the file that wait for a restart.
    pub waits_for_restart: Vec<String>,
    pub succeeded: u64,
    pub failed: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KernelView {
    pub mode: String,
    pub why: Option<String>,
    /// What `why` says beside the interfaces'.
    pub note: Option<String>,
    pub proof: String,
    pub interfaces: Vec<InterfaceView>,
    /// Entries that CLIENTS can hold.
    pub clients_capacity: Option<u32>,
    /// At the last census; None before the first.
    pub clients: Option<CensusView>,
    pub packets: Vec<CounterView>,
    /// Packets refused because their class's budget was spent.
    pub budget_exhausted: Option<BudgetView>,
    /// Who is never dropped.
    pub guarded: Vec<GuardView>,
}

/// Whom the guard names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuardView {
    pub prefix: String,
    /// `own_address`, `default_gateway`, `dns_server`, `store`, `upstream`, `ssh_peer` or `management`.
    pub why: String,
    /// Where that was found.
    pub from: String,
}

impl GuardView {
    pub fn all(guard: &Guard) -> Vec<Self> {
        let view = |row: &Guarded| Self {
            prefix: row.prefix.to_string(),
            why: row.why.label().to_owned(),
            from: row.from.clone(),
        };
        guard.rows().iter().map(view).collect()
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InterfaceView {
    pub name: String,
    /// `native`, `generic`, or what became of it instead.
    pub mode: String,
    pub why: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CounterView {
    pub verdict: String,
    pub action: String,
    pub packets: u64,
    pub bytes: u64,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct BudgetView {
    pub syn: u64,
    pub tcp: u64,
    pub udp: u64,
    pub echo: u64,
    pub fragments: u64,
    pub apart: u64,
}

/// What holds for the serving process, should it be taken over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxView {
    /// User that it runs as.
    pub uid: u32,
    /// `on`, `partly` or `off`.
    pub seccomp: String,
    pub landlock: String,
    /// What is not on, and why.
    pub why: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MemoryView {
    pub ceiling_bytes: u64,
    pub rss_bytes: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TableView {
    pub capacity: u64,
    pub used: u64,
    pub replaced: u64,
}

/// A ban.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BanView {
    pub client: String,
    /// `shed` or `operator`.
    pub reason: String,
    /// Step of `limit.client.shed`, from 0.
    pub level: u32,
    /// None: for ever.
    pub ends_in_seconds: Option<u64>,
    /// UTC, RFC 3339; None: never.
    pub ends_at: Option<String>,
}

/// `weir explain IP`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Explained {
    pub client: String,
    /// Settings that name the address.
    pub lists: Vec<String>,
    pub ban: Option<BanView>,
    /// Whether the kernel has an entry, and a proved one; None without a kernel plane.
    pub proved: Option<bool>,
    pub passed: Option<u64>,
    pub dropped: Option<u64>,
    /// The override whose limits it has; None: everybody's.
    pub limits_of: Option<String>,
    pub words: Vec<WordView>,
    /// What the fleet knows of it; None without one.
    #[serde(default)]
    pub fleet: Option<FleetView>,
    /// 429s in the running window of `shed_after`.
    pub refusals: u32,
    pub shed_after: u32,
    /// Step that the next shed takes.
    pub next_shed_level: u32,
    /// What happens to the next packet and request, and why.
    pub conclusion: String,
}

/// A client over all nodes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FleetView {
    /// Of the limit of requests, a second: this node's part, where it has one.
    pub share: Option<f64>,
    /// Those that charged it lately.
    pub nodes: Vec<FleetNodeView>,
    /// Why that is not known.
    pub fault: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FleetNodeView {
    pub node: String,
    /// It is this one.
    pub here: bool,
    /// Requests of the client in the last second.
    pub offered: u32,
    /// And admitted since it was last quiet.
    pub admitted: u64,
}

/// One limit of a client.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WordView {
    pub name: String,
    /// Units that conform at once now, of `burst`.
    pub left: u64,
    pub burst: u64,
    /// Until one more unit conforms.
    pub wait_seconds: f64,
}

/// `weir reload`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadReport {
    pub changed: bool,
    pub waits_for_restart: Vec<String>,
    /// Maps that change their capacity now.
    #[serde(default)]
    pub under_way: Vec<String>,
}

/// `weir apply`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    pub changed: bool,
    pub waits_for_restart: Vec<String>,
    /// None: it is in the file, for good.
    pub reverts_in_seconds: Option<u64>,
}

/// A configuration on trial, and the file that it would be kept in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    pub file: PathBuf,
    pub text: String,
}

/// A line of `weir watch`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum News {
    /// A sampled decision of the packet path.
    Packet {
        client: String,
        verdict: String,
        action: String,
        port: u16,
        length_bytes: u32,
        ifindex: u32,
    },
    Banned {
        client: String,
        reason: String,
        level: u32,
        seconds: Option<u64>,
    },
    Unbanned {
        client: String,
    },
    Reloaded {
        ok: bool,
    },
    /// A configuration holds until it is kept, or for so long.
    OnTrial {
        seconds: u64,
    },
    /// The old configuration holds again.
    Reverted {
        why: String,
    },
    /// Lines that this watcher was too slow for.
    Missed {
        lines: u64,
    },
}

/// `1h 2m`, `45s`: the two largest units.
pub fn duration_text(span: Duration) -> String {
    let seconds = span.as_secs();
    let parts =
        [(seconds / 86_400, "d"), (seconds / 3_600 % 24, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let shown: Vec<_> = parts
        .iter()
        .skip_while(|(amount, _)| *amount == 0)
        .take(2)
        .filter(|(amount, _)| *amount > 0)
        .map(|(amount, unit)| format!("{amount}{unit}"))
        .collect();
    if shown.is_empty() { "0s".to_owned() } else { shown.join(" ") }
}
