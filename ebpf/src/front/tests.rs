use core::cell::Cell as StdCell;

use super::*;

#[derive(Clone, Copy)]
struct Slot<'a>(&'a StdCell<u64>);

impl Cell for Slot<'_> {
    fn load(self) -> u64 {
        self.0.get()
    }

    fn swap(self, old: u64, new: u64) -> bool {
        self.0.replace(new) == old
    }
}

const MS_NS: u64 = 1_000_000;
const START_NS: u64 = 1 << 50;

fn charged(line: &[StdCell<u64>; SLOTS], fingerprint: u32, now_ns: u64) -> bool {
    // One packet a 10 ms, five at once.
    let answer = charge(|idx| Slot(&line[idx]), fingerprint, 10 * MS_NS, 50 * MS_NS, now_ns);
    matches!(answer, Fronted::Conforming { .. })
}

#[test]
fn a_source_has_its_burst_and_then_its_rate() {
    let line = [const { StdCell::new(0) }; SLOTS];
    let at_once = (0..20).filter(|_| charged(&line, 7, START_NS)).count();
    assert!((4..=5).contains(&at_once), "{at_once}: rounded up to units of 1,024 ns");
    let in_a_second = (0..1_000).filter(|ms| charged(&line, 7, START_NS + ms * MS_NS)).count();
    assert!((96..=101).contains(&in_a_second), "{in_a_second}");
}

#[test]
fn sources_do_not_pay_for_each_other_until_the_line_is_full() {
    let line = [const { StdCell::new(0) }; SLOTS];
    for fingerprint in 1..=8 {
        while charged(&line, fingerprint, START_NS) {}
    }
    assert!(!charged(&line, 3, START_NS));
    // The ninth takes the place of the least indebted, which then begins anew.
    assert!(charged(&line, 9, START_NS));
    let fresh = (1..=8).filter(|fingerprint| charged(&line, *fingerprint, START_NS)).count();
    assert!(fresh >= 1);
}

#[test]
fn the_words_clock_wraps_without_a_debt_out_of_nowhere() {
    let line = [const { StdCell::new(0) }; SLOTS];
    // 2^40 units of 1,024 ns later the low bits are the same; half of that later they look furthest away.
    for moment_ns in [START_NS, START_NS + (1 << 49), START_NS + (1 << 50), START_NS + (3 << 49)] {
        assert!(charged(&line, 7, moment_ns), "{moment_ns}");
    }
}

#[test]
fn places_depend_on_the_seed_and_stay_in_the_map() {
    let lines = 1 << 17;
    let places = |seed| (0..1_000).map(move |key| Place::of(key, seed, lines));
    assert!(places(1).all(|place| place.line_idx < lines && place.fingerprint < 1 << 24));
    let same = places(1).zip(places(2)).filter(|(a, b)| a.line_idx == b.line_idx).count();
    assert!(same < 5, "{same}");
}
