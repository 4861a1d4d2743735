//! A worker's memory of clients that are denied for another while: they are answered without a call
//! into the kernel. Direct-mapped and fixed in size; a newcomer takes the place. Whatever lifts a
//! denial early (a pardon, a changed limit) starts a new generation, which forgets all.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::{ClientKey, Standing};

const PLACES: usize = 1_024;

/// One worker's.
pub struct Denied {
    places: Box<[Cell<Place>]>,
    generation: Arc<AtomicU64>,
}

#[derive(Clone, Copy, Default)]
struct Place {
    key: u64,
    generation: u64,
    /// When a request conforms again.
    until_ns: u64,
    /// When the debt is paid.
    tat_ns: u64,
}

impl Denied {
    /// `generation` is shared by all workers and bumped by who lifts denials; it begins above 0.
    pub fn new(generation: Arc<AtomicU64>) -> Self {
        Self { places: vec![Cell::default(); PLACES].into(), generation }
    }

    /// Where the client stands, if it is known to be denied now.
    pub fn still(&self, key: ClientKey, now_ns: u64) -> Option<Standing> {
        let place = self.place(key).get();
        let holds = place.key == key.0
            && place.until_ns > now_ns
            && place.generation == self.generation.load(Ordering::Acquire);
        holds.then(|| Standing { debt_ns: place.tat_ns.saturating_sub(now_ns) })
    }

    /// Notes a denial that ends in `retry_after_ns`.
    pub fn remember(&self, key: ClientKey, standing: Standing, retry_after_ns: u64, now_ns: u64) {
        self.place(key).set(Place {
            key: key.0,
            generation: self.generation.load(Ordering::Acquire),
            until_ns: now_ns.saturating_add(retry_after_ns),
            tat_ns: now_ns.saturating_add(standing.debt_ns),
        });
    }

    fn place(&self, key: ClientKey) -> &Cell<Place> {
        let spread = key.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54;
        self.places.get(spread as usize).expect("ten bits are below PLACES")
    }
}
