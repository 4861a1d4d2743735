//! Real gateways and a real Redis: limits sum over the nodes, good clients are left alone, and neither a
//! dead nor a hung store changes that.

use std::time::Duration;

use anyhow::{Result, ensure};
use weir_tests::fleet::{Client, Nodes, Outcomes, Request, send_all};
use weir_tests::http;
use weir_tests::redis::Redis;
use weir_tests::wait::{let_pass, wait_for};
use weir_tests::weir::Weir;

const LIMITED: &str = "[kernel]\nmode = \"off\"\n[limit.client]\nrequests = { rate = \"60/s\", burst = 60 }\n\
                       shed = []\n[[api]]\nname = \"a\"\nlisten_path = \"/\"\nrespond = { status = 200, body = \"ok\" }\n";
const NODES: usize = 3;

fn client(number: u8, times: f64, seconds: f64) -> Client {
    Client {
        address: format!("198.51.100.{number}"),
        offered: times * 60.0,
        burst: 1,
        sticky: false,
        seconds,
        seed: u64::from(number),
    }
}

fn outcomes(runs: &[Vec<Request>]) -> Vec<Outcomes> {
    runs.iter().map(|requests| Outcomes::of(requests, NODES)).collect()
}

#[test]
fn a_client_has_one_limit_on_all_nodes() -> Result<()> {
    let redis = Redis::start()?;
    let nodes = Nodes::start_by(&redis, NODES, LIMITED)?;
    let clients = [client(1, 2.0, 8.0), client(2, 10.0, 8.0), client(3, 3.0, 8.0)];
    let runs = outcomes(&send_all(&clients, &nodes.addresses())?);
    for (client, run) in clients.iter().zip(&runs) {
        println!("{} x: {:.3} of one bucket, {run:?}", client.offered / 60.0, run.of_ideal());
        let bound = client.offered * 0.15 + 2.0 * NODES as f64;
        ensure!(run.peak <= bound, "{} requests beyond the limit, at most {bound}: {run:?}", run.peak);
        let most = 1.01 + bound / run.ideal as f64;
        ensure!((0.95..=most).contains(&run.of_ideal()), "{:.3} of one bucket: {run:?}", run.of_ideal());
        let gap = Duration::from_secs_f64(NODES as f64 / client.offered);
        let soon = Duration::from_millis(250) + 6 * gap;
        ensure!(run.all_refuse.is_some_and(|after| after <= soon), "not within {soon:?}: {run:?}");
    }
    let text = nodes.weirs[0].metrics()?;
    ensure!(text.contains("weir_fleet_nodes 3"), "{text}");
    ensure!(nodes.weirs[0].metric("weir_fleet_pushed_total")? > 0);
    ensure!(nodes.weirs[0].metric("weir_fleet_sentences_total")? > 0);
    let explained = nodes.weirs[0].json(&["explain", "198.51.100.2", "--json"])?;
    let told: Vec<_> = explained["fleet"]["nodes"].as_array().into_iter().flatten().collect();
    ensure!(told.len() == NODES, "{explained}");
    ensure!(told.iter().filter(|node| node["here"] == true).count() == 1, "{explained}");
    Ok(())
}

#[test]
fn good_clients_are_never_refused() -> Result<()> {
    let redis = Redis::start()?;
    let nodes = Nodes::start_by(&redis, NODES, LIMITED)?;
    let mut clients: Vec<_> =
        [0.5, 0.8, 0.95].into_iter().zip(10..).map(|(part, n)| client(n, part, 8.0)).collect();
    clients.extend(
        [0.8, 0.95].into_iter().zip(20..).map(|(part, n)| Client { sticky: true, ..client(n, part, 8.0) }),
    );
    clients.push(Client { burst: 48, ..client(30, 0.8, 8.0) });
    // And one that has more than its part of the store's time.
    clients.push(client(40, 10.0, 8.0));
    let runs = outcomes(&send_all(&clients, &nodes.addresses())?);
    for (client, run) in clients.iter().zip(&runs).filter(|(client, _)| client.offered < 60.0) {
        ensure!(run.admitted == run.offered, "{client:?}: {run:?}");
    }
    Ok(())
}

/// Clients before, during and after what `trouble` does to the store.
fn live_through(
    trouble: impl FnOnce(&mut Redis) -> Result<()>,
    mend: impl FnOnce(&mut Redis) -> Result<()>,
) -> Result<()> {
    let mut redis = Redis::start()?;
    let nodes = Nodes::start_by(&redis, NODES, LIMITED)?;
    let addresses = nodes.addresses();
    let mut clients: Vec<_> =
        [0.5, 0.8, 0.95].into_iter().zip(50..).map(|(part, n)| client(n, part, 12.0)).collect();
    clients.push(client(60, 6.0, 12.0));
    let start_ns = weir::plane::now_ns();
    let runs = std::thread::scope(|scope| {
        let sending = scope.spawn(|| send_all(&clients, &addresses));
        let_pass(Duration::from_secs(4));
        trouble(&mut redis)?;
        let_pass(Duration::from_secs(4));
        mend(&mut redis)?;
        sending.join().map_err(|_| anyhow::anyhow!("clients panicked"))?
    })?;
    let within = |requests: &[Request], from_s: u64, to_s: u64| -> Vec<Request> {
        let of =
            |request: &&Request| (from_s..to_s).contains(&((request.sent_ns - start_ns) / 1_000_000_000));
        requests.iter().filter(of).copied().collect()
    };
    for (client, requests) in clients.iter().zip(&runs).take(3) {
        let run = Outcomes::of(requests, NODES);
        ensure!(run.admitted == run.offered, "{client:?}: {run:?}");
        let p99 = |from_s, to_s| Outcomes::of(&within(requests, from_s, to_s), NODES).p99;
        let (before, during) = (p99(0, 4), p99(4, 8));
        ensure!(during <= before * 3 + Duration::from_millis(20), "p99 {before:?}, then {during:?}");
    }
    let hot = &runs[3];
    let during = within(hot, 4, 8).iter().filter(|request| request.admitted).count() as f64 / (60.0 * 4.0);
    let whole = Outcomes::of(hot, NODES);
    println!("hot: {during:.2} of the limit meanwhile; {whole:?}");
    ensure!((0.7..=1.3).contains(&during), "{during:.2} of the limit meanwhile: {whole:?}");
    ensure!((0.8..=1.2).contains(&whole.of_ideal()), "{:.2} of one bucket: {whole:?}", whole.of_ideal());
    let is_up = |weir: &Weir| weir.status("/store/up").is_ok_and(|up| up == true);
    wait_for("the store", http::PATIENCE, || nodes.weirs.iter().all(is_up).then_some(()))
}

#[test]
fn a_killed_store_leaves_limits_on_and_good_clients_alone() -> Result<()> {
    let kill = |redis: &mut Redis| {
        redis.kill();
        Ok(())
    };
    live_through(kill, Redis::start_again)
}

#[test]
fn a_hung_store_leaves_limits_on_and_good_clients_alone() -> Result<()> {
    live_through(|redis| redis.freeze(), |redis| redis.thaw())
}
