//! What each process may do: three capabilities are enough, the gateway has none, pins are their
//! owner's, and who serves is shut in.

use std::fs::Permissions;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _, UdpSocket};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, execv, getppid};
use weir::kernel::{Part, Reach, Sandbox, confine};
use weir_tests::http::{self, Connection};
use weir_tests::netns::Netns;
use weir_tests::root::require_root;
use weir_tests::wait::wait_for;
use weir_tests::weir::{Place, Weir, binary};

/// Nobody's: it owns nothing on any machine.
const USER: u32 = 64_123;
const SOON: Duration = Duration::from_secs(10);

const BPF_NET_ADMIN_PERFMON: u64 = 1 << 39 | 1 << 12 | 1 << 38;

fn config(place: &Place, listener: &str) -> String {
    let client = "requests = { rate = \"1/min\", burst = 3 }\nshed_after = { refused = 3, within = \"10s\" }\nshed = [\"1h\"]";
    format!(
        "[[listener]]\naddress = \"{listener}\"\n[[api]]\nname = \"a\"\nlisten_path = \"/\"\nrespond = {{ status = 200 }}\n[kernel]\ninterfaces = [\"lo\"]\nmode = \"generic\"\nclients = 4096\nsyn_cookies = true\nguard_own_addresses = false\n[limit.client]\n{client}\n# {}\n",
        place.folder().display()
    )
}

/// A place of [`USER`]'s, as docs/security.md tells root to prepare it; the program is there too, since
/// the folder of a build is often closed to others.
fn place_of_user(listener: impl FnOnce(&Place) -> String) -> Result<(Place, PathBuf)> {
    let place = Place::new()?;
    place.write_config(&config(&place, &listener(&place)))?;
    let program = place.folder().join("weir");
    std::fs::copy(binary()?, &program)?;
    let instance = place.pins().parent().context("a folder above the version's")?.to_owned();
    std::fs::create_dir(&instance)?;
    std::fs::set_permissions(&instance, Permissions::from_mode(0o700))?;
    for path in [place.folder(), &instance] {
        chown(path, Some(USER), Some(USER))?;
    }
    Ok((place, program))
}

/// `weir ARGUMENTS` as [`USER`] with `capabilities` and no other, ambient ones included.
fn as_user(place: &Place, program: &Path, capabilities: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &USER.to_string(), "--regid", &USER.to_string(), "--clear-groups"]);
    let sets = format!("-all{capabilities}");
    for set in ["--inh-caps", "--ambient-caps", "--bounding-set"] {
        command.arg(format!("{set}={sets}"));
    }
    command.arg(program).args(arguments).arg("--config").arg(place.folder().join("weir.toml"));
    command
}

const THREE: &str = ",+bpf,+net_admin,+perfmon";

/// A line of /proc/PID/status.
fn line(pid: Pid, name: &str) -> Result<String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    Ok(value.with_context(|| format!("no {name}"))?.trim().to_owned())
}

fn capabilities(pid: Pid, set: &str) -> Result<u64> {
    Ok(u64::from_str_radix(&line(pid, set)?, 16)?)
}

#[test]
fn bpf_net_admin_and_perfmon_are_enough_and_the_gateway_has_none() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let (place, program) = place_of_user(|place| format!("127.0.0.1:{}", place.port))?;
    Netns::new("lo")?.run(|| {
        let mut weir = Weir::start_by_place(place, |place| as_user(place, &program, THREE, &["run"]))?;
        assert_eq!(weir.status("/kernel/mode")?, "generic");
        assert_eq!(weir.status("/kernel/note")?, serde_json::Value::Null, "nothing is missing");
        assert_eq!(std::fs::read_to_string("/proc/sys/net/ipv4/tcp_syncookies")?.trim(), "2");
        let keeper = weir.pid();
        for set in ["CapPrm", "CapEff"] {
            assert_eq!(capabilities(keeper, set)?, BPF_NET_ADMIN_PERFMON, "{set}");
        }
        assert_eq!((capabilities(keeper, "CapInh")?, capabilities(keeper, "CapAmb")?), (0, 0));
        let gateway = weir.gateway_pid().context("a keeper has a child")?;
        for set in ["CapPrm", "CapEff", "CapInh", "CapAmb"] {
            assert_eq!(capabilities(gateway, set)?, 0, "{set}");
        }
        for pid in [keeper, gateway] {
            assert_eq!(line(pid, "Seccomp")?, "2", "a filter");
            assert_eq!(line(pid, "Uid")?.split_whitespace().next(), Some(USER.to_string().as_str()));
        }
        assert_eq!(line(gateway, "NoNewPrivs")?, "1");

        let server = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), weir.place.port);
        let client = "127.0.0.7".parse()?;
        let ask = || -> Result<u16> { Ok(Connection::open_from(client, server)?.get("/", "")?.status) };
        for expected in [200, 200, 200, 429, 429, 429] {
            assert_eq!(ask()?, expected);
        }
        wait_for("the ban", SOON, || {
            Connection::open_from_within(client, server, Duration::from_millis(700)).is_err().then_some(())
        })?;
        let banned = as_user(&weir.place, &program, "", &["bans", "list", "--json"]).output()?;
        assert!(String::from_utf8_lossy(&banned.stdout).contains("127.0.0.7"), "{banned:?}");
        kill(gateway, Signal::SIGKILL)?;
        wait_for("another gateway", SOON, || weir.gateway_pid().filter(|pid| *pid != gateway))?;
        wait_for("an answer of it", SOON, || http::get(server, "/").ok())?;
        assert!(weir.stop()?.success(), "{}", weir.output());
        assert_ne!(std::fs::read_to_string("/proc/sys/net/ipv4/tcp_syncookies")?.trim(), "2", "put back");
        let detached = as_user(&weir.place, &program, "", &["xdp", "detach"]).output()?;
        assert!(detached.status.success(), "its owner takes it off without a capability: {detached:?}");
        assert!(!weir.place.pins().exists());
        Ok(())
    })
}

#[test]
fn a_low_port_wants_its_capability_and_says_so() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let (place, program) = place_of_user(|_| "127.0.0.1:80".to_owned())?;
    Netns::new("lo")?.run(|| {
        let refused = as_user(&place, &program, THREE, &["run"]).output()?;
        let said = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(3), "{said}");
        assert!(
            said.contains("127.0.0.1:80 may not be bound without root or CAP_NET_BIND_SERVICE"),
            "{said}"
        );
        let four = format!("{THREE},+net_bind_service");
        let weir = Weir::start_by_place(place, |place| as_user(place, &program, &four, &["run"]))?;
        assert_eq!(http::get("127.0.0.1:80".parse()?, "/")?.status, 200);
        assert_eq!(capabilities(weir.pid(), "CapEff")?, BPF_NET_ADMIN_PERFMON | 1 << 10);
        Ok(())
    })
}

#[test]
fn a_pin_folder_that_cannot_be_made_says_what_root_does() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let (place, program) = place_of_user(|place| format!("127.0.0.1:{}", place.port))?;
    let instance = place.pins().parent().context("a folder above the version's")?.to_owned();
    chown(&instance, Some(0), Some(0))?;
    Netns::new("lo")?.run(|| {
        let refused = as_user(&place, &program, THREE, &["run"]).output()?;
        let said = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(3), "{said}");
        assert!(said.contains("user 64123 may not make or reach the pin folder"), "{said}");
        Ok(())
    })
}

#[test]
fn pins_and_the_socket_are_their_owners_alone() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    Netns::new("lo")?.run(|| {
        let weir = Weir::start(|place| config(place, &format!("127.0.0.1:{}", place.port)))?;
        let folder = weir.place.pins();
        let instance = folder.parent().context("a folder above the version's")?;
        for path in [folder.as_path(), instance] {
            check_owned(path, 0o700)?;
        }
        let mut pins = 0;
        for pin in std::fs::read_dir(&folder)? {
            check_owned(&pin?.path(), 0o600)?;
            pins += 1;
        }
        assert!(pins > 10, "{pins} pins");
        check_owned(&weir.place.socket(), 0o600)
    })
}

#[track_caller]
fn check_owned(path: &Path, mode: u32) -> Result<()> {
    let found = std::fs::symlink_metadata(path)?;
    assert_eq!((found.uid(), found.mode() & 0o7777), (0, mode), "{}", path.display());
    Ok(())
}

/// Set in the process that shuts itself in.
const INSIDE: &str = "WEIR_TEST_SANDBOX";

/// A sandbox is for ever and the whole process's: the test is run again in a process of its own.
#[test]
fn the_sandbox_lets_serve_and_nothing_else() -> Result<()> {
    if let Some(folder) = std::env::var_os(INSIDE) {
        return inside(Path::new(&folder));
    }
    let folder = tempfile::tempdir()?;
    std::fs::create_dir(folder.path().join("config"))?;
    for file in ["config/weir.toml", "secret"] {
        std::fs::write(folder.path().join(file), "text")?;
    }
    let output = Command::new(std::env::current_exe()?)
        .args(["--exact", "privileges::the_sandbox_lets_serve_and_nothing_else", "--nocapture"])
        .env(INSIDE, folder.path())
        .output()?;
    assert_eq!(output.status.signal(), Some(libc::SIGSYS), "ended by its execve: {output:?}");
    Ok(())
}

fn inside(folder: &Path) -> Result<()> {
    let (listener, udp) = (TcpListener::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
    let (config, socket) = (folder.join("config/weir.toml"), folder.join("config/control.sock"));
    let confined = confine(Sandbox::Auto, &Reach { files: vec![config.clone()], socket, ..Reach::default() });
    ensure!(confined.seccomp == Part::On, "{confined:?}");
    // Serving goes on.
    let client = TcpStream::connect(listener.local_addr()?)?;
    let (_accepted, _) = listener.accept()?;
    client.set_nonblocking(true)?;
    udp.send_to(b"x", udp.local_addr()?)?;
    ensure!(("localhost", 80).to_socket_addrs()?.count() > 0, "the resolver");
    ensure!(std::thread::spawn(|| 7).join().ok() == Some(7), "threads");
    ensure!(std::thread::available_parallelism().is_ok(), "the cores");
    let trace = std::backtrace::Backtrace::force_capture().to_string();
    ensure!(trace.contains("the_sandbox_lets_serve"), "names in a backtrace: {trace}");
    ensure!(std::fs::read(&config)? == b"text", "a reload");
    // Nothing else does.
    refused(TcpListener::bind("127.0.0.1:0"), &[libc::EACCES, libc::ENOSYS]);
    match confined.landlock {
        Part::Off(why) => eprintln!("skipped: files, for {why}"),
        Part::On | Part::Partly(_) => {
            refused(std::fs::write(&config, ""), &[libc::EACCES]);
            refused(std::fs::rename(&config, config.with_extension("old")), &[libc::EACCES]);
            refused(std::fs::write("/proc/sys/kernel/core_pattern", "|/bin/false"), &[libc::EACCES]);
            refused(std::fs::read(folder.join("secret")), &[libc::EACCES]);
        }
    }
    refused(Command::new("true").status(), &[libc::ENOSYS]);
    refused(kill(getppid(), None), &[libc::ENOSYS]);
    refused(packet_socket(), &[libc::ENOSYS]);
    refused(executable_memory(), &[libc::ENOSYS]);
    refused(make_map(), &[libc::ENOSYS]);
    bail!("execve answered {:?}", execv(c"/bin/true", &[c"true"]))
}

#[track_caller]
fn refused<T, E: Into<std::io::Error>>(result: Result<T, E>, errnos: &[i32]) {
    let errno = result.err().and_then(|error| error.into().raw_os_error());
    assert!(errno.is_some_and(|errno| errnos.contains(&errno)), "wanted {errnos:?}, got {errno:?}");
}

fn packet_socket() -> Result<i32, Errno> {
    // SAFETY: no pointer is passed.
    Errno::result(unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW, 0) })
}

fn executable_memory() -> Result<(), Errno> {
    let (access, flags) = (libc::PROT_READ | libc::PROT_EXEC, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a fresh mapping at an address that the kernel chooses; nobody looks into it.
    let mapped = unsafe { libc::mmap(std::ptr::null_mut(), 4_096, access, flags, -1, 0) };
    if mapped == libc::MAP_FAILED { Err(Errno::last()) } else { Ok(()) }
}

/// BPF_MAP_CREATE of an array: type, key, value, entries.
fn make_map() -> Result<i64, Errno> {
    let attributes: [u32; 4] = [2, 4, 8, 1];
    // SAFETY: the attributes are of the length that is told.
    Errno::result(unsafe { libc::syscall(libc::SYS_bpf, 0, attributes.as_ptr(), size_of_val(&attributes)) })
}
