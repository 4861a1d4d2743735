//! An upstream's connection behind a 101: the client's from there on. It counts until its end, in flight
//! and among the open tunnels.

use prometheus_client::metrics::gauge::Gauge;

use super::target::Pending;
use crate::proxy::http1::Wire;

pub(in crate::proxy) struct Switched {
    pub wire: Wire,
    open: Gauge,
    pending: Option<Pending>,
}

impl Switched {
    pub fn new(wire: Wire, open: &Gauge) -> Self {
        open.inc();
        Self { wire, open: Gauge::clone(open), pending: None }
    }

    /// Counts as in flight until its end.
    pub fn counted(&mut self, pending: Pending) {
        self.pending = Some(pending);
    }
}

impl Drop for Switched {
    fn drop(&mut self) {
        self.open.dec();
    }
}
