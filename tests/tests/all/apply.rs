//! `weir apply --confirm`: deny list, limits and protected ports hold for a while, and the old ones come
//! back unless somebody keeps them, whoever is killed meanwhile.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use weir_tests::http::Connection;
use weir_tests::netns::Netns;
use weir_tests::root::require_root;
use weir_tests::wait::wait_for;
use weir_tests::weir::{Place, Weir};

const SOON: Duration = Duration::from_secs(10);
const DENIED: &str = "127.0.0.9";

/// A weir with the old configuration, and the new one in a file beside it.
struct Trial {
    weir: Weir,
    /// Protected by both configurations, and by the new one only.
    services: [TcpListener; 2],
    new: PathBuf,
    /// Each request comes from a client of its own: a debt would outlive its limit.
    clients: AtomicU8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    Old,
    New,
    /// Half of each: never.
    Neither,
}

fn config(place: &Place, ports: &[u16], kernel: &str, burst: u32) -> String {
    let protect: Vec<_> = ports.iter().map(|port| format!("\"tcp/{port}\"")).collect();
    format!(
        "[[listener]]\naddress = \"127.0.0.1:{}\"\n[[api]]\nname = \"a\"\nlisten_path = \"/\"\nrespond = {{ status = 200 }}\n[kernel]\ninterfaces = [\"lo\"]\nmode = \"generic\"\nclients = 4096\nguard_own_addresses = false\nprotect = [{}]\n{kernel}\n[limit.client]\nrequests = {{ rate = \"1/min\", burst = {burst} }}\nshed = []\n",
        place.port,
        protect.join(", ")
    )
}

impl Trial {
    fn start() -> Result<Self> {
        let services = [(); 2].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
        let [first, second] = services;
        let services = [first?, second?];
        let ports = [services[0].local_addr()?.port(), services[1].local_addr()?.port()];
        let place = Place::new()?;
        // What the place adds to a configuration is in both.
        place.write_config(&config(&place, &ports, &format!("deny = [\"{DENIED}\"]"), 1))?;
        let new = place.folder().join("new.toml");
        std::fs::rename(place.folder().join("weir.toml"), &new)?;
        place.write_config(&config(&place, &ports[..1], "", 15))?;
        let weir = Weir::start_at(place)?;
        let trial = Self { weir, services, new, clients: AtomicU8::new(10) };
        ensure!(trial.holds()? == Holds::Old);
        Ok(trial)
    }

    /// Which configuration deny list, protected ports and limits are of.
    fn holds(&self) -> Result<Holds> {
        let mut silent = Vec::new();
        for service in &self.services {
            let patience = Duration::from_millis(300);
            silent.push(
                Connection::open_from_within(DENIED.parse()?, service.local_addr()?, patience).is_err(),
            );
        }
        let client = Ipv4Addr::new(127, 0, 1, self.clients.fetch_add(1, Ordering::Relaxed));
        let server = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), self.weir.place.port);
        let second = |_| Connection::open_from(client.into(), server)?.get("/", "");
        let statuses = [0, 1].map(second).map(|answer| answer.map(|answer| answer.status).unwrap_or(0));
        Ok(match (silent.as_slice(), statuses) {
            ([false, false], [200, 200]) => Holds::Old,
            ([true, true], [200, 429]) => Holds::New,
            found => {
                println!("neither: {found:?}");
                Holds::Neither
            }
        })
    }

    /// Whether the denied client's packets pass, with no gateway needed for the answer.
    fn lets_in(&self) -> Result<bool> {
        let address = self.services[0].local_addr()?;
        Ok(Connection::open_from_within(DENIED.parse()?, address, Duration::from_millis(300)).is_ok())
    }

    fn apply(&self, more: &[&str]) -> Result<()> {
        let new = self.new.to_string_lossy();
        let output = self.weir.command(&[&["apply", &*new], more].concat())?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        ensure!(self.holds()? == Holds::New, "{}", self.weir.output());
        Ok(())
    }

    fn comes_back(&self, why: &str) -> Result<()> {
        wait_for(format!("the old configuration: {why}"), SOON, || {
            self.holds().ok().filter(|holds| *holds == Holds::Old)
        })?;
        let in_file = std::fs::read_to_string(self.weir.place.folder().join("weir.toml"))?;
        assert!(!in_file.contains("deny"), "the file never said anything else");
        assert!(self.weir.status("/config/reverts_in_seconds")?.is_null());
        Ok(())
    }

    fn kill_both(&mut self) -> Result<()> {
        let gateway = self.weir.gateway_pid().context("a keeper has a child")?;
        kill(self.weir.pid(), Signal::SIGKILL)?;
        kill(gateway, Signal::SIGKILL)?;
        self.weir.wait(SOON)?;
        wait_for("the gateway's end", SOON, || kill(gateway, None).is_err().then_some(()))
    }
}

fn on_trial(test: impl FnOnce(Trial) -> Result<()> + Send) -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    Netns::new("lo")?.run(|| test(Trial::start()?))
}

#[test]
fn what_nobody_confirms_is_taken_back_in_time_or_at_once() -> Result<()> {
    on_trial(|trial| {
        trial.apply(&["--confirm", "3s"])?;
        assert!(trial.weir.status("/config/reverts_in_seconds")?.as_u64().is_some_and(|left| left <= 3));
        trial.comes_back("nobody confirmed")?;
        trial.apply(&["--confirm", "60s"])?;
        let reverted = trial.weir.command(&["apply", "--revert"])?;
        assert!(reverted.status.success());
        trial.comes_back("by command")?;
        let nothing = trial.weir.command(&["apply", "--keep"])?;
        assert_eq!(nothing.status.code(), Some(1), "nothing is on trial");
        Ok(())
    })
}

#[test]
fn what_is_kept_stays_over_a_restart() -> Result<()> {
    on_trial(|mut trial| {
        trial.apply(&["--confirm", "3s"])?;
        let kept = trial.weir.json(&["apply", "--keep", "--json"])?;
        assert!(kept["reverts_in_seconds"].is_null(), "{kept}");
        let in_file = std::fs::read(trial.weir.place.folder().join("weir.toml"))?;
        assert_eq!(in_file, std::fs::read(&trial.new)?);
        weir_tests::wait::let_pass(Duration::from_secs(4));
        assert_eq!(trial.holds()?, Holds::New);
        trial.kill_both()?;
        weir_tests::wait::let_pass(Duration::from_secs(5));
        assert!(!trial.lets_in()?, "the trial's lease ended with it");
        trial.weir.start_again()?;
        assert_eq!(trial.holds()?, Holds::New);
        Ok(())
    })
}

#[test]
fn without_confirm_it_holds_for_good_and_a_wrong_one_changes_nothing() -> Result<()> {
    on_trial(|trial| {
        let text = std::fs::read_to_string(&trial.new)?;
        std::fs::write(&trial.new, text.replace("burst = 1 ", "burst = 0 "))?;
        let wrong = trial.weir.command(&["apply", &trial.new.to_string_lossy()])?;
        let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
        assert_eq!(wrong.status.code(), Some(1), "{said}");
        assert!(said.contains("new.toml:") && said.contains("at least 1"), "{said}");
        trial.comes_back("a wrong one is no trial")?;
        std::fs::write(&trial.new, text)?;
        trial.apply(&[])?;
        let in_file = std::fs::read(trial.weir.place.folder().join("weir.toml"))?;
        assert_eq!(in_file, std::fs::read(&trial.new)?);
        Ok(())
    })
}

#[test]
fn a_gateway_killed_on_trial_comes_again_with_the_old_configuration() -> Result<()> {
    on_trial(|trial| {
        trial.apply(&["--confirm", "60s"])?;
        let gateway = trial.weir.gateway_pid().context("a keeper has a child")?;
        kill(gateway, Signal::SIGKILL)?;
        wait_for("another gateway", SOON, || trial.weir.gateway_pid().filter(|pid| *pid != gateway))?;
        trial.comes_back("its keeper started another")
    })
}

#[test]
fn both_killed_on_trial_come_again_with_the_old_configuration() -> Result<()> {
    on_trial(|mut trial| {
        trial.apply(&["--confirm", "60s"])?;
        trial.kill_both()?;
        assert!(!trial.lets_in()?, "the kernel still has the new one");
        trial.weir.start_again()?;
        trial.comes_back("the file is the old one")
    })
}

#[test]
fn both_killed_on_trial_and_nobody_left_ends_dropping() -> Result<()> {
    on_trial(|mut trial| {
        trial.apply(&["--confirm", "4s"])?;
        trial.kill_both()?;
        assert!(!trial.lets_in()?, "the kernel still has the new one");
        // The time to confirm, and the five seconds that the gateway would have had.
        wait_for("the lease's end", Duration::from_secs(15), || {
            trial.lets_in().ok().filter(|passes| *passes)
        })?;
        Ok(())
    })
}

#[test]
fn a_clean_stop_leaves_nothing_on_trial() -> Result<()> {
    on_trial(|mut trial| {
        trial.apply(&["--confirm", "60s"])?;
        trial.weir.stop()?;
        assert!(trial.lets_in()?, "the old configuration is in the kernel");
        Ok(())
    })
}
