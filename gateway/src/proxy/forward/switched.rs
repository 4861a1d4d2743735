//! An upstream's connection behind a 101: the client's from there on. It counts until its end, in flight,
//! open, and among the tunnels.

use std::cell::RefCell;

use prometheus_client::metrics::gauge::Gauge;

use super::judged::Judged;
use super::pool::Connection;
use super::target::{Open, Pending};
use crate::proxy::http1::Wire;
use crate::proxy::timer::Deadline;

pub(in crate::proxy) struct Switched {
    pub wire: RefCell<Wire>,
    /// None: as long as something moves.
    pub until: Option<Deadline>,
    tunnels: Gauge,
    _open: Open,
    pending: Option<Pending>,
}

impl Switched {
    pub(super) fn new(connection: Connection, tunnels: &Gauge) -> Self {
        tunnels.inc();
        let Connection { link, open, .. } = connection;
        Self {
            wire: RefCell::new(link.into_wire()),
            until: None,
            tunnels: Gauge::clone(tunnels),
            _open: open,
            pending: None,
        }
    }

    /// Counts as in flight until its end.
    pub fn counted(&mut self, judged: Judged) {
        self.pending = Some(judged.unjudged());
    }
}

impl Drop for Switched {
    fn drop(&mut self) {
        self.tunnels.dec();
    }
}
