//! Restarts under load, the listeners kept by a service manager: no connection is refused, no request lost.

use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use weir_tests::fd_store::Manager;
use weir_tests::http::{Connection, get};
use weir_tests::load::Load;
use weir_tests::netns::Netns;
use weir_tests::ports::free_port;
use weir_tests::root::require_root;
use weir_tests::weir::{Place, Weir};

const RESTARTS: usize = 10;
/// Beyond every drain and start.
const PATIENCE: Duration = Duration::from_secs(20);

fn config(port: u16, kernel: &str, workers: usize) -> String {
    format!(
        "workers = {workers}\n[[listener]]\naddress = \"127.0.0.1:{port}\"\n[[api]]\nname = \"a\"\nlisten_path = \"/\"\nrespond = {{ status = 200, body = \"ok\" }}\n[timeouts]\ndrain = \"5s\"\n[kernel]\n{kernel}\n"
    )
}

/// Restarts it again and again while some ask over kept connections and some over one for each request;
/// what failed of each, and how many were answered.
fn restarts(weir: &mut Weir, mut command: impl FnMut(&Place) -> Result<Command>) -> Result<(u64, u64, u64)> {
    let address = weir.address();
    let load = Load { patience: PATIENCE, ..Load::on(address, Duration::from_secs(300)) };
    let kept = load.start();
    let (stop, failed, answered) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| -> Result<()> {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let asked = Connection::open_within(address, PATIENCE)
                        .and_then(|mut connection| connection.get("/", "Connection: close\r\n"));
                    let count =
                        if asked.is_ok_and(|answer| answer.status == 200) { &answered } else { &failed };
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let mut again = || -> Result<()> {
            for _ in 0..RESTARTS {
                let before = answered.load(Ordering::Relaxed);
                weir.stop()?;
                let command = command(&weir.place)?;
                weir.start_again_by(command)?;
                weir_tests::wait::wait_for("answers by the next", PATIENCE, || {
                    (answered.load(Ordering::Relaxed) > before + 50).then_some(())
                })?;
            }
            Ok(())
        };
        let done = again();
        stop.store(true, Ordering::Relaxed);
        done
    })?;
    let kept = kept.stop();
    println!(
        "{RESTARTS} restarts: {} answers over kept connections, {} over fresh ones, {} and {} failures",
        kept.of(200),
        answered.load(Ordering::Relaxed),
        kept.failures,
        failed.load(Ordering::Relaxed)
    );
    ensure!(kept.of(200) == kept.total(), "{:?}", kept.by_status);
    Ok((kept.failures, failed.into_inner(), kept.of(200) + answered.into_inner()))
}

#[test]
fn ten_restarts_lose_no_request() -> Result<()> {
    let place = Place::new()?;
    place.write_config(&config(place.port, "mode = \"off\"", 2))?;
    let mut manager = Manager::new(&place)?;
    let command = manager.command(&place)?;
    let mut weir = Weir::start_by(place, command)?;
    manager.hear()?;
    ensure!(manager.names().len() == 2, "a socket a worker is kept: {:?}", manager.names());
    let (kept, fresh, answered) = restarts(&mut weir, |place| manager.command(place))?;
    ensure!(kept == 0 && fresh == 0, "{kept} and {fresh} of {answered} requests failed");
    ensure!(manager.names().len() == 2, "the same ones: {:?}", manager.names());
    Ok(())
}

#[test]
fn ten_restarts_of_both_processes_on_a_socket_of_the_managers() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    Netns::new("lo")?.run(|| {
        let place = Place::new()?;
        let kernel = "interfaces = [\"lo\"]\nmode = \"generic\"\nclients = 4096\nguard_own_addresses = false";
        place.write_config(&config(place.port, kernel, 2))?;
        let mut manager = Manager::new(&place)?;
        manager.listen(SocketAddr::from(([127, 0, 0, 1], place.port)))?;
        let command = manager.command(&place)?;
        let mut weir = Weir::start_by(place, command)?;
        let (kept, fresh, answered) = restarts(&mut weir, |place| manager.command(place))?;
        ensure!(kept == 0 && fresh == 0, "{kept} and {fresh} of {answered} requests failed");
        ensure!(manager.names() == ["unit"], "nothing else was opened: {:?}", manager.names());
        Ok(())
    })
}

#[test]
fn sockets_fit_however_many_workers_and_listeners_there_are() -> Result<()> {
    let place = Place::new()?;
    place.write_config(&config(place.port, "mode = \"off\"", 3))?;
    let mut manager = Manager::new(&place)?;
    let command = manager.command(&place)?;
    let mut weir = Weir::start_by(place, command)?;
    for workers in [1, 4] {
        weir.stop()?;
        weir.place.write_config(&config(weir.place.port, "mode = \"off\"", workers))?;
        let command = manager.command(&weir.place)?;
        ensure!(manager.names().len() == 3);
        weir.start_again_by(command)?;
        // Whichever socket the kernel chooses has somebody who accepts.
        for _ in 0..30 {
            ensure!(get(weir.address(), "/")?.status == 200);
        }
    }
    // Another address: what nobody accepts from any more is given up.
    let old = weir.address();
    weir.stop()?;
    let port = free_port()?;
    weir.place.write_config(&config(port, "mode = \"off\"", 1))?;
    let command = manager.command(&weir.place)?;
    weir.start_again_by(command)?;
    manager.hear()?;
    ensure!(manager.names() == [format!("weir-127.0.0.1_{port}")], "{:?}", manager.names());
    ensure!(TcpStream::connect(old).is_err(), "the old address refuses");
    ensure!(get(SocketAddr::from(([127, 0, 0, 1], port)), "/")?.status == 200);
    Ok(())
}
