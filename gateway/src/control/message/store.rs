//! What is told of the store: its part of `status`, `store status` and `store ping`.

use serde::{Deserialize, Serialize};

/// The link to the store, as this node sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoreView {
    /// `none`, `standalone`, `sentinel` or `cluster`.
    pub kind: String,
    /// Whether every master answers, be it late. None: there is no store.
    pub up: Option<bool>,
    /// `up`, `slow` or `down`.
    #[serde(default)]
    pub state: Option<String>,
    /// What is wrong.
    #[serde(default)]
    pub reason: Option<String>,
    /// How long it has been so.
    #[serde(default)]
    pub since_seconds: Option<f64>,
    /// Changes of the state since the start.
    #[serde(default)]
    pub changes: u64,
    /// Hash tags that keys are spread over.
    #[serde(default)]
    pub tags: Option<u16>,
    #[serde(default)]
    pub masters: Vec<MasterView>,
    /// Slots of a Cluster that have no master.
    #[serde(default)]
    pub slots_uncovered: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MasterView {
    /// None: the Sentinels have named none yet.
    pub address: Option<String>,
    pub state: String,
    pub reason: Option<String>,
    /// What the last answer took.
    pub answer_seconds: Option<f64>,
    /// Since the last answer.
    pub lag_seconds: Option<f64>,
    /// Redis's clock less this host's.
    pub clock_offset_ms: Option<i64>,
    /// Of a Cluster: slots that it serves.
    pub slots: Option<u16>,
    /// Requests that wait for it.
    pub pending: usize,
    pub connects: u64,
    pub script_loads: u64,
}

/// `weir store ping`: what a master said just now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PingView {
    pub address: Option<String>,
    pub fault: Option<String>,
    pub round_trip_ms: Option<f64>,
    pub role: Option<String>,
    pub version: Option<String>,
    pub replicas: Option<u64>,
    /// One run of a script within Redis, on the average.
    pub script_us: Option<f64>,
    pub scripts_run: Option<u64>,
    pub memory_used_bytes: Option<u64>,
    /// 0: no limit.
    pub memory_max_bytes: Option<u64>,
    pub memory_policy: Option<String>,
}

/// `weir store ping`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PingsView {
    pub store: StoreView,
    pub masters: Vec<PingView>,
}
