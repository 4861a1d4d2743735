//! A real weir on loopback: limits outlive the processes that set them, and what was told holds.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::signal::{Signal, kill};
use weir_ebpf::abi::maps;
use weir_tests::http::{self, Connection};
use weir_tests::netns::Netns;
use weir_tests::root::require_root;
use weir_tests::wait::{let_pass, wait_for};
use weir_tests::weir::{Place, Weir};

const SOON: Duration = Duration::from_secs(10);

/// XDP on lo has one owner: each test gets a namespace with a lo of its own.
fn on_own_loopback(test: impl FnOnce() -> Result<()> + Send) -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    Netns::new("lo")?.run(test)
}

/// One API that answers by itself, `requests` as the client's limit, XDP on lo for this port alone.
fn config(place: &Place, client: &str) -> String {
    format!(
        "[[listener]]\naddress = \"127.0.0.1:{}\"\n[[api]]\nname = \"a\"\nlisten_path = \"/\"\nrespond = {{ status = 200, body = \"ok\" }}\n[kernel]\ninterfaces = [\"lo\"]\nmode = \"generic\"\nclients = 4096\nguard_own_addresses = false\n[limit.client]\n{client}\n",
        place.port
    )
}

fn server(weir: &Weir) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), weir.place.port)
}

fn status_of(weir: &Weir) -> Result<u16> {
    Ok(http::get(server(weir), "/")?.status)
}

/// 1 a minute and 3 at once: what is used up stays used up for the length of a test.
const SLOW: &str = "requests = { rate = \"1/min\", burst = 3 }\nshed = []";

#[test]
fn a_gateway_killed_under_load_is_replaced_and_limits_hold() -> Result<()> {
    on_own_loopback(|| {
        let weir = Weir::start(|place| config(place, SLOW))?;
        for expected in [200, 200, 200, 429] {
            assert_eq!(status_of(&weir)?, expected);
        }
        let (stop, refused, connected) = (AtomicBool::new(false), AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| -> Result<()> {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    match std::net::TcpStream::connect(server(&weir)) {
                        Ok(_) => connected.fetch_add(1, Ordering::Relaxed),
                        Err(_) => refused.fetch_add(1, Ordering::Relaxed),
                    };
                }
            });
            let killed = replace_gateway(&weir);
            stop.store(true, Ordering::Relaxed);
            killed
        })?;
        assert_eq!(refused.into_inner(), 0, "no connection was refused");
        assert!(connected.into_inner() > 10);
        assert_eq!(status_of(&weir)?, 429, "the entry is the kernel's");
        Ok(())
    })
}

/// Kills the gateway, and waits for the next to answer.
fn replace_gateway(weir: &Weir) -> Result<()> {
    let old = weir.gateway_pid().context("a keeper has a child")?;
    kill(old, Signal::SIGKILL)?;
    wait_for("another gateway", SOON, || weir.gateway_pid().filter(|pid| *pid != old))?;
    wait_for("an answer of it", SOON, || status_of(weir).ok())?;
    Ok(())
}

#[test]
fn a_keeper_killed_leaves_limits_on_and_its_successor_takes_them_over() -> Result<()> {
    on_own_loopback(|| {
        let limits = "requests = { rate = \"1/min\", burst = 3 }\npackets = { rate = \"20000/s\", burst = 20000 }\nshed = []";
        let mut weir = Weir::start(|place| config(place, limits))?;
        for expected in [200, 200, 200, 429] {
            assert_eq!(status_of(&weir)?, expected);
        }
        let ban = weir.json(&["bans", "add", "127.0.0.9", "--json"])?;
        assert_eq!(ban["reason"], "operator");
        let before = packets(&weir, "conforming")?;
        let gateway = weir.gateway_pid().context("a keeper has a child")?;
        kill(weir.pid(), Signal::SIGKILL)?;
        weir.wait(SOON)?;
        wait_for("the gateway's end", SOON, || kill(gateway, None).is_err().then_some(()))?;
        let attached = weir.json(&["xdp", "status", "--json"])?;
        assert_eq!(attached[0]["interface"], "lo", "XDP stayed");
        weir.start_again()?;
        assert_eq!(status_of(&weir)?, 429, "the client still owes");
        assert!(packets(&weir, "conforming")? >= before, "counters went on");
        assert_eq!(weir.status("/bans")?, 1, "the ban is known to the successor");
        assert!(is_silent(&weir, "127.0.0.9")?, "and holds");
        Ok(())
    })
}

fn packets(weir: &Weir, verdict: &str) -> Result<u64> {
    let rows = weir.status("/kernel/packets")?;
    let rows = rows.as_array().context("a list")?;
    Ok(rows.iter().filter(|row| row["verdict"] == verdict).filter_map(|row| row["packets"].as_u64()).sum())
}

/// Whether the client's SYNs are lost: its packets are dropped before anything answers.
fn is_silent(weir: &Weir, client: &str) -> Result<bool> {
    let socket = Connection::open_from_within(client.parse()?, server(weir), Duration::from_millis(700));
    Ok(socket.is_err())
}

#[test]
fn detach_leaves_nothing_behind_with_the_daemon_dead() -> Result<()> {
    on_own_loopback(|| {
        let mut weir = Weir::start(|place| config(place, SLOW))?;
        let stopped = weir.stop()?;
        assert!(stopped.success(), "{stopped}: {}", weir.output());
        assert!(weir.place.pins().join("link_xdp_lo").exists(), "TERM leaves XDP on");
        let detached = weir.json(&["xdp", "detach", "--json"])?;
        assert_eq!((&detached["interfaces"][0], &detached["everything"]), (&"lo".into(), &true.into()));
        assert!(!weir.place.pins().exists());
        let rows = weir.json(&["xdp", "status", "--json"])?;
        assert_eq!((&rows[0]["interface"], &rows[0]["mode"]), (&"lo".into(), &"detached".into()), "{rows}");
        Ok(())
    })
}

#[test]
fn who_comes_on_after_429_is_dropped_until_it_is_pardoned() -> Result<()> {
    on_own_loopback(|| {
        let limits = "requests = { rate = \"1/min\", burst = 2 }\nshed_after = { refused = 5, within = \"10s\" }\nshed = [\"1h\"]";
        let weir = Weir::start(|place| config(place, limits))?;
        let client = "127.0.0.7".parse()?;
        let ask = || -> Result<http::Response> { Connection::open_from(client, server(&weir))?.get("/", "") };
        for _ in 0..2 {
            assert_eq!(ask()?.status, 200);
        }
        for _ in 0..4 {
            assert_eq!(ask()?.header("retry-after"), Some("60"));
        }
        assert_eq!(ask()?.header("retry-after"), Some("3600"), "the refusal that sheds says for how long");
        wait_for("the ban", SOON, || is_silent(&weir, "127.0.0.7").ok().filter(|silent| *silent))?;
        let explained = weir.json(&["explain", "127.0.0.7", "--json"])?;
        let conclusion = explained["conclusion"].as_str().context("a text")?;
        assert!(
            conclusion.contains("shed at level 0") && conclusion.contains("bans rm 127.0.0.7"),
            "{conclusion}"
        );
        assert_eq!(explained["ban"]["reason"], "shed");
        assert!(packets(&weir, "banned")? > 0);
        let lifted = weir.command(&["bans", "rm", "127.0.0.7", "--grace", "60s"])?;
        assert!(lifted.status.success());
        assert_eq!(ask()?.status, 200, "in at once, its debt forgiven");
        for _ in 0..12 {
            ask()?;
        }
        assert_eq!(weir.status("/bans")?, 0, "not shed again within the grace");
        Ok(())
    })
}

#[test]
fn who_waits_exactly_as_told_is_served() -> Result<()> {
    on_own_loopback(|| {
        let weir = Weir::start(|place| config(place, "requests = { rate = \"1/s\", burst = 1 }\nshed = []"))?;
        for _ in 0..3 {
            assert_eq!(status_of(&weir)?, 200);
            let refused = http::get(server(&weir), "/")?;
            assert_eq!(refused.status, 429);
            let seconds: u64 = refused.header("retry-after").context("Retry-After")?.parse()?;
            let_pass(Duration::from_secs(seconds));
        }
        Ok(())
    })
}

#[test]
fn a_reload_changes_limits_and_keeps_debts_and_a_wrong_file_changes_nothing() -> Result<()> {
    on_own_loopback(|| {
        let weir = Weir::start(|place| config(place, SLOW))?;
        for expected in [200, 200, 200, 429] {
            assert_eq!(status_of(&weir)?, expected);
        }
        // Twice the burst: three of six are used.
        let wider = config(&weir.place, "requests = { rate = \"1/min\", burst = 6 }\nshed = []");
        weir.place.write_config(&wider)?;
        wait_for("the watched file's reload", SOON, || {
            weir.status("/config/last_reload/succeeded").ok().filter(|count| *count == 1)
        })?;
        for expected in [200, 200, 200, 429] {
            assert_eq!(status_of(&weir)?, expected);
        }
        weir.place.write_config(&wider.replace("burst = 6", "burst = 0"))?;
        let told = weir.command(&["reload"])?;
        assert_eq!(told.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&told.stderr).contains("at least 1"));
        let metrics = weir.metrics()?;
        assert!(metrics.contains("weir_config_reload_ok 0"), "{metrics}");
        assert_eq!(status_of(&weir)?, 429, "the old one holds");
        weir.place.write_config(&wider.replace("mode = \"generic\"", "mode = \"auto\""))?;
        kill(weir.pid(), Signal::SIGHUP)?;
        wait_for("the reload by HUP", SOON, || {
            weir.status("/config/last_reload/waits_for_restart/0")
                .ok()
                .filter(|name| *name == "[kernel] mode")
        })?;
        assert!(weir.metrics()?.contains("weir_config_reload_ok 1"));
        Ok(())
    })
}

#[test]
fn pins_of_another_layout_version_are_taken_over_or_taken_away() -> Result<()> {
    on_own_loopback(|| {
        let mut weir = Weir::start(|place| config(place, SLOW))?;
        for expected in [200, 200, 200, 429] {
            assert_eq!(status_of(&weir)?, expected);
        }
        weir.json(&["bans", "add", "127.0.0.9", "--json"])?;
        assert!(weir.command(&["deny", "add", "192.0.2.77"])?.status.success());
        weir.stop()?;
        let older = weir.place.age_pins(1)?;
        assert_eq!(weir.json(&["xdp", "status", "--json"])?[0]["mode"], "generic", "it is still on");
        weir.start_again()?;
        assert_eq!(status_of(&weir)?, 429, "the client still owes");
        assert!(is_silent(&weir, "127.0.0.9")?, "the ban holds");
        assert!(weir.json(&["deny", "list", "--json"])?.to_string().contains("192.0.2.77"), "and the list");
        assert!(!older.exists(), "nothing of the older version is left");

        weir.stop()?;
        let newer = weir.place.age_pins(99)?;
        std::fs::rename(newer.join(maps::SCOPE), newer.join(maps::CLIENTS))?;
        weir.start_again()?;
        assert_eq!(status_of(&weir)?, 200, "clients of a layout that is not ours begin anew");
        assert!(weir.output().contains("entries of another layout are lost"), "{}", weir.output());
        assert!(is_silent(&weir, "127.0.0.9")?, "the ban holds");
        assert!(!newer.exists(), "nothing of the newer version is left");

        weir.stop()?;
        weir.place.age_pins(1)?;
        let detached = weir.json(&["xdp", "detach", "--json"])?;
        assert_eq!((&detached["interfaces"][0], &detached["everything"]), (&"lo".into(), &true.into()));
        assert_eq!(weir.json(&["xdp", "status", "--json"])?[0]["mode"], "detached");
        Ok(())
    })
}

#[test]
fn a_reload_changes_capacities_and_every_handle_follows() -> Result<()> {
    on_own_loopback(|| {
        let weir = Weir::start(|place| config(place, SLOW))?;
        for expected in [200, 200, 200, 429] {
            assert_eq!(status_of(&weir)?, expected);
        }
        for client in ["127.0.0.9", "127.0.0.10"] {
            weir.json(&["bans", "add", client, "--json"])?;
        }
        let capacities = |clients, bans| {
            config(&weir.place, SLOW)
                .replace("clients = 4096", &format!("clients = {clients}\nbans = {bans}"))
        };
        let settled = |clients: u32, bans: u32| {
            wait_for("the capacities", SOON, || {
                let metrics = weir.metrics().ok()?;
                let is_so = weir.status("/kernel/clients_capacity").ok()? == clients
                    && metrics.contains(&format!("weir_bans_capacity {bans}\n"));
                is_so.then_some(())
            })
        };
        let ceiling = weir.status("/memory/ceiling_bytes")?;
        for (clients, bans) in [(8_192, 16), (4_096, 2), (100_000, 65_536)] {
            weir.place.write_config(&capacities(clients, bans))?;
            weir.command(&["reload"])?;
            settled(clients, bans)?;
            assert_eq!(status_of(&weir)?, 429, "the client still owes");
            assert_eq!(weir.status("/bans")?, 2);
            assert!(is_silent(&weir, "127.0.0.9")?, "the ban holds");
        }
        assert!(weir.status("/memory/ceiling_bytes")?.as_u64() > ceiling.as_u64());
        // What is written now is written to the maps that count.
        weir.json(&["bans", "add", "127.0.0.11", "--json"])?;
        assert!(is_silent(&weir, "127.0.0.11")?);
        assert!(weir.command(&["bans", "rm", "127.0.0.9"])?.status.success());
        assert!(!is_silent(&weir, "127.0.0.9")?);
        assert!(weir.json(&["explain", "127.0.0.1", "--json"])?["proved"].as_bool() == Some(true));

        weir.place.write_config(&capacities(100_000, 1))?;
        weir.command(&["reload"])?;
        wait_for("the refusal", SOON, || {
            weir.output().contains("are an operator's and do not fit").then_some(())
        })?;
        settled(100_000, 65_536)?;
        assert_eq!(weir.status("/bans")?, 2, "none was lost");
        Ok(())
    })
}
