//! `setup`: finds what building, running and testing need, and installs what is missing. The kernel
//! side needs a compiler that builds core for BPF, and bpf-linker with an LLVM as new as that
//! compiler's; two ways lead there (docs/development.md).

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use clap::Args;

use crate::shell::{Exit, cargo_bin, has, is_root, output, root, run, shown};

#[derive(Args)]
pub struct Setup {
    /// Also what test and demo need
    #[arg(long)]
    tests: bool,
    /// Also what bench needs besides
    #[arg(long)]
    bench: bool,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

impl Setup {
    pub fn of(tests: bool) -> Self {
        Self { tests, bench: false, dry_run: false }
    }

    pub fn of_bench() -> Self {
        Self { tests: true, bench: true, dry_run: false }
    }
}

/// Debian's way to a BPF compiler; `ebpf/src/build.rs` finds /usr/bin/rustc.
const BPF_PACKAGES: [&str; 4] = ["rustc-web", "rust-web-src", "llvm-22-dev", "libpolly-22-dev"];
const BPF_RUSTC: &str = "/usr/bin/rustc";
const LLVM: &str = "/usr/lib/llvm-22";

/// Where the tests look for it.
const H2SPEC: &str = "target/h2spec/h2spec";

/// A program and the package that has it.
const BUILD_TOOLS: [(&str, &str); 1] = [("cc", "gcc")];
/// Peers and loads of benches.
const BENCH_TOOLS: [(&str, &str); 3] =
    [("haproxy", "haproxy"), ("h2load", "nghttp2-client"), ("strace", "strace")];
const TEST_TOOLS: [(&str, &str); 11] = [
    ("nginx", "nginx-light"),
    ("redis-server", "redis-server"),
    ("redis-cli", "redis-tools"),
    ("nft", "nftables"),
    ("wrk", "wrk"),
    ("bpftool", "bpftool"),
    ("tcpdump", "tcpdump"),
    ("ethtool", "ethtool"),
    ("ip", "iproute2"),
    ("curl", "curl"),
    ("go", "golang-go"),
];

/// One thing to do: why, and the command.
struct Step {
    why: String,
    command: Command,
    /// Whether it wants root.
    root: bool,
}

pub fn setup(args: &Setup) -> Result<()> {
    let steps = missing(args);
    if args.dry_run {
        for step in &steps {
            println!("would: {}: {}", step.why, shown(&step.command));
        }
        if steps.is_empty() {
            println!("nothing to do");
        }
        return Ok(());
    }
    if !is_root() && steps.iter().any(|step| step.root) {
        let lines: Vec<_> = steps
            .iter()
            .filter(|step| step.root)
            .map(|step| format!("  sudo {}", shown(&step.command)))
            .collect();
        let message = format!("missing, and only root can install it; type:\n{}", lines.join("\n"));
        return Err(Exit(3, message).into());
    }
    for mut step in steps {
        println!("doing: {}: {}", step.why, shown(&step.command));
        run(&mut step.command)?;
    }
    Ok(())
}

fn missing(args: &Setup) -> Vec<Step> {
    let mut packages: Vec<&str> = Vec::new();
    let tools = BUILD_TOOLS.iter().chain(TEST_TOOLS.iter().filter(|_| args.tests));
    let tools = tools.chain(BENCH_TOOLS.iter().filter(|_| args.bench));
    packages.extend(tools.filter(|(program, _)| !has(program)).map(|(_, package)| *package));
    let nightly = has_nightly();
    let mut rustup_way = nightly;
    let mut steps = Vec::new();
    if !nightly && !has_distribution_compiler() {
        if has("apt-get") {
            packages.extend(BPF_PACKAGES);
        } else {
            rustup_way = true;
            steps.push(Step {
                why: "a compiler that builds core for BPF".to_owned(),
                command: command("rustup", &["toolchain", "install", "nightly", "--component", "rust-src"]),
                root: false,
            });
        }
    }
    if !rustup_way && !Path::new(LLVM).is_dir() && !packages.contains(&"llvm-22-dev") {
        packages.extend(["llvm-22-dev", "libpolly-22-dev"]);
    }
    if !packages.is_empty() {
        steps.insert(0, apt(&packages));
        steps.insert(
            0,
            Step {
                why: "the lists of packages".to_owned(),
                command: command("apt-get", &["update"]),
                root: true,
            },
        );
    }
    if !has("bpf-linker") {
        steps.push(bpf_linker(rustup_way));
    }
    for (component, program) in [("rustfmt", "cargo-fmt"), ("clippy", "cargo-clippy")] {
        if !has(program) {
            steps.push(Step {
                why: format!("{component}, for lint"),
                command: command("rustup", &["component", "add", component]),
                root: false,
            });
        }
    }
    if args.tests && !root().join(H2SPEC).is_file() {
        steps.push(h2spec());
    }
    steps.extend(mounts());
    steps
}

/// Nightly alone is not enough: without rust-src there is no core to build.
fn has_nightly() -> bool {
    let sysroot = output(Command::new("rustc").args(["+nightly", "--print", "sysroot"]));
    sysroot.is_some_and(|sysroot| Path::new(&sysroot).join("lib/rustlib/src/rust/library/core").is_dir())
}

fn has_distribution_compiler() -> bool {
    let sysroot = output(Command::new(BPF_RUSTC).args(["--print", "sysroot"]));
    sysroot.is_some_and(|sysroot| Path::new(&sysroot).join("lib/rustlib/src/rust/library/core").is_dir())
}

fn apt(packages: &[&str]) -> Step {
    // Services of packages do not start by themselves: tests start what they need, on free ports.
    let mut install = Command::new("env");
    install.args(["DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1", "apt-get", "install", "-y"]);
    install.arg("--no-install-recommends").args(packages);
    Step { why: packages.join(", "), command: install, root: true }
}

fn bpf_linker(rustup_way: bool) -> Step {
    let mut install = Command::new("env");
    if rustup_way {
        install.args(["cargo", "install", "bpf-linker"]);
    } else {
        let path = std::env::var("PATH").unwrap_or_default();
        install.arg(format!("PATH={LLVM}/bin:{path}")).arg(format!("LLVM_PREFIX={LLVM}"));
        install.args(["cargo", "install", "bpf-linker", "--version", "0.13.0"]);
        install.args(["--no-default-features", "--features", "llvm-22"]);
    }
    Step { why: format!("bpf-linker, into {}", cargo_bin().display()), command: install, root: false }
}

/// The conformance test of HTTP/2, of versions that tests/h2spec/go.mod and go.sum pin.
fn h2spec() -> Step {
    let mut build = command("go", &["build", "-mod=readonly", "-o"]);
    build.arg(root().join(H2SPEC)).arg("github.com/summerwind/h2spec/cmd/h2spec");
    // Versions that old Gos build: none is to fetch a newer Go.
    build.current_dir(root().join("tests/h2spec")).env("GOTOOLCHAIN", "local");
    Step { why: format!("h2spec, as {H2SPEC}"), command: build, root: false }
}

/// What root mounts: weir mounts them itself where it may, but others look for them too.
fn mounts() -> Vec<Step> {
    let mounted = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let has_kind = |kind: &str| mounted.lines().any(|line| line.split(' ').nth(2) == Some(kind));
    let mut steps = Vec::new();
    if !is_root() {
        return steps;
    }
    if !has_kind("bpf") && Path::new("/sys/fs/bpf").is_dir() {
        let mount = command("mount", &["-t", "bpf", "bpf", "/sys/fs/bpf"]);
        steps.push(Step { why: "the BPF file system".to_owned(), command: mount, root: true });
    }
    if !has_kind("cgroup2") {
        let line = "mkdir -p /run/weir/cgroup2 && mount -t cgroup2 none /run/weir/cgroup2";
        let mount = command("sh", &["-c", line]);
        steps.push(Step { why: "a cgroup v2 hierarchy".to_owned(), command: mount, root: true });
    }
    steps
}

fn command(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args);
    command
}
