use super::*;

const KEY: ClientKey = ClientKey(7);
const PEER: Client = Client { key: KEY, origin: Origin::Peer };
const SECOND_NS: u64 = 1_000_000_000;
const START_NS: u64 = 1_000 * SECOND_NS;

fn shedder(refused: u32, steps: &[u64]) -> (Shedder, mpsc::Receiver<Offender>) {
    let (sender, receiver) = mpsc::channel(16);
    let steps = steps.iter().map(|seconds| Duration::from_secs(*seconds)).collect();
    (Shedder::new(Shed { refused, within: Duration::from_secs(10), steps }, sender), receiver)
}

/// Refusals one after the other at one moment; the shed that the last of them triggers.
fn refuse(shedder: &Shedder, times: u32, now_ns: u64) -> Option<Offender> {
    let mut last = None;
    for time in 1..=times {
        last = shedder.refused(PEER, now_ns);
        assert!(last.is_none() || time == times, "shed by refusal {time} of {times}");
    }
    last
}

#[test]
fn the_refusal_that_completes_the_count_sheds_and_the_level_climbs() {
    let (shedder, mut offenders) = shedder(3, &[10, 60]);
    for (level, seconds) in [(0, 10), (1, 60), (1, 60)] {
        let offender = Offender { key: KEY, level, length: Duration::from_secs(seconds) };
        assert_eq!(refuse(&shedder, 3, START_NS), Some(offender));
        assert_eq!(offenders.try_recv(), Ok(offender));
    }
}

#[test]
fn who_is_spared_is_never_shed() {
    let (shedder, _offenders) = shedder(3, &[10]);
    shedder.spare(vec!["::/32".parse().unwrap()]);
    assert_eq!(refuse(&shedder, 9, START_NS), None);
    shedder.spare(vec!["10.0.0.0/8".parse().unwrap()]);
    assert!(refuse(&shedder, 3, START_NS).is_some());
}

#[test]
fn a_window_that_is_over_begins_anew() {
    let (shedder, _offenders) = shedder(3, &[10]);
    assert_eq!(refuse(&shedder, 2, START_NS), None);
    assert_eq!(shedder.refusals(KEY, START_NS), 2);
    let later_ns = START_NS + 11 * SECOND_NS;
    assert_eq!(shedder.refusals(KEY, later_ns), 0);
    assert_eq!(refuse(&shedder, 2, later_ns), None);
    assert!(refuse(&shedder, 1, later_ns).is_some());
}

#[test]
fn the_level_falls_by_one_for_each_last_step_without_a_refusal() {
    let (shedder, _offenders) = shedder(1, &[10, 60, 600]);
    for level in [0, 1, 2] {
        assert_eq!(shedder.refused(PEER, START_NS).map(|offender| offender.level), Some(level));
    }
    assert_eq!(shedder.level(KEY, START_NS), Some(3));
    assert_eq!(shedder.level(KEY, START_NS + 600 * SECOND_NS), Some(2));
    assert_eq!(shedder.level(KEY, START_NS + 1_800 * SECOND_NS), None);
    let offender = shedder.refused(PEER, START_NS + 1_200 * SECOND_NS);
    assert_eq!(offender.map(|offender| offender.level), Some(1));
}

#[test]
fn a_pardon_resets_the_level_and_holds_for_its_grace() {
    let (shedder, _offenders) = shedder(1, &[10, 60]);
    shedder.refused(PEER, START_NS);
    shedder.pardon(KEY, Duration::from_secs(60), START_NS);
    assert_eq!(shedder.refused(PEER, START_NS + 59 * SECOND_NS), None);
    let after = shedder.refused(PEER, START_NS + 61 * SECOND_NS);
    assert_eq!(after.map(|offender| offender.level), Some(0));
}

#[test]
fn who_is_known_by_a_proxys_word_or_without_steps_is_never_shed() {
    let (with_steps, _offenders) = shedder(1, &[10]);
    let forwarded = Client { key: KEY, origin: Origin::Forwarded };
    assert_eq!(with_steps.refused(forwarded, START_NS), None);
    let (without, _offenders) = shedder(1, &[]);
    assert_eq!(without.refused(PEER, START_NS), None);
}
