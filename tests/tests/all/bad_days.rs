//! Bad days: each has one clear line, a mode and an exit code.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::Result;
use weir_tests::cgroup::MemoryCgroup;
use weir_tests::http::Connection;
use weir_tests::netns::Netns;
use weir_tests::rig::{Program, Sink};
use weir_tests::root::require_root;
use weir_tests::weir::{Place, Weir, binary};
use weir_tests::wire::{End, Wire};

const NOBODY: u32 = 65_534;
const API: &str = "[[api]]\nname = \"a\"\nlisten_path = \"/\"\nrespond = { status = 200 }\n";

fn config(place: &Place, kernel: &str) -> String {
    format!("[[listener]]\naddress = \"127.0.0.1:{}\"\n{API}[kernel]\n{kernel}\n", place.port)
}

/// `weir run` ends with `code` and says `part`.
#[track_caller]
fn check_ends(place: &Place, code: i32, part: &str) {
    let output = place.command(&["run"]).expect("weir starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.contains(part), "wanted {part:?}, got {said}");
}

#[test]
fn what_cannot_be_is_refused_with_its_code() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let place = Place::new()?;
    check_ends(&place, 1, "weir.toml: cannot be read");
    place.write_config("[[listener]]\naddress = \"nonsense\"\n")?;
    check_ends(&place, 1, "weir.toml:2:11: `nonsense` is not an address");
    place.write_config(&config(&place, "mode = \"native\"\ninterfaces = [\"lo\"]"))?;
    check_ends(&place, 3, "lo cannot do native XDP");
    let taken = TcpListener::bind(("127.0.0.1", place.port))?;
    place.write_config(&config(&place, "mode = \"off\""))?;
    check_ends(&place, 3, "is in use");
    drop(taken);
    let taken = TcpListener::bind(place.admin)?;
    check_ends(&place, 3, "the admin listener");
    drop(taken);
    Ok(())
}

#[test]
fn an_interface_that_is_taken_names_who_has_it() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let (here, there) = (Netns::new("here")?, Netns::new("there")?);
    let end = End { netns: &here, interface: "w0", host: 1 };
    let _wire = Wire::join(1, end, End { netns: &there, interface: "w1", host: 2 })?;
    let _sink = Sink::attach(end, Program::Pass)?;
    let place = Place::new()?;
    place.write_config(&config(&place, "mode = \"native\"\ninterfaces = [\"w0\"]"))?;
    here.run(|| {
        let output = place.command(&["run"])?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(said.contains("XDP on w0 is taken by program \"pass\""), "{said}");
        Ok(())
    })
}

#[test]
fn with_mode_auto_the_process_table_stands_in_and_says_why() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let here = Netns::new("here")?;
    here.ip("tuntap add tun0 mode tun")?;
    here.run(|| {
        let weir = Weir::start(|place| config(place, "interfaces = [\"tun0\"]"))?;
        assert_eq!(weir.status("/kernel/mode")?, "off");
        assert!(
            weir.status("/kernel/why")?.to_string().contains("tun0: a tun interface has no Ethernet frames")
        );
        assert!(weir.metrics()?.contains("weir_kernel_mode{mode=\"off\"} 1"));
        assert!(weir.gateway_pid().is_none(), "one process serves");
        Ok(())
    })
}

#[test]
fn without_root_limits_live_in_the_process_table() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let place = Place::new()?;
    place.write_config(&config(&place, "interfaces = [\"lo\"]"))?;
    std::fs::set_permissions(place.folder(), std::fs::Permissions::from_mode(0o777))?;
    let program = place.folder().join("weir");
    std::fs::copy(binary()?, &program)?;
    let mut command = Command::new(program);
    command.arg("run").arg("--config").arg(place.folder().join("weir.toml")).uid(NOBODY).gid(NOBODY);
    let weir = Weir::start_by(place, command)?;
    assert_eq!(weir.status("/kernel/mode")?, "off");
    let why = weir.status("/kernel/why")?.to_string();
    assert!(why.contains("CAP_BPF"), "{why}");
    assert!(!weir.place.pins().exists(), "no folder is left to be in root's way");
    Ok(())
}

#[test]
fn a_pin_folder_of_another_user_is_refused() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let place = Place::new()?;
    place.write_config(&config(&place, "mode = \"generic\"\ninterfaces = [\"lo\"]"))?;
    std::fs::create_dir_all(place.pins())?;
    std::os::unix::fs::chown(place.pins(), Some(NOBODY), None)?;
    check_ends(&place, 3, "belongs to user 65534");
    Ok(())
}

#[test]
fn several_interfaces_run_native_xdp() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let (here, there) = (Netns::new("here")?, Netns::new("there")?);
    let (a, b) =
        (End { netns: &here, interface: "w0", host: 1 }, End { netns: &here, interface: "w1", host: 1 });
    let _first = Wire::join(1, a, End { netns: &there, interface: "x0", host: 2 })?;
    let _second = Wire::join(2, b, End { netns: &there, interface: "x1", host: 2 })?;
    let place = Place::new()?;
    place.write_config(&format!(
        "[[listener]]\naddress = \"0.0.0.0:{}\"\n{API}[kernel]\nmode = \"native\"\n",
        place.port
    ))?;
    here.run(|| {
        let weir = Weir::start_at(place)?;
        assert_eq!(weir.status("/kernel/mode")?, "native");
        let interfaces = weir.status("/kernel/interfaces")?;
        let names: Vec<_> =
            interfaces.as_array().into_iter().flatten().map(|row| row["name"].clone()).collect();
        assert_eq!(names, ["w0", "w1"], "every interface that is up, but lo");
        Ok(())
    })
}

/// `weir run` as root without CAP_SYS_ADMIN and without the mounts, in a mount namespace of its own.
fn unmounted(place: &Place, mounts: &[&str]) -> Result<Command> {
    let mut script = String::new();
    for path in mounts {
        script.push_str(&format!("umount -l {path} && "));
    }
    script
        .push_str("exec setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin \"$0\" run --config \"$1\"");
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", &script]);
    command.arg(binary()?).arg(place.folder().join("weir.toml"));
    Ok(command)
}

#[test]
fn without_bpffs_the_line_says_how_to_mount_it() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let place = Place::new()?;
    place.write_config(&config(&place, "mode = \"generic\"\ninterfaces = [\"lo\"]"))?;
    let output = unmounted(&place, &["/sys/fs/bpf"])?.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("mount -t bpf bpf /sys/fs/bpf"), "{said}");
    Ok(())
}

#[test]
fn without_a_cgroup_the_accept_proves_clients() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    let cgroups: Vec<_> = mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let path = fields.next()?;
            (fields.next()? == "cgroup2").then_some(path)
        })
        .collect();
    Netns::new("lo")?.run(|| {
        let place = Place::new()?;
        let kernel = "mode = \"generic\"\ninterfaces = [\"lo\"]\nguard_own_addresses = false\n[limit.client]\npackets = { rate = \"1000/s\", burst = 1000 }";
        place.write_config(&config(&place, kernel))?;
        let (command, port) = (unmounted(&place, &cgroups)?, place.port);
        let weir = Weir::start_by(place, command)?;
        assert_eq!(weir.status("/kernel/proof")?, "accept");
        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut connection = Connection::open(server)?;
        for _ in 0..3 {
            assert_eq!(connection.get("/", "")?.status, 200);
        }
        let explained = weir.json(&["explain", "127.0.0.1", "--json"])?;
        assert_eq!(explained["proved"], true, "{explained}");
        Ok(())
    })
}

#[test]
fn refused_map_memory_names_the_map_and_what_to_lower() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let cgroup = MemoryCgroup::new(64 << 20)?;
    let place = Place::new()?;
    let kernel = "mode = \"generic\"\ninterfaces = [\"lo\"]\nclients = 2_000_000";
    place.write_config(&config(&place, kernel))?;
    let script = "echo $$ > \"$0\" && exec \"$1\" run --config \"$2\"";
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(cgroup.procs()).arg(binary()?).arg(place.folder().join("weir.toml"));
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("memory for a map (CLIENTS") && said.contains("lower [kernel] clients"), "{said}");
    Ok(())
}
