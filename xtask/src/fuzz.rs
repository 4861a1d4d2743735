//! `fuzz`: libFuzzer over the packet path and over what strangers' bytes are read by, from the committed corpora on. Built by the stable compiler
//! with the coverage pass named by flags, so that neither nightly nor cargo-fuzz is needed; the
//! folder is laid out as cargo-fuzz wants it.

mod corpus;

mod progress;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};

use self::corpus::Corpus;
use crate::setup::{Setup, setup};
use crate::shell::{cargo, has, is_root, output, root, run};

#[derive(Args)]
pub struct Fuzz {
    /// What runs; by default all, one after the other, and `kernel` only where this is root
    #[arg(value_enum)]
    targets: Vec<Target>,
    /// How long each of them runs
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u32,
    /// Write what was found to fuzz/*.hex, the least that reaches the same
    #[arg(long)]
    keep: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Target {
    /// The host's build of the path, and laws that hold for every frame
    Packets,
    /// Host and kernel side by side; wants root
    Kernel,
    /// PROXY headers, X-Forwarded-For and Forwarded
    Identity,
    /// Requests and answers of HTTP/1
    Http1,
}

/// What cargo-fuzz passes too, but for the sanitizer: there is no unsafe code on the host's side.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
     -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Longest input made: all that the path reads fits in, and the kernel's test run takes it in one piece.
const INPUT_BYTES_MAX: u32 = 1_024;

pub fn fuzz(args: &Fuzz) -> Result<()> {
    if !has("c++") {
        bail!("libFuzzer is C++, and there is no c++: apt-get install g++");
    }
    setup(&Setup::of(false))?;
    let programs = build()?;
    let chosen = args.chosen();
    for corpus in [Corpus::FRAMES, Corpus::IDENTITY, Corpus::HTTP1] {
        let targets: Vec<_> = chosen.iter().copied().filter(|target| target.corpus() == corpus).collect();
        if !targets.is_empty() {
            grow(&programs, &corpus, &targets, args)?;
        }
    }
    Ok(())
}

/// Runs the targets of one corpus, and finds the least that reaches what they reached.
fn grow(programs: &Path, corpus: &Corpus, targets: &[Target], args: &Fuzz) -> Result<()> {
    let work = root().join("target").join(format!("fuzz-{}", corpus.name));
    let (seeds, grown) = (work.join("seeds"), work.join("grown"));
    let committed = corpus.unpack(&seeds)?;
    std::fs::create_dir_all(&grown)?;
    for target in targets {
        println!("{}: {} s from {committed} committed inputs", target.name(), args.seconds);
        search(programs, *target, args.seconds, &work)?;
    }
    let least = work.join("least");
    corpus::clear(&least)?;
    // The frames' first target wants no root.
    let merging = targets.iter().find(|target| !matches!(target, Target::Kernel)).unwrap_or(&Target::Packets);
    let mut merge = Command::new(programs.join(merging.name()));
    merge.args(["-merge=1", "-use_counters=0"]).args([&least, &seeds, &grown]);
    // Its own account of the merge is long, and says nothing that we do not.
    output(&mut merge).context("merging the corpus failed")?;
    if args.keep {
        println!("fuzz/{}.hex: {} inputs", corpus.name, corpus.pack(&least)?);
    } else {
        let found = corpus::count(&least)?;
        println!("{found} inputs reach all that was reached; --keep writes them to fuzz/{}.hex", corpus.name);
    }
    Ok(())
}

impl Fuzz {
    fn chosen(&self) -> Vec<Target> {
        if !self.targets.is_empty() {
            return self.targets.clone();
        }
        if is_root() {
            return vec![Target::Packets, Target::Kernel, Target::Identity, Target::Http1];
        }
        println!("not root: without `kernel`");
        vec![Target::Packets, Target::Identity, Target::Http1]
    }
}

impl Target {
    const fn name(self) -> &'static str {
        match self {
            Self::Packets => "packets",
            Self::Kernel => "kernel",
            Self::Identity => "identity",
            Self::Http1 => "http1",
        }
    }

    const fn corpus(self) -> Corpus {
        match self {
            Self::Packets | Self::Kernel => Corpus::FRAMES,
            Self::Identity => Corpus::IDENTITY,
            Self::Http1 => Corpus::HTTP1,
        }
    }
}

/// The folder of the programs.
fn build() -> Result<PathBuf> {
    let version = output(Command::new("rustc").arg("-vV")).context("rustc -vV said nothing")?;
    let host =
        version.lines().find_map(|line| line.strip_prefix("host: ")).context("a rustc without host")?;
    let mut build = cargo();
    build.args(["build", "--profile", "fuzz", "--package", "weir-fuzz", "--bins", "--features", "link"]);
    // With a target named, build scripts are spared the flags.
    build.args(["--locked", "--target", host]).env("RUSTFLAGS", COVERAGE);
    run(&mut build)?;
    Ok(root().join("target").join(host).join("fuzz"))
}

/// Runs one target; an error where an input broke something.
fn search(programs: &Path, target: Target, seconds: u32, work: &Path) -> Result<()> {
    let broken = work.join("broken-");
    let mut fuzzer = Command::new(programs.join(target.name()))
        .args([work.join("grown"), work.join("seeds")])
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={INPUT_BYTES_MAX}"))
        .arg(format!("-artifact_prefix={}", broken.display()))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {}", target.name()))?;
    let last =
        progress::show(target.name(), seconds, fuzzer.stderr.take().context("a pipe that was asked for")?)?;
    let status = fuzzer.wait()?;
    if !status.success() {
        bail!(
            "{} ended with {status}:\n{last}\nthe input is at {}*; run the program with it to see it again",
            target.name(),
            broken.display()
        );
    }
    Ok(())
}
