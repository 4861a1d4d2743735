//! Three masters, three replicas.

use std::time::Duration;

use anyhow::Result;
use weir::plane::now_ns;
use weir::store::redis::{State, Tag, Topology};
use weir_tests::redis::Cluster;
use weir_tests::wait::wait_for;

use super::linked::{Linked, config};

const SOON: Duration = Duration::from_secs(8);
const PROMOTION: Duration = Duration::from_secs(30);
const HEALED: Duration = Duration::from_secs(2);

fn linked(cluster: &Cluster) -> Linked {
    let linked = Linked::start(config(&cluster.urls(), Topology::Cluster));
    linked.wait_well(SOON);
    linked
}

fn tag_of(linked: &Linked, cluster: &Cluster, master: usize) -> Tag {
    let mut tags = linked.link.tags();
    tags.find(|tag| cluster.master_of(&linked.link.key(*tag, "")).unwrap() == master).unwrap()
}

#[test]
fn a_master_is_killed_and_the_others_go_on() -> Result<()> {
    let mut cluster = Cluster::start()?;
    let linked = linked(&cluster);
    assert_eq!(linked.status().masters.len(), 3);
    assert_eq!(linked.status().masters.iter().filter_map(|master| master.slots).sum::<u16>(), 16_384);
    for tag in linked.link.tags() {
        assert_eq!(linked.push(tag)?, i64::from(linked.link.tags().next() == Some(tag)) + 1, "{tag:?}");
    }
    let (hit, spared) = (tag_of(&linked, &cluster, 0), tag_of(&linked, &cluster, 1));
    cluster.servers[0].kill();
    linked.wait(State::Down, "", SOON);
    let mut spared_pushes = 0;
    wait_for("a promotion", PROMOTION, || {
        linked.push(spared).unwrap_or_else(|fault| panic!("another master's tag: {fault}"));
        spared_pushes += 1;
        cluster.servers[3].is_master().then_some(())
    })?;
    let began = now_ns();
    wait_for("pushes to the promoted", PROMOTION, || linked.push(hit).ok())?;
    let took = Duration::from_nanos(now_ns() - began);
    println!(
        "healed {} ms after the promotion; {spared_pushes} pushes of another tag meanwhile",
        took.as_millis()
    );
    assert!(took < HEALED, "{took:?}");
    linked.wait(State::Up, "", SOON);
    Ok(())
}

/// A slot on its way: what is there already, what is not, and what has arrived. No push is lost or done
/// twice.
#[test]
fn a_slot_moves_under_pushes() -> Result<()> {
    let cluster = Cluster::start()?;
    let linked = linked(&cluster);
    let tag = tag_of(&linked, &cluster, 1);
    let key = linked.link.key(tag, "c:test");
    let slot = cluster.slot(&key)?;
    let mut sum = linked.push(tag)?;
    let mut pushed = |linked: &Linked| -> Result<()> {
        let next = wait_for("a push", SOON, || linked.push(tag).ok())?;
        sum += 1;
        assert_eq!(next, sum);
        Ok(())
    };
    cluster.migrate(slot, 1, 2)?;
    pushed(&linked)?;
    // The key has gone ahead: from now on the old master says ASK.
    cluster.servers[1].ask(&[
        "MIGRATE",
        "127.0.0.1",
        &cluster.servers[2].port.to_string(),
        &key,
        "0",
        "2000",
    ])?;
    for _ in 0..3 {
        pushed(&linked)?;
    }
    cluster.settle(slot, 1, 2)?;
    for _ in 0..3 {
        pushed(&linked)?;
    }
    linked.wait(State::Up, "", SOON);
    let served =
        |linked: &Linked| linked.status().masters.iter().any(|master| master.slots == Some(5_463 - 1));
    wait_for("the slots are known", SOON, || served(&linked).then_some(())).map(drop)
}
