//! Upstreams of a whole `weir run`: a name of /etc/hosts that moves, what status, metrics and the access
//! log say.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use weir_tests::http;
use weir_tests::ports::free_port;
use weir_tests::root::require_root;
use weir_tests::wait::wait_for;
use weir_tests::weir::{Place, Weir, binary};

/// Two periods of asking, and some.
const FOLLOWED: Duration = Duration::from_secs(15);

const OLD: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const NEW: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

#[test]
fn a_name_is_followed_to_where_it_moves() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let port = free_port()?;
    answer_with(OLD, port, 201)?;
    answer_with(NEW, port, 202)?;
    let place = Place::new()?;
    place.write_config(&format!(
        "[kernel]\nmode = \"off\"\n[access_log]\nto = \"access.log\"\n[[listener]]\naddress = \"127.0.0.1:{}\"\n[[api]]\nname = \"a\"\nlisten_path = \"/\"\nupstreams = [\"http://moving.test:{port}\"]\n",
        place.port
    ))?;
    let hosts = place.folder().join("hosts");
    std::fs::write(&hosts, format!("{OLD} moving.test\n"))?;
    let command = with_hosts(&place, &hosts)?;
    let mut weir = Weir::start_by(place, command)?;
    let server = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), weir.place.port);
    let status = || http::get(server, "/").map(|answer| answer.status).unwrap_or_default();
    ensure!(status() == 201, "known before the first request: {}", status());
    let upstream = weir.status("/upstreams/0")?;
    ensure!(upstream["address"] == format!("{OLD}:{port}") && upstream["state"] == "serving", "{upstream}");
    ensure!(weir.metrics()?.contains("weir_upstreams{api=\"a\",state=\"serving\"} 1"));
    std::fs::write(&hosts, format!("{NEW} moving.test\n"))?;
    wait_for("the new address", FOLLOWED, || (status() == 202).then_some(()))?;
    let text = String::from_utf8_lossy(&weir.command(&["status"])?.stdout).into_owned();
    ensure!(
        text.contains(&format!("a: moving.test:{port} at {NEW}:{port}, serving; 0 in flight, ")),
        "{text}"
    );
    weir.stop()?;
    let log = std::fs::read_to_string(weir.place.folder().join("access.log"))?;
    let first = log.lines().next().unwrap_or_default();
    let line: serde_json::Value = serde_json::from_str(first)?;
    ensure!(
        line["status"] == 201 && line["upstream"] == format!("moving.test:{port}/{OLD}:{port}"),
        "{first}"
    );
    ensure!(log.ends_with("}\n") && log.contains("\"status\":202"), "what waited was written: {log}");
    Ok(())
}

#[test]
fn a_log_that_was_moved_away_is_begun_anew_at_a_reload() -> Result<()> {
    let place = Place::new()?;
    place.write_config(&format!(
        "[kernel]\nmode = \"off\"\n[access_log]\nto = \"access.log\"\n[[listener]]\naddress = \"127.0.0.1:{}\"\n[[api]]\nname = \"a\"\nlisten_path = \"/\"\nrespond = {{ status = 200 }}\n",
        place.port
    ))?;
    let mut weir = Weir::start_at(place)?;
    let (log, moved) = (weir.place.folder().join("access.log"), weir.place.folder().join("access.log.1"));
    let lines = |path: &Path| std::fs::read_to_string(path).map_or(0, |text| text.lines().count());
    let get = |path: &str| http::get(weir.address(), path);
    get("/old")?;
    wait_for("a line", FOLLOWED, || (lines(&log) == 1).then_some(()))?;
    std::fs::rename(&log, &moved)?;
    get("/still")?;
    wait_for("the old file is written on", FOLLOWED, || (lines(&moved) == 2).then_some(()))?;
    weir.command(&["reload"])?;
    wait_for("the new file", FOLLOWED, || log.exists().then_some(()))?;
    get("/new")?;
    wait_for("a line in it", FOLLOWED, || (lines(&log) == 1).then_some(()))?;
    ensure!(lines(&moved) == 2, "and none more in the old one");
    weir.stop().map(drop)
}

/// `weir run` with another /etc/hosts, in a mount namespace of its own.
fn with_hosts(place: &Place, hosts: &Path) -> Result<Command> {
    let mut command = Command::new("unshare");
    command.args([
        "--mount",
        "sh",
        "-c",
        "mount --bind \"$1\" /etc/hosts && exec \"$2\" run --config \"$3\"",
        "sh",
    ]);
    command.arg(hosts).arg(binary()?).arg(place.folder().join("weir.toml"));
    Ok(command)
}

/// An upstream on a thread of its own, for as long as the tests run.
fn answer_with(address: Ipv4Addr, port: u16, status: u16) -> Result<()> {
    let listener = TcpListener::bind((address, port))?;
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut buffer = [0; 4_096];
                while stream.read(&mut buffer).is_ok_and(|read| read > 0) {
                    let answer = format!("HTTP/1.1 {status} Here\r\nContent-Length: 0\r\n\r\n");
                    if stream.write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    Ok(())
}
