//! `test-kernel`: tests of the kernel side in a virtual machine that runs another kernel, by default
//! Debian 12's: Linux 6.1, the oldest that Weir supports. The machine has no disk and no network; its
//! initramfs is the test binary with its libraries, and process 1 is `guest` of weir-tests.

mod archive;

use std::fs;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use self::archive::Archive;
use crate::setup::{Setup, setup};
use crate::shell::{Exit, cargo, has, output, root, run};

#[derive(Args)]
pub struct TestKernel {
    /// A kernel image of your own, with BTF; by default the newest of the Debian package
    #[arg(long, value_name = "VMLINUZ")]
    kernel: Option<PathBuf>,
    /// Use KVM: faster, and no good in many a virtual machine
    #[arg(long)]
    kvm: bool,
    /// Only tests whose name contains one of these; those that need nothing but BPF by default
    filters: Vec<String>,
}

/// Tests that need no program beside the test binary.
const FILTERS: [&str; 3] = ["packets::", "corpus::", "verifier::no_program"];
const PACKAGE: &str = "linux-image-amd64";
const QEMU: &str = "qemu-system-x86_64";
/// Half a minute is usual, with the processor emulated.
const SECONDS_MAX: &str = "600";
/// What `guest` prints when all went well.
const WELL: &str = "guest: the tests ended with exit status: 0";

pub fn test_kernel(args: &TestKernel) -> Result<()> {
    if !has(QEMU) {
        let message = format!("{QEMU} is missing: apt-get install --no-install-recommends qemu-system-x86");
        return Err(Exit(3, message).into());
    }
    setup(&Setup::of(false))?;
    let work = root().join("target/test-kernel");
    fs::create_dir_all(&work)?;
    let kernel = match &args.kernel {
        Some(kernel) => kernel.clone(),
        None => debian_kernel(&work)?,
    };
    let initramfs = work.join("initramfs.cpio");
    pack(&initramfs, &args.filters)?;
    boot(&kernel, &initramfs, if args.kvm { "kvm" } else { "tcg" })
}

/// The image of the kernel that Debian's package stands for, unpacked and not installed.
fn debian_kernel(work: &Path) -> Result<PathBuf> {
    let depends = output(Command::new("apt-cache").args(["depends", PACKAGE]))
        .context("apt-cache knows no kernel: name one by --kernel VMLINUZ")?;
    let package = depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|name| name.starts_with("linux-image-"))
        .with_context(|| format!("{PACKAGE} depends on no image: name one by --kernel VMLINUZ"))?;
    let folder = work.join(package);
    let image = folder.join("boot").join(package.replacen("linux-image-", "vmlinuz-", 1));
    if !image.is_file() {
        fs::create_dir_all(&folder)?;
        println!("doing: download {package}");
        run(Command::new("apt-get").current_dir(&folder).args(["download", package]))?;
        let deb = fs::read_dir(&folder)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
            .context("apt-get downloaded no package")?;
        run(Command::new("dpkg-deb").arg("-x").arg(deb).arg(&folder))?;
    }
    Ok(image)
}

fn pack(to: &Path, filters: &[String]) -> Result<()> {
    let (tests, guest) = (test_binary()?, root().join("target/debug/guest"));
    let mut archive = Archive::new(BufWriter::new(fs::File::create(to)?));
    archive.file("init", &guest)?;
    archive.file("tests", &tests)?;
    let chosen: Vec<&str> = match filters {
        [] => FILTERS.to_vec(),
        filters => filters.iter().map(String::as_str).collect(),
    };
    archive.bytes("tests.args", format!("--test-threads=1 --nocapture {}", chosen.join(" ")).as_bytes())?;
    for library in libraries(&tests)? {
        archive.file(&library, Path::new(&library))?;
    }
    let corpus = root().join("fuzz/corpus.hex");
    archive.file(&corpus.to_string_lossy(), &corpus)?;
    // The test was built to look for it at `tests/../fuzz`.
    archive.folder(root().join("tests").to_string_lossy().trim_start_matches('/'))?;
    archive.end()
}

/// Builds it, with `guest`.
fn test_binary() -> Result<PathBuf> {
    run(cargo().args(["build", "--locked", "--package", "weir-tests", "--bin", "guest"]))?;
    let mut build = cargo();
    build.args(["test", "--locked", "--package", "weir-tests", "--test", "all", "--no-run"]);
    build.arg("--message-format=json");
    let messages = output(&mut build).context("building the tests failed: cargo xtask test says why")?;
    let executable = messages
        .lines()
        // The package's programs are built for its tests and named too, in any order.
        .filter(|line| line.contains("\"kind\":[\"test\"]"))
        .filter_map(|line| line.split_once("\"executable\":\"")?.1.split('"').next())
        .next_back()
        .context("cargo named no test binary")?;
    Ok(PathBuf::from(executable))
}

/// The shared libraries that the program loads, the loader among them.
fn libraries(program: &Path) -> Result<Vec<String>> {
    let list = output(Command::new("ldd").arg(program)).context("ldd says nothing of the test binary")?;
    let paths = list.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    Ok(paths.map(str::to_owned).collect())
}

fn boot(kernel: &Path, initramfs: &Path, accelerator: &str) -> Result<()> {
    let console = root().join("target/test-kernel/console.log");
    let mut machine = Command::new("timeout");
    machine.args([SECONDS_MAX, QEMU, "-accel", accelerator, "-cpu", "max", "-smp", "2"]);
    machine.args(["-m", "2G", "-nodefaults", "-nographic", "-no-reboot"]);
    machine.arg("-chardev").arg(format!("stdio,id=console,logfile={}", console.display()));
    machine.args(["-serial", "chardev:console"]);
    machine.arg("-kernel").arg(kernel).arg("-initrd").arg(initramfs);
    machine.args(["-append", "console=ttyS0 quiet mitigations=off panic=-1 rdinit=/init"]);
    run(machine.stdin(std::process::Stdio::null()))?;
    if !fs::read_to_string(&console)?.contains(WELL) {
        bail!("not every test passed on {}: {}", kernel.display(), console.display());
    }
    Ok(())
}
