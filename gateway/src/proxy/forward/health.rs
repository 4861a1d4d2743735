//! What an address's answers and checks say about it: so many failures in a row eject it for a while, each time
//! for longer; after that single requests try it, until one is answered well. Atomics only. Who may be
//! ejected beside others is the balance's to say.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use arc_swap::ArcSwapOption;

use crate::model::{Check, Eject};

/// From one trial of an address whose time is over to the next.
const TRIAL_NS: u64 = 1_000_000_000;
/// Ejections that still double the time.
const LEVEL_MAX: u32 = 16;

/// Of one address.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// In a row.
    failures: AtomicU32,
    /// Answers in a row that broke off behind their heads.
    cuts: AtomicU32,
    /// The end of the last ejection; 0: never.
    until_ns: AtomicU64,
    /// Ejections without a rest between them.
    level: AtomicU32,
    /// Of the last ejection.
    why: ArcSwapOption<String>,
    /// Was ejected, and has not answered well since.
    on_trial: AtomicBool,
    tried_ns: AtomicU64,
    /// By its checks.
    is_down: AtomicBool,
    /// Checks in a row that say otherwise than `is_down`.
    others: AtomicU32,
    /// Since when it serves; 0: ever since it is known.
    serves_since_ns: AtomicU64,
}

/// How an address stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Standing {
    Serving,
    /// Its checks fail.
    Down,
    /// One request may find out.
    OnTrial,
    Ejected {
        until_ns: u64,
    },
}

impl Health {
    pub fn since(now_ns: u64) -> Self {
        Self { serves_since_ns: AtomicU64::new(now_ns), ..Self::default() }
    }

    pub fn standing(&self, now_ns: u64) -> Standing {
        if self.is_down.load(Ordering::Relaxed) {
            return Standing::Down;
        }
        if !self.on_trial.load(Ordering::Acquire) {
            return Standing::Serving;
        }
        match self.until_ns.load(Ordering::Relaxed) {
            until_ns if until_ns > now_ns => Standing::Ejected { until_ns },
            _ => Standing::OnTrial,
        }
    }

    /// Whether a request may go there: always where it serves, every [`TRIAL_NS`] on trial.
    pub fn may_serve(&self, now_ns: u64) -> bool {
        match self.standing(now_ns) {
            Standing::Serving => true,
            Standing::OnTrial => self.tried_ns.load(Ordering::Relaxed).saturating_add(TRIAL_NS) <= now_ns,
            Standing::Ejected { .. } | Standing::Down => false,
        }
    }

    /// As [`Health::may_serve`], by the request that goes: one of many has the trial.
    pub fn take_trial(&self, now_ns: u64) -> bool {
        if self.standing(now_ns) == Standing::Serving {
            return true;
        }
        let tried_ns = self.tried_ns.load(Ordering::Relaxed);
        let first = self.tried_ns.compare_exchange(tried_ns, now_ns, Ordering::Relaxed, Ordering::Relaxed);
        tried_ns.saturating_add(TRIAL_NS) <= now_ns && first.is_ok()
    }

    /// An answer that is no failure. True: it serves again from now on.
    pub fn succeeded(&self, now_ns: impl FnOnce() -> u64) -> bool {
        // Two loads of what nobody writes, as long as all is well.
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
        if !self.on_trial.load(Ordering::Relaxed) {
            return false;
        }
        let now_ns = now_ns();
        // An answer that was under way when it was ejected does not end that.
        if self.until_ns.load(Ordering::Relaxed) > now_ns || !self.on_trial.swap(false, Ordering::AcqRel) {
            return false;
        }
        self.serves_since_ns.store(now_ns, Ordering::Relaxed);
        true
    }

    /// Notes a failure. True: it is time to eject.
    pub fn failed(&self, eject: &Eject, now_ns: u64) -> bool {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        match self.standing(now_ns) {
            Standing::Serving => eject.failures > 0 && failures >= eject.failures,
            Standing::OnTrial => true,
            Standing::Ejected { .. } | Standing::Down => false,
        }
    }

    /// An answer came whole.
    pub fn finished(&self) {
        if self.cuts.load(Ordering::Relaxed) != 0 {
            self.cuts.store(0, Ordering::Relaxed);
        }
    }

    /// Notes an answer that broke off. True: it is time to eject. The count outlives the ejection: whose
    /// heads are good and whose bodies break again is out at the first.
    pub fn cut(&self, eject: &Eject, now_ns: u64) -> bool {
        let cuts = self.cuts.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let may = matches!(self.standing(now_ns), Standing::Serving | Standing::OnTrial);
        may && eject.failures > 0 && cuts >= eject.failures
    }

    /// What a check found, by the only one who asks. True: from now on it is up, or down.
    pub fn checked(&self, check: &Check, found: &Result<(), String>, now_ns: u64) -> bool {
        let was_down = self.is_down.load(Ordering::Relaxed);
        if found.is_err() == was_down {
            self.others.store(0, Ordering::Relaxed);
            return false;
        }
        let enough = if was_down { check.up } else { check.down };
        let others = self.others.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if others < enough {
            return false;
        }
        self.others.store(0, Ordering::Relaxed);
        match found {
            Ok(()) => self.serves_since_ns.store(now_ns, Ordering::Relaxed),
            Err(why) => self.why.store(Some(Arc::new(why.clone()))),
        }
        self.is_down.store(!was_down, Ordering::Relaxed);
        true
    }

    /// Without checks nobody is down.
    pub fn unchecked(&self) {
        self.is_down.store(false, Ordering::Relaxed);
    }

    /// For how long.
    pub fn eject(&self, eject: &Eject, why: String, now_ns: u64) -> u64 {
        let length_ns = |level: u32| {
            let times = 1_u32 << level.min(LEVEL_MAX);
            u64::try_from(eject.time.saturating_mul(times).min(eject.most).as_nanos()).unwrap_or(u64::MAX)
        };
        let (level, last_ns) = (self.level.load(Ordering::Relaxed), self.until_ns.load(Ordering::Relaxed));
        // The level falls by one for each whole length of the last ejection that it served for.
        let served_ns = now_ns.saturating_sub(last_ns);
        let rests = served_ns.checked_div(length_ns(level.saturating_sub(1))).unwrap_or_default();
        let level = level.saturating_sub(u32::try_from(rests).unwrap_or(u32::MAX));
        let length_ns = length_ns(level);
        self.level.store(level.saturating_add(1).min(LEVEL_MAX), Ordering::Relaxed);
        self.until_ns.store(now_ns.saturating_add(length_ns), Ordering::Relaxed);
        self.tried_ns.store(0, Ordering::Relaxed);
        self.why.store(Some(Arc::new(why)));
        self.on_trial.store(true, Ordering::Release);
        length_ns
    }

    /// Why it was ejected, where it is or was not yet found well again.
    pub fn why(&self) -> Option<Arc<String>> {
        let is_bad = self.on_trial.load(Ordering::Relaxed) || self.is_down.load(Ordering::Relaxed);
        self.why.load_full().filter(|_| is_bad)
    }

    /// Its part of a full share, in 1024ths, while it grows for `slow_start_ns`.
    pub fn share(&self, slow_start_ns: u64, now_ns: u64) -> u64 {
        let since_ns = self.serves_since_ns.load(Ordering::Relaxed);
        if slow_start_ns == 0 || since_ns == 0 {
            return FULL_SHARE;
        }
        let served_ns = u128::from(now_ns.saturating_sub(since_ns));
        let share = served_ns * u128::from(FULL_SHARE) / u128::from(slow_start_ns);
        u64::try_from(share).unwrap_or(FULL_SHARE).clamp(1, FULL_SHARE)
    }
}

/// Of [`Health::share`].
pub(super) const FULL_SHARE: u64 = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    fn ejected_for(health: &Health, eject: &Eject, now_s: u64) -> u64 {
        health.eject(eject, String::new(), now_s * SECOND_NS) / SECOND_NS
    }

    #[test]
    fn ejections_grow_and_are_forgiven() {
        let (health, eject) = (Health::default(), Eject::default());
        let mut now_s = 1_000;
        for expected in [10, 20, 40, 80, 160, 300, 300] {
            assert_eq!(ejected_for(&health, &eject, now_s), expected, "each time for twice as long");
            now_s += expected;
        }
        // Level 7, whose length is 300 s: after two of them level 5.
        assert_eq!(ejected_for(&health, &eject, now_s + 600), 300);
        assert_eq!(ejected_for(&health, &eject, now_s + 900 + 86_400), 10, "long ago");
    }

    #[test]
    fn failures_in_a_row_eject_and_one_good_answer_ends_the_trial() {
        let (health, eject) = (Health::default(), Eject { failures: 3, ..Eject::default() });
        for failures in [false, false] {
            assert_eq!(health.failed(&eject, SECOND_NS), failures);
        }
        health.succeeded(|| SECOND_NS);
        assert!(!health.failed(&eject, SECOND_NS) && !health.failed(&eject, SECOND_NS), "not in a row");
        assert!(health.failed(&eject, SECOND_NS));
        health.eject(&eject, "broke".to_owned(), SECOND_NS);
        assert_eq!(health.why().as_deref().map(String::as_str), Some("broke"));
        assert!(!health.may_serve(SECOND_NS + 1), "ejected");
        assert!(!health.succeeded(|| SECOND_NS + 1), "a late answer");
        let after_ns = 12 * SECOND_NS;
        assert!(health.may_serve(after_ns) && health.take_trial(after_ns), "a trial");
        assert!(!health.may_serve(after_ns) && !health.take_trial(after_ns), "only one at a time");
        assert!(health.failed(&eject, after_ns), "one failure is enough on trial");
        health.eject(&eject, String::new(), after_ns);
        let after_ns = 40 * SECOND_NS;
        assert!(health.take_trial(after_ns) && health.succeeded(|| after_ns));
        assert_eq!(health.standing(after_ns), Standing::Serving);
        assert_eq!(health.share(10 * SECOND_NS, after_ns + 5 * SECOND_NS), FULL_SHARE / 2);
    }

    #[test]
    fn without_failures_nobody_is_ejected() {
        let (health, eject) = (Health::default(), Eject { failures: 0, ..Eject::default() });
        assert!((0..100).all(|_| !health.failed(&eject, SECOND_NS)));
    }
}
