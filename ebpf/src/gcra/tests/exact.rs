//! The limiter against the other form of its own recommendation, in integers that cannot wrap, over
//! the whole range of limits, costs and clocks.

use super::*;

/// The continuous-state leaky bucket of ITU-T I.371 annex A, which must answer as virtual scheduling
/// does: a level that leaks 1 a ns since the last conforming arrival. Clocks may go back.
#[derive(Default)]
struct Bucket {
    level: i128,
    last_ns: i128,
}

impl Bucket {
    fn admits(&mut self, limit: &Limit, now_ns: u64, n: u64) -> bool {
        let now_ns = i128::from(now_ns);
        let level = (self.level - (now_ns - self.last_ns)).max(0);
        let full = level + exact_cost_ns(limit, n);
        if full > i128::from(limit.tau_ns) || now_ns + full > i128::from(u64::MAX) {
            return false;
        }
        (self.level, self.last_ns) = (full, now_ns);
        true
    }
}

fn exact_cost_ns(limit: &Limit, n: u64) -> i128 {
    (i128::from(n) * i128::from(limit.interval) + 0xffff) >> 16
}

/// Any number of bits is as likely as any other.
fn any_size() -> impl Strategy<Value = u64> {
    (0_u32..64, any::<u64>()).prop_map(|(shift, bits)| bits >> shift)
}

/// Every limit that can be held, the fastest and the slowest among them.
fn any_limit() -> impl Strategy<Value = (u64, u64, u64, Limit)> {
    let sizes = (any_size(), any_size(), any_size());
    sizes.prop_filter_map("a limit that cannot be held", |(amount, per_ns, burst)| {
        Some((amount, per_ns, burst, Limit::new(amount, per_ns, burst)?))
    })
}

/// Moments that lie close together anywhere on the clock, its ends included, forth and back.
fn any_moments() -> impl Strategy<Value = Vec<(u64, u64)>> {
    let start = prop_oneof![Just(0), Just(u64::MAX), Just(START_NS), any::<u64>()];
    let step = (any_size(), any::<bool>(), 0..=Limit::UNITS_MAX);
    (start, 0_u32..60, proptest::collection::vec(step, 1..200)).prop_map(|(start, shift, steps)| {
        let mut now_ns = start;
        let moments = steps.into_iter().map(|(pause, back, n)| {
            let pause_ns = pause >> shift;
            now_ns = if back { now_ns.saturating_sub(pause_ns) } else { now_ns.saturating_add(pause_ns) };
            // Mostly small costs: large ones seldom conform twice.
            (now_ns, if pause & 3 == 0 { n } else { n & 3 })
        });
        moments.collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn it_answers_as_the_leaky_bucket((_, _, _, limit) in any_limit(), moments in any_moments()) {
        let (cell, mut bucket) = (StdCell::new(0), Bucket::default());
        for (now_ns, n) in moments {
            let (ours, theirs) = (admitted(&limit, &cell, now_ns, n), bucket.admits(&limit, now_ns, n));
            prop_assert_eq!(ours, theirs, "{:?}: {} at {}, word {}", limit, n, now_ns, cell.get());
        }
    }

    /// Over the whole span of the clock that was seen, wherever in it the charges came. The time counts
    /// a ns more than went by, because tau is whole: one unit at most below 1,000,000,000 a second.
    #[test]
    fn it_admits_at_most_burst_and_rate_by_time_and_one(
        (amount, per_ns, burst, limit) in any_limit(),
        moments in any_moments(),
    ) {
        let cell = StdCell::new(0);
        let first_ns = moments.iter().map(|(now_ns, _)| *now_ns).min().unwrap();
        let last_ns = moments.iter().map(|(now_ns, _)| *now_ns).max().unwrap();
        let units: u64 =
            moments.iter().filter(|(now_ns, n)| admitted(&limit, &cell, *now_ns, *n)).map(|(_, n)| n).sum();
        // units <= burst + amount x time / per, without a division.
        let beyond = u128::from(units.saturating_sub(burst)) * u128::from(per_ns);
        let earned = (u128::from(last_ns - first_ns) + 1) * u128::from(amount);
        prop_assert!(beyond <= earned, "{} of {:?} in {} ns", units, limit, last_ns - first_ns);
    }

    /// Arrivals no closer in the long run than the interval, each late by no more than the tolerance allows.
    #[test]
    fn a_conforming_stream_is_never_refused(
        (_, _, _, limit) in any_limit(),
        start_ns in 0_u64..1 << 62,
        n in 0_u64..=Limit::UNITS_MAX,
        late in proptest::collection::vec(any::<u64>(), 1..200),
    ) {
        let n = n % (limit.remaining(0) + 1);
        let cost_ns = limit.cost_ns(n);
        let cell = StdCell::new(0);
        let mut now_ns = 0;
        for (due_ns, late) in (0..).map(|idx| start_ns + idx * cost_ns).zip(late) {
            now_ns = now_ns.max(due_ns + late % (limit.tau_ns - cost_ns + 1));
            prop_assert!(admitted(&limit, &cell, now_ns, n), "{:?}: {} at {}", limit, n, now_ns);
        }
    }

    #[test]
    fn costs_at_their_ends((_, _, _, limit) in any_limit(), tat_ns: u64, now_ns: u64) {
        let cell = StdCell::new(tat_ns);
        let owed_ns = tat_ns.saturating_sub(now_ns);
        prop_assert_eq!(admitted(&limit, &cell, now_ns, 0), owed_ns <= limit.tau_ns, "cost 0");
        if owed_ns <= limit.tau_ns {
            prop_assert_eq!(cell.get(), tat_ns.max(now_ns), "cost 0 adds no debt");
        }
        let before = cell.get();
        let beyond = u64::try_from((u128::from(limit.tau_ns) << 16) / u128::from(limit.interval)).unwrap() + 1;
        if beyond <= Limit::UNITS_MAX {
            prop_assert!(!admitted(&limit, &cell, now_ns, beyond), "a cost above the burst");
            prop_assert_eq!(limit.wait_ns(owed_ns, beyond), None);
        }
        prop_assert_eq!(cell.get(), before, "a refusal costs nothing");
    }

    #[test]
    fn limits_at_their_ends_are_what_was_asked((amount, per_ns, burst, limit) in any_limit()) {
        prop_assert!(limit.tau_ns <= Limit::TAU_MAX_NS && limit.is_set());
        // Never faster than asked, and slower by 0.1 % and the last bit of the interval at most.
        let (asked, held) = (u128::from(per_ns) << 16, u128::from(limit.interval) * u128::from(amount));
        prop_assert!(held >= asked, "{held} < {asked}");
        prop_assert!(held <= asked + asked / 1_000 + u128::from(amount), "{held} > {asked}");
        for n in [burst.min(Limit::UNITS_MAX), 1] {
            prop_assert_eq!(i128::from(limit.cost_ns(n)), exact_cost_ns(&limit, n), "a cost that wraps");
            prop_assert!(limit.cost_ns(n) <= limit.tau_ns, "the burst does not fit itself");
        }
        if burst >= Limit::BYTE_BURST_MIN {
            prop_assert_eq!(i128::from(limit.cost_ns(Limit::BYTES_MAX)), exact_cost_ns(&limit, Limit::BYTES_MAX));
        }
        prop_assert_eq!(limit.remaining(0), u64::try_from((u128::from(limit.tau_ns) << 16) / u128::from(limit.interval)).unwrap());
        prop_assert!(limit.remaining(0) >= burst);
    }

    #[test]
    fn who_waits_as_told_conforms((_, _, _, limit) in any_limit(), debt_ns in 0_u64..=Limit::TAU_MAX_NS, n in 0_u64..=Limit::UNITS_MAX) {
        let debt_ns = debt_ns % (limit.tau_ns + 1);
        let cell = StdCell::new(START_NS + debt_ns);
        let Some(wait_ns) = limit.wait_ns(debt_ns, n) else { return Ok(()) };
        prop_assert_eq!(wait_ns == 0, admitted(&limit, &cell, START_NS, n), "no wait, no refusal");
        if wait_ns > 0 {
            prop_assert!(!admitted(&limit, &cell, START_NS + wait_ns - 1, n), "a ns too early");
            prop_assert!(admitted(&limit, &cell, START_NS + wait_ns, n), "as told");
        }
    }
}
