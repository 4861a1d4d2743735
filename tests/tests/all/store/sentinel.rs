//! A master that others watch.

use std::time::Duration;

use anyhow::Result;
use weir::plane::now_ns;
use weir::store::redis::Topology;
use weir_tests::redis::Watched;
use weir_tests::wait::wait_for;

use super::linked::{Linked, config};

const SOON: Duration = Duration::from_secs(6);
const PROMOTION: Duration = Duration::from_secs(20);
/// The bound.
const HEALED: Duration = Duration::from_secs(2);

#[test]
fn failovers_heal_within_two_seconds_of_the_promotion() -> Result<()> {
    let mut watched = Watched::start()?;
    let linked = Linked::start(config(&watched.urls(), Topology::Sentinel(Watched::NAME.to_owned())));
    linked.wait_well(SOON);
    let old = watched.master()?;
    assert!(
        linked.status().masters[0]
            .address
            .as_ref()
            .unwrap()
            .ends_with(&watched.servers[old].port.to_string())
    );
    watched.fail_over()?;
    let new = watched.wait_promotion(old, PROMOTION)?;
    check_healed(&linked, &watched, new, "planned failover");
    // Whom the others follow before the next one goes.
    wait_for("one master", PROMOTION, || watched.master().ok())?;
    wait_for("replicas follow", PROMOTION, || {
        (watched.servers[new].info("connected_slaves").ok()? == 2).then_some(())
    })?;
    watched.servers[new].kill();
    let next = watched.wait_promotion(new, PROMOTION)?;
    check_healed(&linked, &watched, next, "master killed");
    Ok(())
}

#[test]
fn a_master_that_hangs_is_left() -> Result<()> {
    let watched = Watched::start()?;
    let linked = Linked::start(config(&watched.urls(), Topology::Sentinel(Watched::NAME.to_owned())));
    linked.wait_well(SOON);
    let old = watched.master()?;
    watched.servers[old].freeze()?;
    let new = wait_for("a promotion", PROMOTION, || {
        let mut others = watched.servers.iter().enumerate().filter(|(idx, _)| *idx != old);
        others.find(|(_, one)| one.is_master()).map(|(idx, _)| idx)
    })?;
    check_healed(&linked, &watched, new, "master frozen");
    watched.servers[old].thaw()
}

#[track_caller]
fn check_healed(linked: &Linked, watched: &Watched, new: usize, what: &str) {
    let (began, port) = (now_ns(), watched.servers[new].port.to_string());
    wait_for(what, PROMOTION, || {
        linked.push(linked.first_tag()).ok()?;
        linked.status().masters[0].address.as_ref()?.ends_with(&port).then_some(())
    })
    .unwrap_or_else(|error| panic!("{error:#}: {:?}", linked.status()));
    let took = Duration::from_nanos(now_ns() - began);
    println!("{what}: healed {} ms after the promotion", took.as_millis());
    assert!(took < HEALED, "{what}: {took:?}");
}
