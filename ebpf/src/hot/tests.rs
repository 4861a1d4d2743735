use super::*;

const LOOSE: Limit = Limit { interval: 1 << 16, tau_ns: TAU_MIN_NS };
const TIGHT: Limit = Limit { interval: 1 << 16, tau_ns: TAU_MIN_NS - 1 };

fn refuse(mut word: u64, jiffies: u64, times: u64, why: Verdict) -> u64 {
    for _ in 0..times {
        word = refused(word, jiffies, &LOOSE, why).unwrap_or(word);
    }
    word
}

#[test]
fn many_refusals_close_a_jiffy_and_no_other() {
    for jiffies in [0, 1, 7, (1 << 48) - 1, 1 << 48, u64::MAX] {
        for why in [Verdict::Packets, Verdict::Bytes] {
            let almost = refuse(0, jiffies, REFUSALS - 1, why);
            assert_eq!(closed(almost, jiffies), None);
            for more in [1, 2, 1_000] {
                let word = refuse(almost, jiffies, more, why);
                assert_eq!(closed(word, jiffies), Some(why), "{jiffies} {more}");
                assert_eq!(closed(word, jiffies.wrapping_add(1)), None);
                let next = refuse(word, jiffies.wrapping_add(1), 1, why);
                assert_eq!(closed(next, jiffies.wrapping_add(1)), None, "it begins anew");
            }
        }
    }
}

#[test]
fn an_entry_that_was_never_refused_is_open_in_the_first_jiffy_too() {
    assert_eq!(closed(0, 0), None);
}

#[test]
fn tight_limits_and_single_syns_close_nothing() {
    assert_eq!(refused(0, 9, &TIGHT, Verdict::Packets), None);
    for why in [Verdict::Syns, Verdict::Contended] {
        assert_eq!(refused(0, 9, &LOOSE, why), None);
    }
}
