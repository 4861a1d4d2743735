//! What XDP does when nobody in user space is left: it drops on, or with a watchdog drops nothing, and
//! comes off in each of the ways that the manual names.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use weir_tests::http::Connection;
use weir_tests::netns::{Netns, run};
use weir_tests::root::require_root;
use weir_tests::wait::{let_pass, wait_for};
use weir_tests::weir::{Place, Weir};

const SOON: Duration = Duration::from_secs(10);
/// Who is banned.
const BANNED: &str = "127.0.0.9";

/// A service that is not Weir's, protected by it.
struct Service(TcpListener);

impl Service {
    fn start() -> Result<Self> {
        Ok(Self(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?))
    }

    fn address(&self) -> Result<SocketAddr> {
        Ok(self.0.local_addr()?)
    }

    /// Whether the banned client's SYN is answered: nothing else is asked of the service.
    fn answers(&self) -> Result<bool> {
        let patience = Duration::from_millis(400);
        Ok(Connection::open_from_within(BANNED.parse()?, self.address()?, patience).is_ok())
    }
}

fn config(place: &Place, service: &Service, more: &str) -> Result<String> {
    Ok(format!(
        "[[listener]]\naddress = \"127.0.0.1:{}\"\n[[api]]\nname = \"a\"\nlisten_path = \"/\"\nrespond = {{ status = 200 }}\n[kernel]\ninterfaces = [\"lo\"]\nmode = \"generic\"\nclients = 4096\nguard_own_addresses = false\nprotect = [\"tcp/{}\"]\n{more}\n",
        place.port,
        service.address()?.port()
    ))
}

/// A weir that has banned a client, and the service that it protects, on a lo of their own.
fn with_a_ban(more: &str, test: impl FnOnce(Weir, Service) -> Result<()> + Send) -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    Netns::new("lo")?.run(|| {
        let service = Service::start()?;
        let place = Place::new()?;
        place.write_config(&config(&place, &service, more)?)?;
        let weir = Weir::start_at(place)?;
        ensure!(service.answers()?, "the service answers");
        let banned = weir.command(&["bans", "add", BANNED])?;
        ensure!(banned.status.success(), "{}", String::from_utf8_lossy(&banned.stderr));
        ensure!(!service.answers()?, "the ban holds");
        test(weir, service)
    })
}

/// Both processes, at once.
fn kill_all(weir: &mut Weir) -> Result<()> {
    let gateway = weir.gateway_pid().context("a keeper has a child")?;
    kill(weir.pid(), Signal::SIGKILL)?;
    kill(gateway, Signal::SIGKILL)?;
    weir.wait(SOON)?;
    wait_for("the gateway's end", SOON, || kill(gateway, None).is_err().then_some(()))
}

#[test]
fn without_a_keeper_the_watchdog_lets_everybody_in_until_there_is_one() -> Result<()> {
    with_a_ban("watchdog = \"4s\"", |mut weir, service| {
        let_pass(Duration::from_secs(5));
        assert!(!service.answers()?, "a living keeper renews its lease");
        let pid = weir.gateway_pid().context("a keeper has a child")?;
        kill(pid, Signal::SIGKILL)?;
        wait_for("another gateway", SOON, || weir.gateway_pid().filter(|other| *other != pid))?;
        let_pass(Duration::from_secs(5));
        assert!(!service.answers()?, "a gateway's death is no matter");
        kill_all(&mut weir)?;
        assert!(!service.answers()?, "limits stay on for the time of the watchdog");
        wait_for("the lease's end", SOON, || service.answers().ok().filter(|answers| *answers))?;
        let attached = weir.json(&["xdp", "status", "--json"])?;
        assert_eq!((&attached[0]["interface"], &attached[0]["drops"]), (&"lo".into(), &false.into()));
        weir.start_again()?;
        assert!(!service.answers()?, "and its successor's limits hold at once");
        assert_eq!(weir.json(&["xdp", "status", "--json"])?[0]["drops"], true);
        Ok(())
    })
}

#[test]
fn a_watchdog_that_is_taken_away_takes_its_lease_along() -> Result<()> {
    with_a_ban("watchdog = \"2s\"", |mut weir, service| {
        weir.place.write_config(&config(&weir.place, &service, "")?)?;
        wait_for("the reload", SOON, || {
            let waits = weir.status("/config/last_reload/waits_for_restart/0").ok()?;
            (waits == "[kernel] watchdog").then_some(())
        })?;
        weir.stop()?;
        weir.start_again()?;
        kill_all(&mut weir)?;
        let_pass(Duration::from_secs(3));
        assert!(!service.answers()?, "without a watchdog limits stay on");
        Ok(())
    })
}

/// With both processes dead: takes XDP off by `way`, which must let everybody in.
fn taken_off(way: impl FnOnce(&Weir) -> Result<()> + Send) -> Result<()> {
    with_a_ban("", |mut weir, service| {
        kill_all(&mut weir)?;
        let plain = run(&["ip", "link", "set", "dev", "lo", "xdpgeneric", "off"]);
        let said = plain.err().context("a plain xdp off must fail, or the manual is wrong")?.to_string();
        ensure!(said.contains("Can't replace active BPF XDP link"), "{said}");
        assert!(!service.answers()?, "the ban outlives both processes");
        way(&weir)?;
        // The kernel lets a link go a moment after its last pin, and a SYN that is lost comes again in a second.
        wait_for("everybody let in", SOON, || service.answers().ok().filter(|answers| *answers))?;
        Ok(())
    })
}

#[test]
fn detach_works_with_both_processes_killed() -> Result<()> {
    taken_off(|weir| {
        let detached = weir.json(&["xdp", "detach", "--json"])?;
        assert_eq!(detached["everything"], true);
        assert!(!weir.place.pins().exists());
        Ok(())
    })
}

#[test]
fn detach_finds_what_a_predecessor_of_another_layout_left() -> Result<()> {
    taken_off(|weir| {
        let pins = weir.place.pins();
        let older = pins.parent().context("an instance's folder")?.join("v1");
        std::fs::create_dir(&older)?;
        std::fs::rename(pins.join("link_xdp_lo"), older.join("link_xdp_lo"))?;
        assert_eq!(weir.json(&["xdp", "detach", "--json"])?["interfaces"][0], "lo");
        assert!(!older.exists());
        Ok(())
    })
}

#[test]
fn removing_the_pins_detaches() -> Result<()> {
    taken_off(|weir| {
        let folder = weir.place.pins();
        let folder = folder.parent().context("an instance's folder")?.to_string_lossy().into_owned();
        run(&["rm", "-r", &folder]).map(drop)
    })
}

#[test]
fn bpftool_detaches_the_link() -> Result<()> {
    taken_off(|weir| {
        let link = weir.place.pins().join("link_xdp_lo");
        run(&["bpftool", "link", "detach", "pinned", &link.to_string_lossy()]).map(drop)
    })
}
