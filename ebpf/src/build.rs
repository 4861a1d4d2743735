//! Builds the bpf objects for a build script: the kernel side has another target, another compiler
//! and other flags than the crate that embeds it, so it is a cargo run of its own.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds bin `name` of weir-ebpf for BPF and copies the object to `OUT_DIR/<name>.o`.
///
/// # Panics
/// When a build script's variables are missing or the build fails: a build script has no better way to say so.
pub fn object(name: &str, features: &str) {
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").expect("set by cargo"));
    let source = Path::new(env!("CARGO_MANIFEST_DIR"));
    for path in ["src", "Cargo.toml"] {
        println!("cargo:rerun-if-changed={}", source.join(path).display());
    }
    println!("cargo:rerun-if-env-changed=WEIR_BPF_RUSTC");
    let target_dir = out_dir.join("bpf");
    let (mut cargo, toolchain) = compiler();
    let built = cargo
        .current_dir(source)
        .args(["build", "--release", "--package", "weir-ebpf", "--bin", name, "--features", features])
        .args(["--target", "bpfel-unknown-none", "-Z", "build-std=core", "--locked"])
        .arg("--target-dir")
        .arg(&target_dir)
        .env("RUSTFLAGS", "-C debuginfo=2 -C link-arg=--btf -C target-cpu=v3")
        .status();
    let succeeded = matches!(&built, Ok(status) if status.success());
    assert!(
        succeeded,
        "building the bpf object with {toolchain} failed ({built:?}): `cargo xtask setup` installs what it needs"
    );
    let object = target_dir.join("bpfel-unknown-none/release").join(name);
    std::fs::copy(&object, out_dir.join(format!("{name}.o"))).expect("cargo said that it built the object");
}

/// The cargo that can build core for BPF: nightly with rust-src, else the distribution's compiler
/// (Debian's rustc-web) in bootstrap mode.
fn compiler() -> (Command, &'static str) {
    let mut command = Command::new("cargo");
    let inherited: Vec<_> = env::vars_os()
        .map(|(name, _)| name)
        .filter(|name| {
            let name = name.to_string_lossy();
            (name.starts_with("CARGO") || name.starts_with("RUST"))
                && name != "CARGO_HOME"
                && name != "RUSTUP_HOME"
        })
        .collect();
    for name in inherited {
        command.env_remove(name);
    }
    if has_nightly() {
        command.arg("+nightly");
        return (command, "the nightly toolchain");
    }
    let rustc = env::var("WEIR_BPF_RUSTC").unwrap_or_else(|_| "/usr/bin/rustc".to_owned());
    command.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1");
    if let Some(path) = llvm_path() {
        command.env("PATH", path);
    }
    (command, "the distribution's compiler")
}

/// Nightly alone is not enough: without rust-src there is no core to build.
fn has_nightly() -> bool {
    let sysroot = Command::new("rustc").args(["+nightly", "--print", "sysroot"]).env_remove("RUSTC").output();
    sysroot.is_ok_and(|output| {
        let sysroot = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        output.status.success() && Path::new(&sysroot).join("lib/rustlib/src/rust/library/core").is_dir()
    })
}

/// PATH with cargo's bin folder in front, where bpf-linker is installed.
fn llvm_path() -> Option<std::ffi::OsString> {
    let home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".cargo")))?;
    let path = env::var_os("PATH").unwrap_or_default();
    env::join_paths(std::iter::once(home.join("bin")).chain(env::split_paths(&path))).ok()
}
