//! What all workers share: the snapshot that is served, the plane, and the counts of open connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use arc_swap::ArcSwap;

use crate::limit::{Held, Ledger, RowWords, Shedder, TABLE_ENTRIES};
use crate::plane::{Bans, Plane, Table};
use crate::proxy::compress::Places;
use crate::proxy::filter::KeptByAuth;
use crate::proxy::forward::{Addresses, Upstreams};
use crate::proxy::snapshot::Snapshot;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::metrics::Metrics;

/// What all workers share.
pub struct Shared {
    pub snapshot: ArcSwap<Snapshot>,
    pub plane: Arc<Plane>,
    pub bans: Arc<Bans>,
    pub shedder: Arc<Shedder>,
    pub upstreams: Arc<Upstreams>,
    pub auth: Arc<KeptByAuth>,
    pub access_log: Option<AccessLog>,
    pub metrics: Metrics,
    /// Words of the APIs' limits.
    pub rows: RowWords,
    pub(super) prove_by_accept: bool,
    /// Bumped by who lifts denials early; see [`Denied`].
    pub(super) generation: Arc<AtomicU64>,
    pub(super) connections: AtomicU32,
    /// Of HTTP/2.
    pub(super) streams: AtomicU32,
    pub(super) connections_by_client: Table,
    pub(in crate::proxy) compressing: Arc<Places>,
}

/// What a [`Shared`] is made of.
pub struct SharedParts {
    pub snapshot: Snapshot,
    pub plane: Arc<Plane>,
    pub bans: Arc<Bans>,
    pub shedder: Arc<Shedder>,
    pub upstreams: Arc<Upstreams>,
    pub auth: Arc<KeptByAuth>,
    pub access_log: Option<AccessLog>,
    pub metrics: Metrics,
    /// Of a node in a fleet.
    pub ledger: Option<Arc<Ledger>>,
    /// The kernel plane has no other way to see handshakes.
    pub prove_by_accept: bool,
}

impl Shared {
    pub fn new(parts: SharedParts) -> Self {
        let SharedParts {
            snapshot,
            plane,
            bans,
            shedder,
            upstreams,
            auth,
            access_log,
            metrics,
            ledger,
            prove_by_accept,
        } = parts;
        let compressing = Arc::new(Places::new(metrics.compressing.clone()));
        Self {
            snapshot: ArcSwap::from_pointee(snapshot),
            plane,
            bans,
            shedder,
            upstreams,
            auth,
            access_log,
            metrics,
            rows: RowWords::new(ledger),
            prove_by_accept,
            generation: Arc::new(AtomicU64::new(1)),
            connections: AtomicU32::new(0),
            streams: AtomicU32::new(0),
            connections_by_client: Table::new(TABLE_ENTRIES),
            compressing,
        }
    }

    /// Where clients are charged.
    pub fn held(&self) -> Held<'_> {
        Held { plane: &self.plane, ledger: self.rows.ledger.as_deref() }
    }

    /// Serves by another snapshot from the next request on.
    pub fn publish(&self, snapshot: Snapshot) {
        self.snapshot.store(Arc::new(snapshot));
        self.forget_denials();
    }

    /// Forwards to what upstreams' names stand for now; a name that is not among them keeps its addresses.
    pub fn learn(&self, addresses: Addresses) {
        self.upstreams.learn(addresses);
        self.snapshot.load().renew(&self.upstreams);
    }

    /// Workers ask the plane again about every client.
    pub fn forget_denials(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    pub fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }
}
