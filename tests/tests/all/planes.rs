//! One key, saturated from k threads: what is admitted lies between burst + rate x time - 1 - k and
//! burst + rate x time, whichever plane holds the word and whoever charges it. And rules, swapped as
//! fast as they may be: each packet meets one set of them.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use aya::programs::{TestRun as _, TestRunAttrs, TestRunOptions};
use weir::model::{Client, ClientKey, Decision, Limit, Origin, Rate};
use weir::plane::{Plane, Wanted, now_ns};
use weir_ebpf::abi::{CLASSES, Rules, Word, flags};
use weir_ebpf::scope::PortCell;
use weir_tests::frames::{ACK, SYN, TCP, V4, ethernet, tcp};
use weir_tests::kernel_path::{KernelPath, ONE_EPOCH};
use weir_tests::netns::Netns;
use weir_tests::root::require_root;
use weir_tests::wait::let_pass;

const THREADS: usize = 4;
const LASTS: Duration = Duration::from_millis(1_500);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 9, 8, 7);
const OWN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const PORT: u16 = 8_080;
const XDP_PASS: u32 = 2;
/// At HZ=100.
const JIFFY_MAX: Duration = Duration::from_millis(10);

/// What k saturating threads were admitted; how long the word was asked until its last refusal, when
/// nothing was left in it, and how long at most.
struct Saturated {
    admitted: u64,
    within: Duration,
    around: Duration,
}

fn saturate(attempt: impl Fn() -> u64 + Sync) -> Saturated {
    let (start, stop) = (Barrier::new(THREADS + 1), AtomicBool::new(false));
    let (admitted, last_refused_ns) = (AtomicU64::new(0), AtomicU64::new(0));
    let began_ns = now_ns();
    let all_run_ns = std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                start.wait();
                while !stop.load(Ordering::Relaxed) {
                    let asked_ns = now_ns();
                    match attempt() {
                        0 => last_refused_ns.fetch_max(asked_ns, Ordering::Relaxed),
                        units => admitted.fetch_add(units, Ordering::Relaxed),
                    };
                }
            });
        }
        start.wait();
        let all_run_ns = now_ns();
        let_pass(LASTS);
        stop.store(true, Ordering::Relaxed);
        all_run_ns
    });
    Saturated {
        admitted: admitted.into_inner(),
        within: Duration::from_nanos(last_refused_ns.into_inner().saturating_sub(all_run_ns)),
        around: Duration::from_nanos(now_ns() - began_ns),
    }
}

/// `unit` is what one charge takes.
#[track_caller]
fn check_bounds(what: &str, saturated: &Saturated, rate: &Rate, unit: u64) {
    let refilled = |time: Duration| {
        u64::try_from(u128::from(rate.amount()) * time.as_nanos() / rate.period().as_nanos()).expect("small")
    };
    let most = rate.burst() + refilled(saturated.around);
    let least = (rate.burst() + refilled(saturated.within)).saturating_sub((1 + THREADS as u64) * unit);
    println!("{what}: {least} <= {} <= {most}", saturated.admitted);
    assert!(saturated.admitted <= most, "{what}: admitted {} > {most}", saturated.admitted);
    assert!(saturated.admitted >= least, "{what}: admitted {} < {least}", saturated.admitted);
}

/// Rates here are far below what k threads ask for even when other tests have most of both cores, and
/// bursts last longer than all of them may be kept waiting: what a full word gains is lost.
fn rate(amount: u64, burst: u64) -> Rate {
    Rate::new(amount, Duration::from_secs(1), burst).expect("fits")
}

fn frame(flags: u8) -> Vec<u8> {
    let header = V4 { source: CLIENT, destination: OWN, protocol: TCP, fragment: 0, option_words: 0 };
    ethernet(0x0800, &header.bytes(&tcp(PORT, flags)))
}

/// The word `word` of one proved client under `rate` and no other limit, charged by k XDP test runs.
fn saturate_packets(word: Word, rate: &Rate, flags: u8, unit: u64) -> Result<()> {
    let mut kernel = KernelPath::small()?;
    let mut limits = [Limit::NONE; 4];
    limits[word as usize] = rate.limit();
    let wanted = Wanted {
        rules: Rules { limits, epoch_shift: ONE_EPOCH, ..Rules::default() },
        ports: vec![PortCell::tcp(PORT)],
        own: vec![IpAddr::V4(OWN)],
        ..Wanted::default()
    };
    kernel.maps.apply(&wanted, 1)?;
    kernel.charge.prove(ClientKey::v4(CLIENT.octets()))?;
    let frame = frame(flags);
    let packets = kernel.packets()?;
    // One run a call: between two runs of a repeated call the thread may be preempted in the middle of
    // the program, as no packet ever is, and the per-CPU counters would lose counts.
    let mut saturated = saturate(|| {
        let options = TestRunOptions { data_in: Some(&frame), ..TestRunOptions::new() };
        u64::from(packets.test_run(options).expect("a test run").return_value == XDP_PASS)
    });
    saturated.admitted *= unit;
    // Refused so often, the client is closed to the end of a jiffy (`hot`): what the last one refilled is
    // not asked for any more.
    saturated.within = saturated.within.saturating_sub(JIFFY_MAX);
    check_bounds(&format!("{word:?} by xdp"), &saturated, rate, unit);
    Ok(())
}

#[test]
fn packets_from_k_threads_keep_each_word_exact() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    saturate_packets(Word::Packets, &rate(5_000, 3_000), ACK, 1)?;
    saturate_packets(Word::Syns, &rate(3_000, 2_000), SYN, 1)?;
    let length = frame(ACK).len() as u64;
    saturate_packets(Word::Bytes, &rate(400_000, 3_000 * length), ACK, length)
}

#[test]
fn requests_from_k_threads_keep_the_kernels_word_exact() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let kernel = KernelPath::small()?;
    let plane = Plane::new(Some(std::sync::Arc::clone(&kernel.charge)), 4_096);
    check_plane("requests by charge", &plane, Origin::Peer);
    Ok(())
}

#[test]
fn requests_from_k_threads_keep_the_process_tables_word_exact() {
    check_plane("requests in the process table", &Plane::new(None, 4_096), Origin::Peer);
    check_plane("requests behind a proxy", &Plane::new(None, 4_096), Origin::Forwarded);
}

fn check_plane(what: &str, plane: &Plane, origin: Origin) {
    let client = Client { key: ClientKey::v4(CLIENT.octets()), origin };
    for rate in [rate(5_000, 3_000), rate(3, 10)] {
        plane.forgive(client.key, now_ns()).expect("nothing in the way");
        let limit = rate.limit();
        let saturated = saturate(|| match plane.charge(client, &limit, 1, now_ns()) {
            Decision::Allow(_) => 1,
            Decision::Deny { .. } => 0,
        });
        check_bounds(what, &saturated, &rate, 1);
    }
}

/// One set sees forwarded packets and has no budget for them, the other has one and does not see them:
/// only a packet that met half of each is admitted as unproved.
#[test]
fn no_packet_meets_half_of_two_rule_sets() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    // What passes goes up the stack of this namespace, which has no such address.
    Netns::new("rules")?.run(|| {
        let mut kernel = KernelPath::small()?;
        let set = |flags, room| Wanted {
            rules: Rules { flags, budget: [room; CLASSES], ..Rules::default() },
            ports: vec![PortCell::tcp(PORT)],
            ..Wanted::default()
        };
        let sets = [set(flags::FORWARDED, 0), set(0, u64::from(u32::MAX))];
        let maps = std::sync::Arc::clone(&kernel.maps);
        let (frame, stop, before) = (frame(ACK), AtomicBool::new(false), maps.counters()?);
        let packets = kernel.packets()?;
        let swaps = std::thread::scope(|scope| -> Result<u64> {
            let traffic = scope.spawn(|| -> Result<()> {
                while !stop.load(Ordering::Relaxed) {
                    // Live frames run where packets do, not to be preempted; a plain test run may be for longer
                    // than two swaps.
                    let attrs = TestRunAttrs::new().xdp_live_frames(64);
                    let options = TestRunOptions {
                        data_in: Some(&frame),
                        repeat: 100_000,
                        attrs,
                        ..TestRunOptions::new()
                    };
                    packets.test_run(options)?;
                }
                Ok(())
            });
            let mut swaps = 0;
            let end_ns = now_ns() + u64::try_from(LASTS.as_nanos())?;
            for wanted in sets.iter().cycle().take_while(|_| now_ns() < end_ns) {
                maps.apply(wanted, 1)?;
                swaps += 1;
            }
            stop.store(true, Ordering::Relaxed);
            traffic.join().map_err(|_| anyhow::anyhow!("the traffic panicked"))??;
            Ok(swaps)
        })?;
        let counted = kernel.counted_since(&before)?;
        let of = |verdict: &str| {
            counted.iter().filter(|row| row.verdict == verdict).map(|row| row.packets).sum::<u64>()
        };
        println!("{swaps} swaps, {counted:?}");
        assert!(swaps > 20 && of("budget_tcp") > 1_000 && of("out_of_scope") > 1_000);
        assert_eq!(of("unproved"), 0, "half of each");
        Ok(())
    })
}
