//! The ways to pick: by turn, by what is in flight, by hash. All ask `fits` first, so what is ejected,
//! full or tried is passed over, and its part is spread over all the others.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::ring::mix;
use super::{Balance, By, Members, Target};
use crate::proxy::forward::health::FULL_SHARE;

/// Draws until the targets are gone through one after the other.
const DRAWS: u64 = 8;
/// A hash keeps to its target up to so many in flight there, whatever the others have; beyond it up to
/// five fourths of its part of all that is in flight (consistent hashing with bounded loads).
const CROWD: u32 = 32;

impl Balance {
    pub(super) fn pick<'a>(
        &self,
        members: &'a Members,
        key: u64,
        now_ns: u64,
        fits: &dyn Fn(&Target) -> bool,
    ) -> Option<&'a Arc<Target>> {
        let turn = || self.group.next.fetch_add(1, Ordering::Relaxed) as u64;
        match &self.by {
            By::RoundRobin => {
                let (turn, n_turns) = (turn(), members.turns.len() as u64);
                let at = |number: u64| {
                    let idx = usize::try_from(number.checked_rem(n_turns)?).ok()?;
                    members.turns.get(idx).copied()
                };
                self.draw(members, turn, now_ns, fits, &at)
            }
            By::LeastPending => self.least(members, turn(), now_ns, fits),
            By::ClientHash | By::HeaderHash(_) => {
                let keeps = |target: &Target| fits(target) && !is_crowded(members, target);
                let at = |number: u64| members.ring.owner(number);
                self.draw(members, key, now_ns, &keeps, &at)
                    .or_else(|| self.draw(members, key, now_ns, fits, &at))
            }
        }
    }

    /// The first that fits of `at(number)`, of some numbers drawn from it, and of all.
    fn draw<'a>(
        &self,
        members: &'a Members,
        number: u64,
        now_ns: u64,
        fits: &dyn Fn(&Target) -> bool,
        at: &dyn Fn(u64) -> Option<usize>,
    ) -> Option<&'a Arc<Target>> {
        let mut growing = None;
        for draw in 0..DRAWS {
            let drawn = if draw == 0 { number } else { mix(number ^ (draw << 56)) };
            let Some(target) = at(drawn).and_then(|idx| members.targets.get(idx)) else { continue };
            if !fits(target) {
                continue;
            }
            // While its share grows it takes a part of what it is drawn for.
            let share = target.state.health.share(self.slow_start_ns, now_ns);
            if share == FULL_SHARE || mix(number ^ target.state.id.rotate_left(32)) % FULL_SHARE < share {
                return Some(target);
            }
            growing.get_or_insert(target);
        }
        growing.or_else(|| rotated(&members.targets, number).find(|target| fits(target)))
    }

    /// Who has the fewest in flight for its weight; of equals the one whose turn it is.
    fn least<'a>(
        &self,
        members: &'a Members,
        turn: u64,
        now_ns: u64,
        fits: &dyn Fn(&Target) -> bool,
    ) -> Option<&'a Arc<Target>> {
        let load = |target: &Target| {
            let share = target.state.health.share(self.slow_start_ns, now_ns);
            let part = u64::from(target.weight).saturating_mul(share).max(1);
            (u64::from(target.in_flight()).saturating_add(1) << 30) / part
        };
        let free = rotated(&members.targets, turn).filter(|target| fits(target));
        free.min_by_key(|target| load(target))
    }
}

/// All of them, from another one each time.
fn rotated(targets: &[Arc<Target>], number: u64) -> impl Iterator<Item = &Arc<Target>> {
    let first = number.checked_rem(targets.len() as u64).and_then(|first| usize::try_from(first).ok());
    let (before, behind) = targets.split_at_checked(first.unwrap_or_default()).unwrap_or((&[], targets));
    behind.iter().chain(before)
}

fn is_crowded(members: &Members, target: &Target) -> bool {
    let own = target.in_flight();
    if own < CROWD {
        return false;
    }
    let (mut all, mut weights) = (0_u64, 0_u64);
    for one in &members.targets {
        all += u64::from(one.in_flight());
        weights += u64::from(one.weight);
    }
    // own + 1 > 5/4 * (all + 1) * weight / weights
    4 * (u64::from(own) + 1) * weights > 5 * (all + 1) * u64::from(target.weight)
}
