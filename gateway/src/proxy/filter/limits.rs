//! The API's `limits` rows, and the rates of the policies that a credential has.

use std::ops::ControlFlow;
use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;

use super::policies::Policies;
use super::{Facts, Filter, Session};
use crate::limit::{Row, Rows};
use crate::model::{Api, LimitName};
use crate::proxy::respond::Rejection;
use crate::telemetry::metrics::Metrics;

struct Limits {
    rows: Rows,
    policies: Arc<Policies>,
    refusals: Vec<(LimitName, Counter)>,
}

/// None where nothing is limited.
pub(super) fn row(api: &Api, policies: &Arc<Policies>, metrics: &Metrics) -> Option<Box<dyn Filter>> {
    let rows = Rows::new(api);
    if rows.is_none() && policies.rows().next().is_none() {
        return None;
    }
    let rows = rows.unwrap_or_default();
    let names = rows.names().chain(policies.rows().map(Row::name));
    let refusals = names.map(|name| (name.clone(), metrics.refusals(name))).collect();
    Some(Box::new(Limits { rows, policies: Arc::clone(policies), refusals }))
}

impl Filter for Limits {
    fn apply(&self, facts: &Facts<'_>, session: &Session) -> ControlFlow<Rejection> {
        let more = self.policies.rows_of(session.identity());
        let charged = self.rows.charge(more, facts.words, facts.who(session), facts.now_ns);
        let Err(refusal) = charged else { return ControlFlow::Continue(()) };
        if let Some((_, counter)) = self.refusals.iter().find(|(name, _)| *name == refusal.name) {
            counter.inc();
        }
        ControlFlow::Break(Rejection::Limited(Box::new(refusal)))
    }
}
