use core::cell::Cell as StdCell;

use proptest::prelude::*;

use super::*;

mod exact;

const SECOND_NS: u64 = 1_000_000_000;
const START_NS: u64 = 1 << 40;

/// A word of one thread.
#[derive(Clone, Copy)]
struct Local<'a>(&'a StdCell<u64>);

impl Cell for Local<'_> {
    fn load(self) -> u64 {
        self.0.get()
    }

    fn swap(self, old: u64, new: u64) -> bool {
        self.0.replace(new) == old
    }
}

/// The textbook: a bucket of `burst` cells that leaks continuously, in exact rationals (units of
/// 1 / per_ns of a cell).
struct Oracle {
    per_ns: u128,
    amount: u128,
    burst: u128,
    level: u128,
    at_ns: u64,
}

impl Oracle {
    fn admits(&mut self, now_ns: u64, n: u64) -> bool {
        let leaked = u128::from(now_ns.saturating_sub(self.at_ns)) * self.amount;
        let level = self.level.saturating_sub(leaked);
        let wanted = level + u128::from(n) * self.per_ns;
        (self.level, self.at_ns) = (level, self.at_ns.max(now_ns));
        let fits = wanted <= self.burst * self.per_ns;
        if fits {
            self.level = wanted;
        }
        fits
    }
}

fn admitted(limit: &Limit, cell: &StdCell<u64>, now_ns: u64, n: u64) -> bool {
    matches!(charge(Local(cell), limit, n, now_ns), Charged::Conforming { .. })
}

#[test]
fn a_burst_is_what_comes_at_once_and_no_more() {
    for (amount, per_s, burst) in
        [(10, 1, 20), (3, 1, 10), (1, 60, 3), (7, 1, 1), (999_983, 1, 5), (1, 900, 1)]
    {
        let limit = Limit::new(amount, per_s * SECOND_NS, burst).unwrap();
        let cell = StdCell::new(0);
        let at_once = (0..burst + 5).filter(|_| admitted(&limit, &cell, START_NS, 1)).count();
        assert_eq!(at_once as u64, burst, "{amount} per {per_s} s, burst {burst}");
    }
}

#[test]
fn who_waits_as_told_conforms_and_a_moment_earlier_does_not() {
    let limit = Limit::new(3, SECOND_NS, 2).unwrap();
    let cell = StdCell::new(0);
    while admitted(&limit, &cell, START_NS, 1) {}
    let Charged::Over { debt_ns } = charge(Local(&cell), &limit, 1, START_NS) else { panic!("over") };
    let wait_ns = limit.wait_ns(debt_ns, 1).unwrap();
    assert!(!admitted(&limit, &cell, START_NS + wait_ns - 1, 1));
    assert!(admitted(&limit, &cell, START_NS + wait_ns, 1));
}

#[test]
fn extremes_are_answered() {
    for (amount, per_ns, burst) in
        [(0, 1, 1), (1, 0, 1), (1, 1, 0), (1, SECOND_NS, 901), (1, u64::MAX, u64::MAX)]
    {
        assert_eq!(Limit::new(amount, per_ns, burst), None, "{amount} {per_ns} {burst}");
    }
    let limit = Limit::new(10, SECOND_NS, 5).unwrap();
    let cell = StdCell::new(0);
    assert!(admitted(&limit, &cell, START_NS, 0), "nothing costs nothing");
    assert_eq!(cell.get(), START_NS);
    assert!(!admitted(&limit, &cell, START_NS, 6), "more than the burst never conforms");
    assert_eq!(limit.wait_ns(0, 6), None);
    assert_eq!(limit.remaining(0), 5);
    assert_eq!(limit.remaining(u64::MAX), 0);
    assert!(!Limit::NONE.is_set());
}

#[test]
fn debts_are_raised_and_forgiven() {
    let cell = StdCell::new(START_NS);
    assert!(raise(Local(&cell), START_NS + 7) && raise(Local(&cell), START_NS + 3));
    assert_eq!(cell.get(), START_NS + 7);
    assert!(forgive(Local(&cell), START_NS + 5) && forgive(Local(&cell), START_NS + 6));
    assert_eq!(cell.get(), START_NS + 5);
}

/// A word that another thread changes before each of so many swaps.
#[derive(Clone, Copy)]
struct Busy<'a>(&'a StdCell<u64>, &'a StdCell<usize>);

impl Cell for Busy<'_> {
    fn load(self) -> u64 {
        self.0.get()
    }

    fn swap(self, old: u64, new: u64) -> bool {
        if let Some(left) = self.1.get().checked_sub(1) {
            self.1.set(left);
            self.0.set(self.0.get() + 1);
        }
        let same = self.0.get() == old;
        if same {
            self.0.set(new);
        }
        same
    }
}

#[test]
fn so_many_lost_swaps_deny_and_cost_nothing() {
    let limit = Limit::new(10, SECOND_NS, 5).unwrap();
    for losses in 0..TRIES + 3 {
        let (word, left) = (StdCell::new(START_NS), StdCell::new(losses));
        let charged = charge(Busy(&word, &left), &limit, 1, START_NS);
        let others = START_NS + losses.min(TRIES) as u64;
        if losses < TRIES {
            assert_eq!(charged, Charged::Conforming { debt_ns: word.get() - START_NS }, "{losses} lost");
            assert_eq!(word.get(), others + limit.cost_ns(1));
        } else {
            assert_eq!((charged, word.get()), (Charged::Contended, others), "{losses} lost");
        }
        word.set(START_NS);
        left.set(losses);
        assert_eq!(raise(Busy(&word, &left), START_NS + SECOND_NS), losses < TRIES);
        left.set(losses);
        word.set(START_NS + SECOND_NS);
        assert_eq!(forgive(Busy(&word, &left), START_NS), losses < TRIES);
    }
}

proptest! {
    /// Never more than the textbook admits, and as much, but for the rounding of the interval.
    #[test]
    fn it_agrees_with_the_textbook(
        amount in 1_u64..100_000,
        burst in 1_u64..1_000,
        steps in proptest::collection::vec((0_u64..50_000_000, 1_u64..3), 1..400),
    ) {
        let Some(limit) = Limit::new(amount, SECOND_NS, burst) else { return Ok(()) };
        let cell = StdCell::new(0);
        let mut oracle = Oracle {
            per_ns: u128::from(SECOND_NS), amount: u128::from(amount), burst: u128::from(burst), level: 0, at_ns: START_NS,
        };
        let (mut ours, mut theirs, mut now_ns) = (0_u64, 0_u64, START_NS);
        for (pause_ns, n) in steps {
            now_ns += pause_ns;
            ours += if admitted(&limit, &cell, now_ns, n) { n } else { 0 };
            theirs += if oracle.admits(now_ns, n) { n } else { 0 };
        }
        let bound = burst + u64::try_from(u128::from(now_ns - START_NS) * u128::from(amount) / u128::from(SECOND_NS)).unwrap();
        prop_assert!(ours <= bound, "{ours} > {bound}");
        // An interval is at most 1 ns longer than asked, in a microsecond or more; and two units may differ in when they fit.
        let lost = 3 + theirs / 500;
        prop_assert!(ours + lost >= theirs, "{ours} + {lost} < {theirs}");
    }

    /// A clock that goes back admits nothing that one that stands still would not.
    #[test]
    fn a_clock_that_goes_back_gives_nothing_away(mut backs in proptest::collection::vec(0_u64..SECOND_NS, 1..100)) {
        backs.sort_unstable();
        let limit = Limit::new(10, SECOND_NS, 5).unwrap();
        let cell = StdCell::new(0);
        let count = backs.iter().filter(|back_ns| admitted(&limit, &cell, START_NS - **back_ns, 1)).count();
        prop_assert!(count <= 5);
    }

    #[test]
    fn no_word_and_no_moment_wraps_into_an_admission(tat_ns: u64, now_ns in 0_u64..(1 << 62), n in 0_u64..=Limit::UNITS_MAX) {
        let limit = Limit::new(1, SECOND_NS, 100).unwrap();
        match limit.decide(tat_ns, now_ns, n) {
            Outcome::Conforming { tat_ns: next } => {
                prop_assert!(next >= now_ns && next - now_ns <= limit.tau_ns);
            }
            Outcome::Over { debt_ns } => prop_assert!(debt_ns + limit.cost_ns(n) > limit.tau_ns || debt_ns > limit.tau_ns),
        }
    }
}
