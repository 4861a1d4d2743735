//! What the data side serves, built whole at publish and swapped whole: routes, chains, limits,
//! handles of metrics. Nothing in it changes afterwards.

use std::net::SocketAddr;
use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;

use super::dispatch::Routes;
use super::filter::{Chain, KeptByAuth};
use super::forward::{Balance, UpstreamFacts, Upstreams, Via};
use super::respond::{Moved, Prepared};
use super::{Bounds, Config, Listener, Timeouts};
use crate::limit::{self, ClientLimit};
use crate::model::{Answer, Api, Catalog, Policy, PrefixSet};
use crate::telemetry::metrics::{ApiMetrics, Metrics};

/// Immutable; a request sees one from its head to its end.
pub struct Snapshot {
    pub(super) routes: Routes,
    pub(super) apis: Vec<ServedApi>,
    pub(super) client_limit: Option<ClientLimit>,
    pub(super) client_refusals: Counter,
    pub(super) trusted_proxies: Vec<ipnet::IpNet>,
    /// As many and in the order of the sockets that were opened at the start.
    pub(super) listeners: Vec<Listener>,
    /// Free of every per-client limit.
    pub(super) allow: PrefixSet,
    pub(super) via: Option<Via>,
    pub(super) timeouts: Timeouts,
    pub(super) bounds: Bounds,
    /// Requests that a refused credential costs its client, besides its own.
    pub(super) refused_weight: u64,
    /// Whether an API lifts its clients' limit.
    pub(super) any_lifts: bool,
}

/// An API with what its requests need.
pub(super) struct ServedApi {
    pub api: Arc<Api>,
    pub chain: Chain,
    pub answer: ServedAnswer,
    pub metrics: ApiMetrics,
}

pub(super) enum ServedAnswer {
    Respond(Prepared),
    Forward(Arc<Balance>),
    Redirect(Moved),
}

/// Position in [`Snapshot::listeners`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ListenerIdx(usize);

/// Position in [`Snapshot::apis`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ApiIdx(pub usize);

impl Snapshot {
    pub fn build(
        catalog: &Catalog,
        proxy: &Config,
        allow: PrefixSet,
        limit: &limit::Config,
        upstreams: &Upstreams,
        kept: &Arc<KeptByAuth>,
        metrics: &Metrics,
    ) -> Self {
        kept.publish(proxy.auth);
        let apis =
            catalog.apis.iter().map(|api| ServedApi::build(api, &catalog.policies, upstreams, kept, metrics));
        let apis: Vec<_> = apis.collect();
        Self {
            routes: Routes::build(&catalog.apis),
            any_lifts: apis.iter().any(ServedApi::lifts_client_limit),
            apis,
            client_limit: ClientLimit::new(limit),
            client_refusals: metrics.refusals("client"),
            trusted_proxies: proxy.trusted_proxies.clone(),
            listeners: proxy.listeners.clone(),
            allow,
            via: proxy.via.as_deref().and_then(Via::new),
            timeouts: proxy.timeouts,
            bounds: proxy.bounds,
            refused_weight: u64::from(proxy.auth.refused_weight),
        }
    }

    /// What the configuration says of a socket of ours; `position` among those that were opened.
    pub(super) fn listener_idx(&self, address: SocketAddr, position: usize) -> Option<ListenerIdx> {
        let named = self.listeners.iter().position(|listener| listener.address == address);
        let is_free_port =
            |listener: &&Listener| listener.address.port() == 0 && listener.address.ip() == address.ip();
        let by_position = || self.listeners.get(position).filter(is_free_port).map(|_| position);
        named.or_else(by_position).map(ListenerIdx)
    }

    pub(super) fn listener(&self, idx: ListenerIdx) -> Option<&Listener> {
        self.listeners.get(idx.0)
    }

    /// Of every API that forwards.
    pub fn upstreams(&self, now_ns: u64) -> Vec<UpstreamFacts> {
        self.balances().map(|balance| balance.facts(now_ns)).collect()
    }

    pub(super) fn balances(&self) -> impl Iterator<Item = &Balance> {
        self.apis.iter().filter_map(|served| match &served.answer {
            ServedAnswer::Forward(balance) => Some(&**balance),
            ServedAnswer::Respond(_) | ServedAnswer::Redirect(_) => None,
        })
    }

    /// Turns to the addresses that upstreams' names stand for now.
    pub(super) fn renew(&self, upstreams: &Upstreams) {
        self.balances().for_each(|balance| balance.renew(upstreams));
    }

    pub(super) fn api(&self, idx: ApiIdx) -> Option<&ServedApi> {
        self.apis.get(idx.0)
    }
}

impl ServedApi {
    /// Whether who passes auth here is not charged to the client's address.
    pub fn lifts_client_limit(&self) -> bool {
        self.api.auth.as_ref().is_some_and(|auth| auth.lifts_client_limit)
    }

    fn build(
        api: &Arc<Api>,
        policies: &[Arc<Policy>],
        upstreams: &Upstreams,
        kept: &Arc<KeptByAuth>,
        metrics: &Metrics,
    ) -> Self {
        let answer = match &api.answer {
            Answer::Respond(answer) => ServedAnswer::Respond(Prepared::new(answer)),
            Answer::Redirect(redirect) => ServedAnswer::Redirect(Moved::new(redirect)),
            Answer::Forward(forwarding) => {
                ServedAnswer::Forward(Arc::new(Balance::new(&api.name, forwarding, upstreams)))
            }
        };
        Self {
            api: Arc::clone(api),
            chain: Chain::build(api, policies, kept, metrics),
            answer,
            metrics: metrics.api(&api.name),
        }
    }
}
