//! Retries that an API may have: a share of its requests, saved up to a reserve. When an upstream
//! fails everything, the others get so much more and no storm.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::Retry;

/// In hundredths of a retry. What was taken counts, so that a fresh budget is a full one.
#[derive(Debug, Default)]
pub(super) struct Budget {
    spent: AtomicU64,
}

const RETRY: u64 = 100;

impl Budget {
    /// A request's share. While the reserve is full that is one load.
    pub fn earn(&self, retry: &Retry) {
        if self.spent.load(Ordering::Relaxed) == 0 {
            return;
        }
        let less = |spent: u64| Some(spent.saturating_sub(retry.percent.into()));
        // The closure never says no.
        self.spent.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).map(drop).unwrap_or(());
    }

    /// False: there is no retry left.
    pub fn spend(&self, retry: &Retry) -> bool {
        let most = u64::from(retry.reserve) * RETRY;
        let more = |spent: u64| spent.checked_add(RETRY).filter(|spent| *spent <= most);
        self.spent.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_a_reserve_and_a_share() {
        let (budget, retry) = (Budget::default(), Retry { times: 1, percent: 20, reserve: 3 });
        for (requests, retries) in [(0, 3), (4, 0), (1, 1), (10, 2), (1_000, 3)] {
            (0..requests).for_each(|_| budget.earn(&retry));
            let spent = (0..10).filter(|_| budget.spend(&retry)).count();
            assert_eq!(spent, retries, "after {requests} requests");
        }
    }
}
