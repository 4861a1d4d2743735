//! The packet path against an exact limiter, in the kernel, on a virtual clock: the quick form of
//! `cargo xtask bench accuracy`.

use anyhow::{Context as _, Result};
use weir_tests::accuracy::{CROWD, Class, Flood, Gap, Scenario, Subject, Tallies, Tally, play, share};
use weir_tests::replay::{Family, Program};
use weir_tests::root::require_root;

/// Long enough for the moderate to be refused: at 1.5 times the limit a burst lasts eight seconds.
const SECONDS: u64 = 12;
const SEED: u64 = 1;
/// What a limiter may let through beyond the exact one, in percent.
const OVER_MAX: f64 = 0.1;

fn scenario(flood: Option<Flood>) -> Scenario {
    Scenario { groups: CROWD.to_vec(), flood, seconds: SECONDS, seed: SEED }
}

fn flood(packets_per_source: u64, gap: Gap) -> Option<Flood> {
    Some(Flood { packets_per_second: 80_000, packets_per_source, gap })
}

fn subject(program: Program) -> Subject {
    Subject { program, entries: 4_096 }
}

fn of(tallies: &Tallies, class: Class) -> Result<Tally> {
    tallies.get(&class).copied().with_context(|| format!("no packets of {class:?}"))
}

/// What every proved client is promised, whatever the unproved send.
#[track_caller]
fn assert_exact(tallies: &Tallies, case: &str) -> Result<()> {
    let good = of(tallies, Class::Good)?;
    assert_eq!(good.wrongly_denied, 0, "{case}: {good:?}");
    for class in [Class::Moderate, Class::Heavy, Class::Pulsed] {
        let tally = of(tallies, class)?;
        assert!(tally.exact < tally.offered, "{case}: {class:?} is no abuser: {tally:?}");
        assert!(tally.over_admission() <= OVER_MAX, "{case}: {class:?} {tally:?}");
    }
    Ok(())
}

#[test]
fn proved_clients_meet_the_exact_limit_during_a_spoofed_flood() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let rows = [
        ("two packets a source", Family::V4, flood(2, Gap::Ms(5))),
        ("nine packets a source", Family::V6, flood(9, Gap::None)),
    ];
    for (case, family, flood) in rows {
        let subjects = [subject(Program::Weir), subject(Program::Naive)];
        let [weir, naive] = &play(&scenario(flood), family, &subjects)?[..] else {
            panic!("a result for each subject")
        };
        assert_exact(weir, case)?;
        let unproved = weir.iter().filter(|(class, _)| !class.is_proved());
        let passed: u64 = unproved.map(|(_, tally)| tally.passed).sum();
        let share = share(SECONDS);
        assert!((share - share / 100..=share).contains(&passed), "{case}: {passed} passed, of {share}");
        // What the bench can see: the same flood makes a limiter that knows every source forget.
        let pulsed = of(naive, Class::Pulsed)?;
        assert!(pulsed.over_admission() > 100.0, "{case}: naive {pulsed:?}");
    }
    Ok(())
}

#[test]
fn everybody_meets_the_exact_limit_when_there_is_no_flood() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    for family in [Family::V4, Family::V6] {
        let played = play(&scenario(None), family, &[subject(Program::Weir)])?;
        let weir = played.first().context("a result for each subject")?;
        assert_exact(weir, "no flood")?;
        let good = of(weir, Class::UnprovedGood)?;
        assert_eq!(good.wrongly_denied, 0, "{good:?}");
        let heavy = of(weir, Class::UnprovedHeavy)?;
        assert!(heavy.over_admission() <= OVER_MAX, "{heavy:?}");
    }
    Ok(())
}
