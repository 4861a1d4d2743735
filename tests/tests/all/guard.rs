//! Nobody is locked out: each guarded class has the line that would cut it off refused, commands are
//! refused likewise, and who becomes guarded while Weir runs is let in again.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use weir_tests::http::{self, Connection};
use weir_tests::netns::Netns;
use weir_tests::root::require_root;
use weir_tests::wait::wait_for;
use weir_tests::weir::{Place, Weir, binary};
use weir_tests::wire::{End, Wire};

const SOON: Duration = Duration::from_secs(10);
const SSH: &str = "10.77.1.7 50000 10.77.1.1 22";

/// A host with a wire to a neighbour, and a resolv.conf of its own for the processes started here.
struct World {
    here: Netns,
    there: Netns,
    wire: Wire,
    place: Option<Place>,
    resolv: PathBuf,
}

impl World {
    fn new() -> Result<Self> {
        let (here, there) = (Netns::new("here")?, Netns::new("there")?);
        let end = End { netns: &here, interface: "w0", host: 1 };
        let wire = Wire::join(1, end, End { netns: &there, interface: "w1", host: 2 })?;
        let place = Place::new()?;
        let resolv = place.folder().join("resolv.conf");
        std::fs::write(&resolv, "nameserver 9.9.9.9\n")?;
        Ok(Self { here, there, wire, place: Some(place), resolv })
    }

    fn place(&self) -> Result<&Place> {
        self.place.as_ref().context("the place was given to an instance")
    }

    fn neighbour(&self) -> IpAddr {
        self.wire.v4(2).into()
    }

    /// `weir ARGUMENTS` on this host, with its resolv.conf and SSH_CONNECTION.
    fn weir(&self, arguments: &[&str], ssh: Option<&str>) -> Result<Command> {
        let mut command = Command::new("unshare");
        let script = "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"";
        command.args(["--mount", "--propagation", "private", "sh", "-c", script]).arg(&self.resolv);
        command.arg(binary()?).args(arguments).arg("--config").arg(self.place()?.folder().join("weir.toml"));
        command.env_remove("SSH_CONNECTION").env_remove("SSH_CLIENT");
        command.envs(ssh.map(|ssh| ("SSH_CONNECTION", ssh)));
        Ok(command)
    }

    fn output(&self, arguments: &[&str], ssh: Option<&str>) -> Result<Output> {
        self.here.run(|| self.weir(arguments, ssh)?.output().context("starting weir"))
    }

    fn start(&mut self) -> Result<Weir> {
        let command = self.weir(&["run"], Some(SSH))?;
        let place = self.place.take().context("started once")?;
        self.here.run(|| Weir::start_by(place, command))
    }

    /// What the neighbour gets from the gateway.
    fn ask(&self, port: u16) -> Result<u16> {
        let server = SocketAddr::new(self.wire.v4(1).into(), port);
        self.there
            .run(|| Ok(Connection::open_within(server, Duration::from_millis(700))?.get("/", "")?.status))
    }
}

/// An API with an upstream, a protected listener, and `lists` in `[kernel]`.
fn config(place: &Place, lists: &str) -> String {
    format!(
        "[kernel]\ninterfaces = [\"w0\"]\nclients = 4096\nmanagement = [\"198.51.100.0/24\"]\n{lists}\n[[listener]]\naddress = \"0.0.0.0:{}\"\n[[api]]\nname = \"a\"\nlisten_path = \"/\"\nrespond = {{ status = 200 }}\n[[api]]\nname = \"orders\"\nlisten_path = \"/o/\"\nupstreams = [\"http://10.77.1.9:80\"]\n",
        place.port
    )
}

/// A class, the address that is guarded by it, and how it is told of.
const CLASSES: [(&str, &str, &str); 7] = [
    ("10.77.1.1", "this host's own address 10.77.1.1", "own_address"),
    ("10.77.1.2", "the default gateway 10.77.1.2 (w0)", "default_gateway"),
    ("fd99::fe", "the default gateway fd99::fe (w0)", "default_gateway"),
    ("9.9.9.9", "the DNS server 9.9.9.9 (/etc/resolv.conf)", "dns_server"),
    ("10.77.1.9", "the upstream 10.77.1.9 (API orders)", "upstream"),
    ("10.77.1.7", "the SSH peer 10.77.1.7", "ssh_peer"),
    ("198.51.100.77", "the management range 198.51.100.0/24", "management"),
];

#[test]
fn the_line_that_would_cut_off_a_guarded_class_is_refused() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let mut world = World::new()?;
    world.here.ip("route add default via 10.77.1.2")?;
    world.here.ip("-6 route add default via fd99::fe dev w0 onlink")?;
    for (address, who, _) in CLASSES {
        world
            .place()?
            .write_config(&config(world.place()?, &format!("deny = [\"172.16.0.0/12\", \"{address}\"]")))?;
        for command in ["check", "run"] {
            let refused = world.output(&[command], Some(SSH))?;
            let said = String::from_utf8_lossy(&refused.stderr);
            assert_eq!(refused.status.code(), Some(1), "{command}, {address}: {said}");
            assert!(said.contains("weir.toml:6:26: deny ") && said.contains(who), "{address}: {said}");
        }
        world.place()?.write_config(&config(
            world.place()?,
            &format!("deny = [\"172.16.0.0/12\", \"{address}/32\"]\nallow = [\"10.77.1.0/24\", \"fd99::/16\", \"9.9.9.8/30\", \"198.51.100.0/24\"]"),
        ))?;
        let allowed = world.output(&["check"], Some(SSH))?;
        let said = String::from_utf8_lossy(&allowed.stderr);
        assert_eq!(allowed.status.code(), Some(0), "allow wins over deny: {address}: {said}");
    }
    in_a_file_the_line_is_named(&world)?;
    a_running_one_refuses_too(&mut world)
}

fn in_a_file_the_line_is_named(world: &World) -> Result<()> {
    let place = world.place()?;
    std::fs::write(place.folder().join("bad"), "# bad\n192.0.2.0/24\n10.0.0.0/8\n")?;
    place.write_config(&config(place, "deny = [\"bad\"]"))?;
    let refused = world.output(&["check", "--json"], Some(SSH))?;
    let said: serde_json::Value = serde_json::from_slice(&refused.stdout)?;
    let error = &said["errors"][0];
    assert_eq!((&error["line"], &error["column"]), (&3.into(), &1.into()), "{said}");
    assert!(error["file"].as_str().is_some_and(|file| file.ends_with("/bad")), "{said}");
    assert!(error["message"].as_str().is_some_and(|text| text.contains("covers")), "{said}");
    Ok(())
}

fn a_running_one_refuses_too(world: &mut World) -> Result<()> {
    world.place()?.write_config(&config(world.place()?, ""))?;
    let weir = world.start()?;
    let guarded = weir.status("/kernel/guarded")?;
    let guarded = guarded.as_array().context("a list")?;
    for (address, who, class) in CLASSES {
        assert!(guarded.iter().any(|row| row["why"] == class), "{class} in {guarded:?}");
        let refused = weir.command(&["bans", "add", address])?;
        assert_eq!(refused.status.code(), Some(1), "{address}");
        if class != "management" {
            let said = String::from_utf8_lossy(&refused.stderr).into_owned();
            assert!(said.contains("would cut off") && said.contains(who), "{said}");
        }
        weir.place.write_config(&config(&weir.place, &format!("deny = [\"{address}\"]")))?;
        let refused = weir.command(&["reload"])?;
        let said = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{address}: {said}");
        assert!(said.contains("weir.toml:6:9: deny") && said.contains(who), "{said}");
    }
    let explained = weir.json(&["explain", "9.9.9.9", "--json"])?;
    assert!(
        explained["conclusion"].as_str().is_some_and(|text| text.contains("the DNS server")),
        "{explained}"
    );
    Ok(())
}

/// A process of another session, by its environment, for as long as this lives.
struct Session(Child);

impl Session {
    fn open(connection: &str) -> Result<Self> {
        let mut command = Command::new("sleep");
        command.arg("60").env("SSH_CONNECTION", connection).stdin(Stdio::null());
        Ok(Self(command.spawn()?))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Both fail only when it ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn a_session_whose_variables_sudo_cleared_is_known_by_its_connection() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let world = World::new()?;
    world.place()?.write_config(&config(world.place()?, "deny = [\"10.77.1.2\"]"))?;
    let own = SocketAddr::new(world.wire.v4(1).into(), 22);
    let listener = world.here.run(|| TcpListener::bind(own).context("listening"))?;
    let peer = world.there.run(|| TcpStream::connect(own).context("connecting"))?;
    let (_accepted, from) = listener.accept()?;
    let said = |connection: String| -> Result<(Option<i32>, String)> {
        let _session = Session::open(&connection)?;
        let output = world.output(&["check"], None)?;
        Ok((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()))
    };
    let forged = said(format!("10.77.1.2 {} 10.77.1.1 22", from.port() ^ 1))?;
    assert_eq!(forged.0, Some(0), "a variable without a connection is nobody's: {}", forged.1);
    let (code, told) = said(format!("10.77.1.2 {} 10.77.1.1 22", from.port()))?;
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("the SSH peer 10.77.1.2"), "{told}");
    drop(peer);
    Ok(())
}

#[test]
fn who_becomes_guarded_while_banned_is_let_in_again() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let mut world = World::new()?;
    let port = world.place()?.port;
    let limits = "[limit.client]\npackets = { rate = \"1/s\", burst = 6 }";
    world.place()?.write_config(&format!("{}\n{limits}", config(world.place()?, "")))?;
    let weir = world.start()?;
    assert_eq!(weir.status("/kernel/mode")?, "native");
    let neighbour = world.neighbour().to_string();
    let ban = || -> Result<()> {
        let banned = weir.command(&["bans", "add", &neighbour])?;
        assert!(banned.status.success(), "{}", String::from_utf8_lossy(&banned.stderr));
        assert!(world.ask(port).is_err(), "it is banned");
        Ok(())
    };
    let let_in = |why: &str| -> Result<()> {
        wait_for(format!("the guard to follow {why}"), SOON, || world.ask(port).ok().filter(|s| *s == 200))?;
        for _ in 0..10 {
            assert_eq!(world.ask(port)?, 200, "no limit either");
        }
        assert_eq!(weir.status("/bans")?, 0);
        let refused = weir.command(&["bans", "add", &neighbour])?;
        assert_eq!(refused.status.code(), Some(1));
        Ok(())
    };
    ban()?;
    world.here.ip("route add default via 10.77.1.2")?;
    let_in("the default route")?;
    world.here.ip("route del default")?;
    wait_for("the guard to forget the gateway", SOON, || {
        weir.command(&["bans", "add", &neighbour]).ok().filter(|output| output.status.success())
    })?;
    ban()?;
    std::fs::write(&world.resolv, format!("nameserver {neighbour}\n"))?;
    let_in("resolv.conf")?;
    std::fs::write(&world.resolv, "nameserver 9.9.9.9\n")?;
    wait_for("the guard to forget the name server", SOON, || {
        weir.command(&["bans", "add", &neighbour]).ok().filter(|output| output.status.success())
    })?;
    assert!(world.ask(port).is_err(), "limits and bans are back");
    let metrics = world.here.run(|| http::get(weir.place.admin, "/metrics"))?;
    assert!(metrics.text().contains("weir_kernel_packets_total{verdict=\"allowed\",action=\"pass\"}"));
    Ok(())
}
