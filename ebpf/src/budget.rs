//! What the unproved may pass together: packets by class, tick and CPU. Per-CPU memory, so there is
//! nothing to lock; ticks are counted in jiffies, so there is no clock to read. A flood of sources ends here.

use crate::abi::{Budget, CLASSES, Count, Rules};

/// Bounds a class's number for the verifier of Linux 6.1, which does not take a bound from a comparison
/// of 32 bits; what it lets through beyond CLASSES lies inside [`Budget`] and [`Rules`].
const CLASS_MASK: usize = 7;

/// Begins a new tick where one has begun.
#[inline(always)]
pub fn roll(budget: &mut Budget, rules: &Rules, jiffies: u64) {
    let tick = jiffies >> (rules.tick_shift & 63);
    if budget.tick != tick {
        budget.tick = tick;
        budget.used = [0; CLASSES];
        budget.cookies = 0;
        budget.listener_syns = 0;
        budget.promotions = 0;
    }
}

/// Whether the class may pass another packet in this tick; refusals are counted.
#[inline(always)]
pub fn has_room(budget: &mut Budget, rules: &Rules, class_idx: usize) -> bool {
    let Budget { used, exhausted, .. } = budget;
    let class_idx = class_idx & CLASS_MASK;
    let (Some(used), Some(refused), Some(room)) =
        (used.get(class_idx), exhausted.get_mut(class_idx), rules.budget.get(class_idx))
    else {
        return false;
    };
    if u64::from(*used) < *room {
        return true;
    }
    *refused = refused.wrapping_add(1);
    false
}

/// Notes that a packet of the class passed.
#[inline(always)]
pub fn spend(budget: &mut Budget, class_idx: usize) {
    if let Some(used) = budget.used.get_mut(class_idx & CLASS_MASK) {
        *used = used.wrapping_add(1);
    }
}

/// Whether an event of this count may be sent in this tick; counts it. One count's flood does not hide
/// another's events.
#[inline(always)]
pub fn may_tell(count: &mut Count, rules: &Rules, jiffies: u64) -> bool {
    let tick = jiffies >> (rules.tick_shift & 63);
    if count.tick != tick {
        count.tick = tick;
        count.events = 0;
    }
    let room = count.events < rules.events_per_tick;
    if room {
        count.events = count.events.wrapping_add(1);
    }
    room
}

/// Whether a SYN may be answered by a cookie in this tick; counts it.
#[inline(always)]
pub fn may_answer(budget: &mut Budget, rules: &Rules) -> bool {
    let room = u64::from(budget.cookies) < rules.cookies_per_tick;
    if room {
        budget.cookies = budget.cookies.wrapping_add(1);
    }
    room
}

/// Whether an unproved source may be given an entry in this tick; counts it.
#[inline(always)]
pub fn may_promote(budget: &mut Budget, rules: &Rules) -> bool {
    let room = u64::from(budget.promotions) < rules.promotions_per_tick;
    if room {
        budget.promotions = budget.promotions.wrapping_add(1);
        budget.promoted = budget.promoted.wrapping_add(1);
    }
    room
}

/// Numbers the spans in which a listener is given one SYN: an eighth of an epoch of SEEN, 4 to 8 s. The
/// kernel lets a listener accept cookies for two minutes after a SYN that it answered by one itself
/// (TCP_SYNCOOKIE_VALID), and a listener whose queue is full takes none: so several, far below that.
#[inline(always)]
pub fn listener_period(jiffies: u64, rules: &Rules) -> u64 {
    jiffies >> (rules.epoch_shift.saturating_sub(3) & 63)
}

/// SYNs of a tick and CPU that may go to listeners beyond the budget: who sends to many ports opens no more.
pub const LISTENER_SYNS_PER_TICK: u32 = 8;

/// Whether a listener may be given a SYN in this tick; counts it.
#[inline(always)]
pub fn may_open(budget: &mut Budget) -> bool {
    let room = budget.listener_syns < LISTENER_SYNS_PER_TICK;
    if room {
        budget.listener_syns = budget.listener_syns.wrapping_add(1);
    }
    room
}
