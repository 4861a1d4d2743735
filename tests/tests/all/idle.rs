//! A client that said nothing for many epochs, in a connection that stayed open, while made-up sources
//! spend every budget.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use weir_tests::bench::{Family, Flood, Ground, TCP_PORT, Testbed};
use weir_tests::flow::Transport;
use weir_tests::http::Connection;
use weir_tests::pinned::shorten_epochs;
use weir_tests::rig::{Bound, Pace, Sources};
use weir_tests::root::require_root;
use weir_tests::stack::sent_again;
use weir_tests::wait::{let_pass, wait_for};
use weir_tests::weir::Weir;

/// 8 jiffies an epoch, 80 ms at most: whoever was silent for 160 ms is forgotten.
const SHORT: u64 = 3;
/// At least six epochs, twenty-five where a jiffy is 4 ms.
const IDLE: Duration = Duration::from_millis(800);
const TURNS: u64 = 5;
/// Neither the default gateway nor another address that the guard knows.
const HOST: u8 = 50;
/// Far beyond what the budget of ACKs lets through, so that next to none of the client's packets finds room.
const FLOOD: u64 = 100_000;

#[test]
fn a_client_that_idled_for_many_epochs_loses_no_packet_in_a_flood() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let ground = Ground::new()?;
    let testbed = Testbed::new(&ground)?;
    ground.sender.ip(&format!("addr add {}/24 dev g0", testbed.wire.v4(HOST)))?;
    for netns in [&ground.sender, &ground.server] {
        // Without probes after two round trips: a busy machine is that late, and nothing is lost by it.
        netns.run(|| Ok(std::fs::write("/proc/sys/net/ipv4/tcp_early_retrans", "0")?))?;
    }
    let weir = ground.server.run(|| Weir::start(|_| config()))?;
    let server = SocketAddr::new(testbed.server_address(Family::V4), TCP_PORT);
    let client = ground.sender.run(|| Connection::open_from(testbed.wire.v4(HOST).into(), server));
    let mut client = client.context("connecting before the flood")?;
    let lost = || Ok::<_, anyhow::Error>(sent_again(&ground.sender)? + sent_again(&ground.server)?);
    let (lost_before, known_before) = (lost()?, counted(&ground, &weir, "connected")?);
    let flood = Flood { family: Family::V4, transport: Transport::Ack, sources: Sources::Millions };
    let mut generator = testbed.generator(flood)?;
    std::thread::scope(|scope| -> Result<()> {
        let spent_before = counted(&ground, &weir, "budget_tcp")?;
        let time = IDLE * u32::try_from(TURNS + 2)?;
        let bound = Bound { frames: u64::MAX, time };
        let flooding = scope.spawn(move || generator.send(bound, Pace::PerSecond(FLOOD)));
        wait_for("a spent budget", time, || {
            let spent = counted(&ground, &weir, "budget_tcp").ok()?;
            (spent > spent_before + 1_000).then_some(())
        })?;
        for turn in 0..TURNS {
            // Each time: the gateway may have written its rules meanwhile.
            shorten_epochs(&weir.place.pins(), SHORT)?;
            let_pass(IDLE);
            let status = client.get("/", "").with_context(|| format!("turn {turn}"))?.status;
            assert_eq!(status, 200, "turn {turn}");
        }
        assert!(!flooding.is_finished(), "it was under attack to the end");
        flooding.join().expect("the flood's thread").map(drop)
    })?;
    assert_eq!(lost()?, lost_before, "a segment had to be sent again");
    let known = counted(&ground, &weir, "connected")? - known_before;
    assert!(known * 2 > TURNS, "forgotten and known again each time, not only {known} times");
    Ok(())
}

fn counted(ground: &Ground, weir: &Weir, verdict: &str) -> Result<u64> {
    let metrics = ground.server.run(|| weir.metrics())?;
    let label = format!("verdict=\"{verdict}\"");
    let counts = metrics.lines().filter(|line| line.contains(&label));
    Ok(counts.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum())
}

fn config() -> String {
    format!(
        "[[listener]]\naddress = \"0.0.0.0:{TCP_PORT}\"\n[[listener]]\naddress = \"[::]:{TCP_PORT}\"\n[[api]]\nname = \"a\"\nlisten_path = \"/\"\nrespond = {{ status = 200, body = \"hello\" }}\n[kernel]\ninterfaces = [\"s0\"]\nmode = \"native\"\nclients = 4096\nunproved = {{ tcp = \"1/s\" }}\n"
    )
}
