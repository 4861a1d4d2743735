//! The fuzzer's corpus, fuzz/corpus.hex: frames that together reach all that was found in the packet
//! path, one a line.

use std::path::Path;

use anyhow::{Context as _, Result};

pub fn frames() -> Result<Vec<Vec<u8>>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus.hex");
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| frame(line).with_context(|| format!("no frame in hex: {line}"))).collect()
}

/// An empty line is the empty frame.
fn frame(line: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<_>> = line.chars().map(|digit| digit.to_digit(16)).collect();
    digits?
        .chunks(2)
        .map(|pair| match *pair {
            [high, low] => u8::try_from(high << 4 | low).ok(),
            _ => None,
        })
        .collect()
}
