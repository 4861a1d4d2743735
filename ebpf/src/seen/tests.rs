use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use super::*;

impl Cell for &AtomicU64 {
    fn load(self) -> u64 {
        AtomicU64::load(self, Ordering::Relaxed)
    }

    fn swap(self, old: u64, new: u64) -> bool {
        self.compare_exchange(old, new, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

#[test]
fn a_client_is_known_in_its_epoch_and_the_next() {
    for start in [0_u64, 126, 127, 128, 1_000] {
        let value = epoch(start << 4, 4);
        assert!(value != UNKNOWN && value != BANNED);
        for (later, known) in [(0, true), (1, true), (2, false), (60, false), (126, false)] {
            assert_eq!(is_known(value, epoch((start + later) << 4, 4)), known, "{start} + {later}");
        }
    }
    assert!(!is_known(UNKNOWN, 1) && !is_known(UNKNOWN, 128));
    assert!(is_known(BANNED, 1) && is_known(BANNED, 128));
}

/// A word whose neighbours are always faster.
#[derive(Clone, Copy)]
struct Busy;

impl Cell for Busy {
    fn load(self) -> u64 {
        0
    }

    fn swap(self, _: u64, _: u64) -> bool {
        false
    }
}

#[test]
fn a_mark_that_could_not_be_set_is_told() {
    let place = Place::of(1, 2);
    assert!(!mark(Busy, place), "nothing was marked");
    assert!(unmark(Busy, place, 1), "nothing was to be done");
}

proptest! {
    #[test]
    fn a_change_touches_its_own_cell_alone(key: u64, seed: u64, word: u64, epoch in 1_u8..=128) {
        let place = Place::of(key, seed);
        prop_assert!(place.word_idx < SEEN_CELLS / 8);
        let shared = AtomicU64::new(word);
        prop_assert!(mark(&shared, place));
        prop_assert_eq!(place.read(shared.load(Ordering::Relaxed)), BANNED);
        see(&shared, place, epoch);
        prop_assert_eq!(place.read(shared.load(Ordering::Relaxed)), BANNED, "a mark stays");
        prop_assert!(unmark(&shared, place, epoch));
        let now = shared.load(Ordering::Relaxed);
        prop_assert_eq!(place.read(now), epoch);
        prop_assert_eq!(place.write(now, place.read(word)), word, "neighbours are as they were");
    }
}
