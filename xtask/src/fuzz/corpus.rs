//! The corpus: fuzz/corpus.hex in the tree, a frame a line, and folders of files for libFuzzer. One
//! text instead of hundreds of nameless files: a change of it can be read.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::shell::root;

const HEADER: &str =
    "# Frames that together reach all that the fuzzer found in the packet path: one a line, in hex, the
# shortest first. `cargo xtask fuzz --keep` writes this file; lines may be added by hand.
";

/// Writes the committed frames as files; how many there are.
pub(super) fn unpack(folder: &Path) -> Result<usize> {
    clear(folder)?;
    let path = path();
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    for (idx, line) in lines.iter().enumerate() {
        let frame = frame(line).with_context(|| format!("{}: no hex: {line}", path.display()))?;
        fs::write(folder.join(format!("{idx:04}")), frame)?;
    }
    Ok(lines.len())
}

/// Makes the folder's files the committed ones; how many there are.
pub(super) fn pack(folder: &Path) -> Result<usize> {
    let mut frames = Vec::new();
    for entry in fs::read_dir(folder)? {
        frames.push(fs::read(entry?.path())?);
    }
    frames.sort_by(|a, b| a.len().cmp(&b.len()).then_with(|| a.cmp(b)));
    let mut text = HEADER.to_owned();
    for frame in &frames {
        for byte in frame {
            write!(text, "{byte:02x}")?;
        }
        text.push('\n');
    }
    fs::write(path(), text)?;
    Ok(frames.len())
}

pub(super) fn count(folder: &Path) -> Result<usize> {
    Ok(fs::read_dir(folder)?.count())
}

/// An empty folder.
pub(super) fn clear(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    Ok(fs::create_dir_all(folder)?)
}

fn path() -> PathBuf {
    root().join("fuzz/corpus.hex")
}

/// An empty line is the empty frame.
fn frame(line: &str) -> Option<Vec<u8>> {
    line.as_bytes()
        .chunks(2)
        .map(|pair| {
            u8::from_str_radix(std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2)?, 16).ok()
        })
        .collect()
}
