//! One server, and a relay in front of it.

use std::time::Duration;

use anyhow::Result;
use weir::plane::now_ns;
use weir::store::redis::State;
use weir_tests::redis::{Mood, Redis, Relay};
use weir_tests::wait::{let_pass, wait_for};

use super::linked::{ANSWER_MAX, Linked};

/// To a state that follows from silence, on a busy machine.
const NOTICED: Duration = Duration::from_secs(6);
const HEALED: Duration = Duration::from_secs(6);

/// A day with one fault: the link says `part`, keeps its bounds, heals, and its state changed once each
/// way.
#[track_caller]
fn check_day(linked: &Linked, cause: impl FnOnce(), part: &str, heal: impl FnOnce()) {
    linked.wait_well(HEALED);
    let before = linked.status().changes;
    cause();
    // Whoever pushes notices; so does the heartbeat.
    let began = now_ns();
    wait_for(format!("down for {part:?}"), NOTICED, || {
        drop(linked.push(linked.first_tag()));
        let status = linked.status();
        (status.state == State::Down && status.reason.is_some_and(|reason| reason.contains(part)))
            .then_some(())
    })
    .unwrap_or_else(|error| panic!("{error:#}: {:?}", linked.status()));
    println!("{part}: noticed in {} ms", (now_ns() - began) / 1_000_000);
    assert_eq!(linked.push_many(1_000), 0);
    assert!(linked.status().masters.iter().all(|master| master.pending <= 64));
    heal();
    let began = now_ns();
    linked.wait_well(HEALED);
    println!("{part}: healed in {} ms", (now_ns() - began) / 1_000_000);
    // Late answers on the way make it slow for a moment.
    let changes = linked.status().changes - before;
    assert!((2..=4).contains(&changes), "{changes} changes: a line each");
}

#[test]
fn absent_at_start() -> Result<()> {
    let mut redis = Redis::prepared(&["--save", ""])?;
    let linked = Linked::standalone(redis.url());
    linked.wait(State::Down, "refused", NOTICED);
    let began = now_ns();
    let fault = linked.push(linked.first_tag()).unwrap_err();
    assert!(!fault.may_have_run() && fault.text.contains("refused"), "{fault:?}");
    assert!(now_ns() - began < 100_000_000, "nobody waits for a store that is away");
    redis.start_again()?;
    linked.wait_well(HEALED);
    assert_eq!(linked.status().changes, 2);
    Ok(())
}

#[test]
fn killed_and_back_empty() -> Result<()> {
    let mut redis = Redis::start()?;
    let linked = Linked::standalone(redis.url());
    linked.wait_well(HEALED);
    linked.push(linked.first_tag())?;
    let before = linked.status().changes;
    redis.kill();
    linked.wait(State::Down, "", NOTICED);
    assert_eq!(linked.push_many(100), 0);
    redis.start_again()?;
    linked.wait_well(HEALED);
    assert_eq!(linked.push(linked.first_tag())?, 2, "the script was loaded again, the key was new");
    assert_eq!(linked.status().changes, before + 2);
    Ok(())
}

#[test]
fn killed_and_back_with_its_data() -> Result<()> {
    let mut redis = Redis::start_kept()?;
    let linked = Linked::standalone(redis.url());
    linked.wait_well(HEALED);
    let before = linked.push(linked.first_tag())?;
    redis.kill();
    linked.wait(State::Down, "", NOTICED);
    redis.start_again()?;
    wait_for("a push", HEALED, || linked.push(linked.first_tag()).ok().filter(|sum| *sum > before)).map(drop)
}

#[test]
fn frozen() -> Result<()> {
    let redis = Redis::start()?;
    let linked = Linked::standalone(redis.url());
    check_day(&linked, || redis.freeze().unwrap(), "no", || redis.thaw().unwrap());
    Ok(())
}

#[test]
fn paused() -> Result<()> {
    let redis = Redis::start()?;
    let linked = Linked::standalone(redis.url());
    linked.wait_well(HEALED);
    redis.ask(&["CLIENT", "PAUSE", "4000", "ALL"])?;
    linked.wait(State::Slow, "", ANSWER_MAX);
    linked.wait(State::Down, "", NOTICED);
    linked.wait_well(HEALED);
    Ok(())
}

#[test]
fn scripts_forgotten() -> Result<()> {
    let redis = Redis::start()?;
    let linked = Linked::standalone(redis.url());
    linked.wait_well(HEALED);
    let before = linked.status();
    for _ in 0..6 {
        redis.ask(&["SCRIPT", "FLUSH"])?;
        assert_eq!(linked.push_many(40), 40);
    }
    let after = linked.status();
    assert_eq!(
        after.masters[0].script_loads - before.masters[0].script_loads,
        6,
        "one load for all who wait"
    );
    assert_eq!(after.changes, before.changes);
    Ok(())
}

#[test]
fn out_of_memory() -> Result<()> {
    let redis = Redis::start()?;
    let linked = Linked::standalone(redis.url());
    let full = || drop(redis.ask(&["CONFIG", "SET", "maxmemory", "1"]).unwrap());
    let room = || drop(redis.ask(&["CONFIG", "SET", "maxmemory", "0"]).unwrap());
    check_day(&linked, full, "OOM", room);
    assert_eq!(linked.status().masters[0].connects, 1, "the connection is kept");
    Ok(())
}

#[test]
fn read_only() -> Result<()> {
    let (redis, other) = (Redis::start()?, Redis::start()?);
    let linked = Linked::standalone(redis.url());
    let port = other.port.to_string();
    let demote = || drop(redis.ask(&["REPLICAOF", "127.0.0.1", &port]).unwrap());
    let promote = || drop(redis.ask(&["REPLICAOF", "NO", "ONE"]).unwrap());
    check_day(&linked, demote, "no master but a slave", promote);
    Ok(())
}

/// Late answers are used: a store 350 ms away is slow, not gone.
#[test]
fn answers_350_ms_late() -> Result<()> {
    let redis = Redis::start()?;
    let relay = Relay::to(redis.address())?;
    let linked = Linked::standalone(relay.url());
    linked.wait_well(HEALED);
    let before = linked.push(linked.first_tag())?;
    relay.set(Mood::Delay(Duration::from_millis(350)));
    linked.wait(State::Slow, "", NOTICED);
    for n in 1..=5 {
        assert_eq!(linked.push(linked.first_tag())?, before + n);
    }
    assert_eq!(linked.status().state, State::Slow);
    relay.set(Mood::Pass);
    linked.wait_well(HEALED);
    assert_eq!(linked.status().masters[0].connects, 1);
    Ok(())
}

#[test]
fn answers_5_s_late() -> Result<()> {
    let redis = Redis::start()?;
    let relay = Relay::to(redis.address())?;
    let linked = Linked::standalone(relay.url());
    check_day(&linked, || relay.set(Mood::Delay(Duration::from_secs(5))), "no", || relay.set(Mood::Pass));
    Ok(())
}

#[test]
fn network_drops_all() -> Result<()> {
    let redis = Redis::start()?;
    let relay = Relay::to(redis.address())?;
    let linked = Linked::standalone(relay.url());
    check_day(&linked, || relay.set(Mood::Drop), "no", || relay.set(Mood::Pass));
    Ok(())
}

#[test]
fn answers_vanish() -> Result<()> {
    let redis = Redis::start()?;
    let relay = Relay::to(redis.address())?;
    let linked = Linked::standalone(relay.url());
    check_day(&linked, || relay.set(Mood::Swallow), "no", || relay.set(Mood::Pass));
    Ok(())
}

#[test]
fn half_closed() -> Result<()> {
    let redis = Redis::start()?;
    let relay = Relay::to(redis.address())?;
    let linked = Linked::standalone(relay.url());
    check_day(&linked, || relay.set(Mood::HalfClose), "", || relay.set(Mood::Pass));
    Ok(())
}

/// Two hundred nodes come back to a server that was away: all of them, and not all at once.
#[test]
fn two_hundred_nodes_come_back() -> Result<()> {
    let mut redis = Redis::start()?;
    let nodes: Vec<_> = (0..200).map(|_| Linked::standalone(redis.url())).collect();
    for node in &nodes {
        node.wait(State::Up, "", Duration::from_secs(20));
    }
    redis.kill();
    for node in &nodes {
        node.wait(State::Down, "", NOTICED);
    }
    // Tries spread over their period.
    let_pass(Duration::from_secs(3));
    redis.start_again()?;
    let began = now_ns();
    for node in &nodes {
        node.wait(State::Up, "", Duration::from_secs(10));
    }
    let (took, connections) = ((now_ns() - began) / 1_000_000, redis.info("total_connections_received")?);
    println!("200 nodes came back in {took} ms with {connections} connections");
    assert!(connections < 300, "{connections} connections");
    Ok(())
}

/// A read that waits holds up nobody else, and hears what is written meanwhile.
#[test]
fn streams_are_followed() -> Result<()> {
    let redis = Redis::start()?;
    let linked = Linked::standalone(redis.url());
    linked.wait_well(HEALED);
    let tag = linked.first_tag();
    let stream = linked.link.key(tag, "sentences");
    let mut reader = linked.link.reader(tag);
    let from = [(stream.clone(), "0".to_owned())];
    let reading = std::thread::scope(|scope| {
        let link = &linked;
        let reading = scope
            .spawn(move || link.run(async move { reader.read(&from, 10, Duration::from_secs(5)).await }));
        wait_for("a reader", HEALED, || redis.info("blocked_clients").ok().filter(|n| *n == 1)).unwrap();
        linked.push(tag).unwrap();
        linked.command(tag, &[b"XADD", stream.as_bytes(), b"1-1", b"who", b"a"]).unwrap();
        reading.join().unwrap()
    });
    let entries = reading?;
    assert_eq!(entries.len(), 1);
    assert_eq!((entries[0].stream.as_str(), entries[0].id.as_str()), (stream.as_str(), "1-1"));
    assert_eq!(entries[0].fields, [(b"who".to_vec(), b"a".to_vec())]);
    Ok(())
}
