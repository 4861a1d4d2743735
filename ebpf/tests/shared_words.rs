//! A few threads on one shared word, in every order that a few preemptions make, relaxed loads that are
//! stale included: loom runs them all. The words are TATs and cells of SEEN; the code is the kernel's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64 as Tally, Ordering::SeqCst};

use loom::sync::atomic::{AtomicU64, Ordering::Relaxed};
use weir_ebpf::gcra::{Cell, Charged, Limit, charge, forgive, raise};
use weir_ebpf::seen::{BANNED, Place, mark, see, unmark};

const NOW_NS: u64 = 1 << 40;
const INTERVAL_NS: u64 = 1_000;
const SEED: u64 = 7;

/// A word as the kernel shares it.
#[derive(Clone, Copy)]
struct Shared<'a>(&'a AtomicU64);

impl Cell for Shared<'_> {
    fn load(self) -> u64 {
        self.0.load(Relaxed)
    }

    fn swap(self, old: u64, new: u64) -> bool {
        self.0.compare_exchange(old, new, Relaxed, Relaxed).is_ok()
    }
}

/// The same with a swap in two steps: what every test here must be able to see.
#[derive(Clone, Copy)]
struct Torn<'a>(&'a AtomicU64);

impl Cell for Torn<'_> {
    fn load(self) -> u64 {
        self.0.load(Relaxed)
    }

    fn swap(self, old: u64, new: u64) -> bool {
        let same = self.0.load(Relaxed) == old;
        if same {
            self.0.store(new, Relaxed);
        }
        same
    }
}

fn limit(burst: u64) -> Limit {
    Limit { interval: INTERVAL_NS << 16, tau_ns: burst * INTERVAL_NS }
}

/// How often a run takes a thread the processor away. Two break every test here whose swap is torn; each
/// more multiplies the runs.
const PREEMPTIONS_MAX: usize = 4;

/// Runs `step` on a word in each of `N` threads, in every order; then what it says of the word.
fn threads<const N: usize, T: 'static>(
    start: u64,
    step: impl Fn(usize, &AtomicU64) -> T + Send + Sync + Copy + 'static,
    check: impl Fn([T; N], u64) + Send + Sync + 'static,
) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(PREEMPTIONS_MAX);
    model.check(move || {
        let word = loom::sync::Arc::new(AtomicU64::new(start));
        let spawned: Vec<_> = (1..N)
            .map(|idx| {
                let word = word.clone();
                loom::thread::spawn(move || step(idx, &word))
            })
            .collect();
        let first = step(0, &word);
        let others = spawned.into_iter().map(|thread| thread.join().expect("a thread that does not panic"));
        let answers: Vec<T> = std::iter::once(first).chain(others).collect();
        check(answers.try_into().ok().expect("N threads"), word.load(Relaxed));
    });
}

fn is_admitted(charged: &Charged) -> bool {
    matches!(charged, Charged::Conforming { .. })
}

#[test]
fn k_threads_admit_the_burst_and_no_more() {
    threads(
        0,
        |_, word| charge(Shared(word), &limit(2), 1, NOW_NS),
        |charged: [_; 3], tat_ns| {
            assert_eq!(charged.iter().filter(|charged| is_admitted(charged)).count(), 2);
            assert!(charged.iter().all(|charged| *charged != Charged::Contended), "fewer than TRIES threads");
            assert_eq!(tat_ns, NOW_NS + 2 * INTERVAL_NS);
        },
    );
}

#[test]
fn unequal_costs_and_clocks_that_differ_are_summed() {
    threads(
        NOW_NS,
        |idx, word| charge(Shared(word), &limit(4), 1 + idx as u64, NOW_NS - idx as u64),
        |charged: [_; 3], tat_ns| {
            let costs = (1..).zip(&charged).filter(|(_, charged)| is_admitted(charged)).map(|(n, _)| n);
            let units: u64 = costs.sum();
            assert_eq!(tat_ns, NOW_NS + units * INTERVAL_NS, "each that was admitted paid");
            assert!(units <= 4);
        },
    );
}

#[test]
fn a_swap_in_two_steps_is_seen_to_admit_too_many() {
    let most = Arc::new(Tally::new(0));
    let seen = most.clone();
    threads(
        0,
        |_, word| charge(Torn(word), &limit(1), 1, NOW_NS),
        move |charged: [_; 2], _| {
            let count = charged.iter().filter(|charged| is_admitted(charged)).count();
            seen.fetch_max(count as u64, SeqCst);
        },
    );
    assert_eq!(most.load(SeqCst), 2, "a model that cannot see this proves nothing");
}

#[test]
fn a_debt_that_is_raised_meanwhile_stays() {
    const RAISED_NS: u64 = NOW_NS + 5 * INTERVAL_NS;
    threads(
        0,
        |idx, word| match idx {
            0 => raise(Shared(word), RAISED_NS),
            _ => is_admitted(&charge(Shared(word), &limit(10), 1, NOW_NS)),
        },
        |done: [_; 3], tat_ns| {
            assert!(done.iter().all(|done| *done));
            // A charge before it is within what was raised; one behind it comes on top.
            let above = tat_ns - RAISED_NS;
            assert!([0, INTERVAL_NS, 2 * INTERVAL_NS].contains(&above), "{above}");
        },
    );
}

#[test]
fn a_debt_that_is_forgiven_meanwhile_is_gone() {
    threads(
        NOW_NS + 10 * INTERVAL_NS,
        |idx, word| match idx {
            0 => forgive(Shared(word), NOW_NS),
            _ => is_admitted(&charge(Shared(word), &limit(4), 1, NOW_NS)),
        },
        |[forgiven, first, second]: [_; 3], tat_ns| {
            assert!(forgiven);
            let charges = u64::from(first) + u64::from(second);
            assert_eq!(tat_ns, NOW_NS + charges * INTERVAL_NS);
        },
    );
}

/// Keys whose cells are different bytes of one word.
fn neighbours() -> [Place; 3] {
    let first = Place::of(0, SEED);
    let mut found = vec![first];
    let others = (1_u64..).map(|key| Place::of(key, SEED)).filter(|place| place.word_idx == first.word_idx);
    for place in others {
        if !found.contains(&place) {
            found.push(place);
        }
        if let [a, b, c] = *found {
            return [a, b, c];
        }
    }
    unreachable!("keys do not end")
}

#[test]
fn neighbours_in_a_word_keep_their_bytes() {
    const EPOCH: u8 = 3;
    let [seen, marked, unmarked] = neighbours();
    threads(
        0,
        move |idx, word| match idx {
            0 => {
                see(Shared(word), seen, EPOCH);
                true
            }
            1 => mark(Shared(word), marked),
            _ => mark(Shared(word), unmarked) && unmark(Shared(word), unmarked, EPOCH + 1),
        },
        move |done: [_; 3], word| {
            assert!(done.iter().all(|done| *done));
            assert_eq!((seen.read(word), marked.read(word), unmarked.read(word)), (EPOCH, BANNED, EPOCH + 1));
        },
    );
}

#[test]
fn a_ban_is_not_lost_to_who_is_seen_at_the_same_time() {
    let [place, ..] = neighbours();
    threads(
        0,
        move |idx, word| match idx {
            0 => mark(Shared(word), place),
            _ => {
                see(Shared(word), place, 3 + idx as u8);
                true
            }
        },
        move |_: [_; 3], word| assert_eq!(place.read(word), BANNED),
    );
}
