//! The API's `limits` rows.

use std::ops::ControlFlow;

use prometheus_client::metrics::counter::Counter;

use super::{Facts, Filter, Session};
use crate::limit::Rows;
use crate::model::Api;
use crate::proxy::respond::Rejection;
use crate::telemetry::metrics::Metrics;

struct Limits {
    rows: Rows,
    refusals: Vec<(crate::model::LimitName, Counter)>,
}

pub(super) fn row(api: &Api, metrics: &Metrics) -> Option<Box<dyn Filter>> {
    let rows = Rows::new(api)?;
    let refusals = rows.names().map(|name| (name.clone(), metrics.refusals(name))).collect();
    Some(Box::new(Limits { rows, refusals }))
}

impl Filter for Limits {
    fn apply(&self, facts: &Facts<'_>, session: &Session) -> ControlFlow<Rejection> {
        let charged = self.rows.charge(facts.table, facts.hasher, facts.who(session), facts.now_ns);
        let Err(refusal) = charged else { return ControlFlow::Continue(()) };
        if let Some((_, counter)) = self.refusals.iter().find(|(name, _)| *name == refusal.name) {
            counter.inc();
        }
        ControlFlow::Break(Rejection::Limited(Box::new(refusal)))
    }
}
