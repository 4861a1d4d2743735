//! CLIENTS and BANS at another capacity: what is kept, what is refused, and that nobody gains by it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use weir::kernel::{self, Capacities, LoadError, resize};
use weir::model::ClientKey;
use weir::plane::{BanReason, Maps, now_ns};
use weir_ebpf::abi::{AGGREGATES_MIN, ClientEntry, PROVED, Word, maps};
use weir_ebpf::gcra::Limit;
use weir_tests::kernel_path::KernelPath;
use weir_tests::root::require_root;
use weir_tests::wait::let_pass;

const SMALL: u32 = 4_096;
const LARGE: u32 = 16_384;
const BANS: u32 = 64;
const MINUTE_NS: u64 = 60_000_000_000;

fn key(number: u32) -> ClientKey {
    ClientKey::v4((0x0a00_0000 + number).to_be_bytes())
}

/// The entries as who opens the pins now sees them.
fn entries(kernel: &KernelPath, numbers: impl Iterator<Item = u32>) -> Result<Vec<Option<ClientEntry>>> {
    let maps = Maps::open(&kernel.pins())?;
    numbers.map(|number| Ok(maps.entry(key(number))?)).collect()
}

fn capacities(clients: u32) -> Capacities {
    Capacities { clients, bans: BANS, aggregates: AGGREGATES_MIN }
}

#[test]
fn entries_outlive_a_change_of_capacity_and_those_who_owe_come_first() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let kernel = KernelPath::small()?;
    let small = 0..3_000;
    for number in small.clone() {
        kernel.charge.raise(key(number), Word::Requests, MINUTE_NS)?;
        kernel.charge.prove(key(number))?;
    }
    let before = entries(&kernel, small.clone())?;
    assert!(before.iter().all(|entry| entry.is_some_and(|entry| entry.flags == PROVED)));
    resize(&kernel.pins(), capacities(LARGE))?;
    assert_eq!(entries(&kernel, small.clone())?, before, "grown: to the bit");
    // As many again who are proved and owe nothing: less than half of all fits back.
    let idle = 10_000..16_000;
    for number in idle.clone() {
        kernel.charge.prove(key(number))?;
    }
    resize(&kernel.pins(), capacities(SMALL))?;
    assert_eq!(entries(&kernel, small)?, before, "shrunk: everyone who owes is there, to the bit");
    let kept = entries(&kernel, idle)?.into_iter().flatten().count();
    assert!((300..=SMALL as usize).contains(&kept), "{kept} of the others, as far as there is room");
    assert!(!kernel.pins().map(maps::CLIENTS_BEFORE).exists(), "nothing is left of the map before");
    Ok(())
}

/// 1,000 a second and 100 at once, charged by threads that never pause.
#[test]
fn nobody_gets_a_burst_back_while_capacities_change() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    const RATE: u64 = 1_000;
    const BURST: u64 = 100;
    const THREADS: u64 = 2;
    let kernel = KernelPath::small()?;
    for number in 0..2_000 {
        kernel.charge.prove(key(number))?;
    }
    let limit = Limit::new(RATE, 1_000_000_000, BURST).context("fits")?;
    let (stop, admitted, changes) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let began_ns = now_ns();
    std::thread::scope(|scope| -> Result<()> {
        let charge = || {
            while !stop.load(Ordering::Relaxed) {
                let answer = kernel.charge.take(key(7), Word::Requests, &limit, 1);
                let allowed = matches!(answer, Ok(weir::model::Decision::Allow(_)));
                admitted.fetch_add(u64::from(allowed), Ordering::Relaxed);
            }
        };
        for _ in 0..THREADS {
            scope.spawn(charge);
        }
        let mut outcome = Ok(());
        for round in 0..20 {
            let clients = if round % 2 == 0 { LARGE } else { SMALL };
            outcome = outcome.and_then(|()| Ok(resize(&kernel.pins(), capacities(clients))?));
            changes.fetch_add(1, Ordering::Relaxed);
            let_pass(Duration::from_millis(20));
        }
        stop.store(true, Ordering::Relaxed);
        outcome
    })?;
    let took_ns = now_ns() - began_ns;
    let (admitted, changes) = (admitted.into_inner(), changes.into_inner());
    let most = BURST + RATE * took_ns / 1_000_000_000 + THREADS;
    println!("{changes} changes in {} ms: {admitted} of at most {most} admitted", took_ns / 1_000_000);
    assert!(admitted <= most, "{admitted} > {most}: a burst was given back");
    assert!(admitted + 2 * BURST >= most, "{admitted} of {most}: it was never asked hard enough");
    Ok(())
}

#[test]
fn an_operators_ban_is_never_lost_to_a_smaller_map() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let kernel = KernelPath::small()?;
    let bans = kernel.bans()?;
    for number in 0..10 {
        bans.add(key(number), BanReason::Operator, 0, None, now_ns())?;
    }
    for number in 10..60 {
        let length = Duration::from_secs(60 * u64::from(number));
        bans.add(key(number), BanReason::Shed, 2, Some(length), now_ns())?;
    }
    let shrunk = |bans| Capacities { bans, ..capacities(SMALL) };
    resize(&kernel.pins(), shrunk(20))?;
    let kept: Vec<_> = kernel.bans()?.list(now_ns())?.iter().map(|row| row.key).collect();
    let expected: Vec<_> = (50..60).chain(0..10).map(key).collect();
    assert_eq!(kept, expected, "every operator's, and the shed who stay longest");
    let refused = resize(&kernel.pins(), shrunk(9));
    assert!(matches!(refused, Err(LoadError::OperatorBans { bans: 10, capacity: 9 })), "{refused:?}");
    assert_eq!(kernel.bans()?.list(now_ns())?.len(), 20, "and nothing changed");
    resize(&kernel.pins(), shrunk(BANS))?;
    assert_eq!(kernel.bans()?.list(now_ns())?.len(), 20, "grown");
    Ok(())
}

/// A keeper that ended between two steps leaves either nothing changed or both maps; its successor
/// brings it to an end.
#[test]
fn a_change_that_was_interrupted_is_brought_to_its_end() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let (kernel, other) = (KernelPath::small()?, KernelPath::small()?);
    kernel.charge.raise(key(1), Word::Requests, MINUTE_NS)?;
    let before = entries(&kernel, 1..2)?;
    let (pins, config) = (kernel.pins(), kernel::Config { clients: SMALL, bans: BANS, ..Default::default() });
    std::fs::rename(pins.map(maps::CLIENTS), pins.map(maps::CLIENTS_BEFORE))?;
    kernel::load(&pins, &config)?;
    resize(&pins, Capacities::of(&config))?;
    assert_eq!(entries(&kernel, 1..2)?, before, "after the first step");
    std::fs::rename(pins.map(maps::CLIENTS), pins.map(maps::CLIENTS_BEFORE))?;
    std::fs::rename(other.pins().map(maps::CLIENTS), pins.map(maps::CLIENTS))?;
    kernel::load(&pins, &config)?;
    assert!(kernel.charge.peek(key(1), Word::Requests)? > MINUTE_NS / 2, "the program finds it already");
    resize(&pins, Capacities::of(&config))?;
    assert_eq!(entries(&kernel, 1..2)?, before, "after the second");
    assert!(!pins.map(maps::CLIENTS_BEFORE).exists());
    Ok(())
}
