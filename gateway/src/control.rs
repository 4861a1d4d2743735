//! The write side: reload, the control socket and its client, the admin listener, what they tell.

mod admin;

mod apply;

mod bans;

mod census;

mod client;

mod collector;

mod explain;

mod fleet;

mod guard;

mod jwks;

mod lists;

mod message;

mod names;

mod reload;

mod socket;

mod status;

mod store;

mod watch;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use arc_swap::ArcSwap;
use tokio::sync::broadcast;

use crate::config as weir_toml;
use crate::fleet::Fleet;
use crate::kernel::{Confinement, Facts};
use crate::plane::{Added, Census, Maps};
use crate::proxy;
use crate::store::redis;

pub use admin::serve_admin;
pub use apply::{Trial, begin, revert_at_the_end, revert_in_time};
pub use census::take_census;
pub use client::{AskError, ask, ask_with, follow};
pub use collector::Collected;
pub use fleet::follow_fleet;
pub use guard::{Guarding, follow_guard};
pub use message::{
    Applied, BanView, CensusView, Explained, FleetNodeView, FleetView, GuardView, KernelView, KeySetView,
    LOAD_BYTES_MAX, LastReload, ListName, ListView, ListsView, MasterView, News, Pending, PingView,
    PingsView, ReloadReport, Request, SandboxView, Status, StoreView, UpstreamView, WordView, duration_text,
};
pub use names::follow_names;
pub use reload::{Publish, Reloader, watch_files};
pub use socket::{SocketError, listen, serve};
pub use watch::{ban_offenders, pump_events};

/// What commands and scrapes read and change. Handles only; whoever needs one field takes that one.
pub struct Parts {
    pub shared: Arc<proxy::Shared>,
    /// Where there is a kernel plane.
    pub maps: Option<Arc<Maps>>,
    /// Swapped when interfaces come or go.
    pub facts: ArcSwap<Facts>,
    /// The last one of CLIENTS.
    pub census: ArcSwap<Option<Census>>,
    pub confinement: Confinement,
    pub config: ArcSwap<weir_toml::Config>,
    pub reloader: Reloader,
    pub guarding: Guarding,
    pub trial: Trial,
    pub added: Arc<Added>,
    /// Where `[store]` names one.
    pub store: Option<redis::Link>,
    /// As well.
    pub fleet: Option<Arc<Fleet>>,
    pub ceiling_bytes: AtomicU64,
    pub started_ns: u64,
    pub ready: AtomicBool,
    /// What watchers are told; those who lag lose lines and hear how many.
    pub news: broadcast::Sender<News>,
}
