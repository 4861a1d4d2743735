//! The corpora: fuzz/*.hex in the tree, an input a line, and folders of files for libFuzzer. One
//! text instead of hundreds of nameless files: a change of it can be read.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::shell::root;

/// Inputs of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Corpus {
    /// Of its file in fuzz/, without `.hex`.
    pub name: &'static str,
    what: &'static str,
}

impl Corpus {
    pub const FRAMES: Self = Self {
        name: "corpus",
        what: "Frames that together reach all that the fuzzer found in the packet path",
    };
    pub const IDENTITY: Self = Self {
        name: "identity",
        what: "Bytes that together reach all that the fuzzer found in PROXY headers and lists of hops",
    };
    pub const HTTP1: Self =
        Self { name: "http1", what: "Bytes that together reach all that the fuzzer found in HTTP/1" };

    /// Writes the committed inputs as files; how many there are.
    pub fn unpack(&self, folder: &Path) -> Result<usize> {
        clear(folder)?;
        let path = self.path();
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        for (idx, line) in lines.iter().enumerate() {
            let bytes = bytes(line).with_context(|| format!("{}: no hex: {line}", path.display()))?;
            fs::write(folder.join(format!("{idx:04}")), bytes)?;
        }
        Ok(lines.len())
    }

    /// Makes the folder's files the committed ones; how many there are.
    pub fn pack(&self, folder: &Path) -> Result<usize> {
        let mut inputs = Vec::new();
        for entry in fs::read_dir(folder)? {
            inputs.push(fs::read(entry?.path())?);
        }
        inputs.sort_by(|a, b| a.len().cmp(&b.len()).then_with(|| a.cmp(b)));
        let what = self.what;
        let mut text = format!(
            "# {what}: one a line, in hex, the\n# shortest first. `cargo xtask fuzz --keep` writes this file; lines may be added by hand.\n"
        );
        for input in &inputs {
            for byte in input {
                write!(text, "{byte:02x}")?;
            }
            text.push('\n');
        }
        fs::write(self.path(), text)?;
        Ok(inputs.len())
    }

    fn path(&self) -> PathBuf {
        root().join("fuzz").join(format!("{}.hex", self.name))
    }
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

/// An empty line is the empty input.
fn bytes(line: &str) -> Option<Vec<u8>> {
    line.as_bytes()
        .chunks(2)
        .map(|pair| {
            u8::from_str_radix(std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2)?, 16).ok()
        })
        .collect()
}
