//! The peers that benches compare with: a comparison with a limiter that does not limit is worth nothing.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Result;
use weir_tests::flow::{Flow, Transport};
use weir_tests::front::{Front, RequestLimit};
use weir_tests::load::Load;
use weir_tests::netns::Netns;
use weir_tests::nft::{Conforming, Meter};
use weir_tests::nginx::{Nginx, Role};
use weir_tests::ports::free_port;
use weir_tests::rig::{Bound, Generator, Pace, Sources};
use weir_tests::root::require_root;
use weir_tests::stack::received;
use weir_tests::wire::{End, Wire};

#[test]
fn nginx_proxies_and_limits() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let address = || anyhow::Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?)));
    let upstream = Nginx::start("upstream", address()?, &Role::Upstream, folder.path())?;
    let limit = Some(RequestLimit { per_second: 100, burst: 10 });
    let role = Role::Proxy(Front { limit, ..Front::of(upstream.address) });
    let proxy = Nginx::start("proxy", address()?, &role, folder.path())?;

    let answers = Load::on(proxy.address, Duration::from_millis(500)).run();
    let (served, refused) = (answers.of(200), answers.of(429));
    assert!((1..=61).contains(&served), "at most the burst and half a second's rate: {served}");
    assert!(refused > 0 && served + refused == answers.total(), "the rest is 429: {answers:?}");

    let plain =
        Load { per_second: Some(200), ..Load::on(upstream.address, Duration::from_millis(500)) }.run();
    assert!((90..=104).contains(&plain.of(200)), "the pace is held: {}", plain.of(200));
    assert_eq!(plain.latency.n(), plain.total());
    Ok(())
}

#[test]
fn the_nftables_meter_holds_its_rate() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    const FRAMES: u64 = 10_000;
    const PER_SECOND: u32 = 500;
    let (from, to) = (Netns::new("gen")?, Netns::new("srv")?);
    let generating = End { netns: &from, interface: "g0", host: 1 };
    let receiving = End { netns: &to, interface: "s0", host: 2 };
    let wire = Wire::join(3, generating, receiving)?;
    for destination in wire.addresses(2) {
        let _meter = Meter::install(receiving, 1_024, PER_SECOND, Conforming::Pass)?;
        let flow = Flow {
            source_mac: wire.mac(1),
            destination_mac: wire.mac(2),
            destination,
            port: 9,
            transport: Transport::Udp,
        };
        let before = received(&to, destination)?;
        let mut generator = Generator::new(generating, &flow, Sources::One, 0)?;
        let bound = Bound { frames: FRAMES, time: Duration::from_secs(5) };
        let sent = generator.send(bound, Pace::PerSecond(50_000))?;
        let passed = received(&to, destination)? - before;
        let at_most = f64::from(PER_SECOND) * (2.0 + sent.time.as_secs_f64() + 0.1);
        assert!(passed >= u64::from(PER_SECOND), "the burst passes: {passed}");
        assert!((passed as f64) < at_most, "{passed} of {FRAMES} passed, at most {at_most} may");
    }
    Ok(())
}
