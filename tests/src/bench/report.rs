//! Where results go: the terminal, and files beside each other.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::table::Table;

/// Said under every table: who reads a figure must know what it is not.
const CAVEAT: &str = "one machine, sender and receiver on its cores, veth instead of a network card: \
                      no DMA, no receive-side scaling. compare inside this table only";

/// The folder of `--out`.
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Prints the table under its title, with the machine and the caveat, and writes NAME.txt.
    pub fn table(&self, name: &str, title: &str, table: &Table, notes: &[String]) -> Result<()> {
        let mut text = format!("{title}\n{}\n\n{table}\n", machine());
        for note in notes {
            text.push_str(&format!("* {note}\n"));
        }
        text.push_str(&format!("* {CAVEAT}\n"));
        println!("\n{text}");
        self.write(&format!("{name}.txt"), &text)
    }

    pub fn plot(&self, name: &str, svg: &str) -> Result<()> {
        self.write(&format!("{name}.svg"), svg)
    }

    /// Writes NAME.md.
    pub fn page(&self, name: &str, markdown: &str) -> Result<()> {
        self.write(&format!("{name}.md"), markdown)
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.path.join(name);
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        println!("written: {}", path.display());
        Ok(())
    }
}

/// One line of progress.
pub fn step(text: &str) {
    eprintln!("  {text}");
}

fn machine() -> String {
    let processor = read("/proc/cpuinfo");
    let model = processor.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown");
    format!("kernel {}, {} cores, {}", kernel(), cores(), model.trim_start_matches([' ', '\t', ':']))
}

/// The kernel's release.
pub fn kernel() -> String {
    read("/proc/sys/kernel/osrelease").trim().to_owned()
}

/// The machine's cores. Not those that the calling thread may use: it is on one of them.
pub fn cores() -> usize {
    read("/proc/cpuinfo").lines().filter(|line| line.starts_with("processor")).count()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}
