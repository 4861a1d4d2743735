//! An initramfs: the newc form of cpio, as the kernel's Documentation/driver-api/early-userspace
//! describes it. Folders and plain files only.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context as _, Result};

pub(super) struct Archive<W> {
    to: W,
    entries: u32,
    folders: BTreeSet<String>,
}

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const END: &str = "TRAILER!!!";

impl<W: Write> Archive<W> {
    pub(super) fn new(to: W) -> Self {
        Self { to, entries: 0, folders: BTreeSet::new() }
    }

    /// The file `from` as `name`, in folders that are made.
    pub(super) fn file(&mut self, name: &str, from: &Path) -> Result<()> {
        let bytes = fs::read(from).with_context(|| format!("reading {}", from.display()))?;
        self.bytes(name, &bytes)
    }

    pub(super) fn bytes(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let name = name.trim_start_matches('/');
        for (at, _) in name.match_indices('/') {
            self.folder(name.get(..at).unwrap_or_default())?;
        }
        self.entry(name, PROGRAM, bytes)
    }

    pub(super) fn folder(&mut self, name: &str) -> Result<()> {
        if self.folders.insert(name.to_owned()) {
            self.entry(name, FOLDER, &[])?;
        }
        Ok(())
    }

    pub(super) fn end(mut self) -> Result<()> {
        self.entry(END, 0, &[])?;
        Ok(self.to.flush()?)
    }

    /// Magic and thirteen fields of eight hex digits: inode, mode, user, group, links, time, size, four
    /// device numbers, length of the name with its 0, checksum. Name and bytes begin at multiples of 4.
    fn entry(&mut self, name: &str, mode: u32, bytes: &[u8]) -> Result<()> {
        self.entries += 1;
        let (size, name_bytes) = (u32::try_from(bytes.len())?, u32::try_from(name.len() + 1)?);
        write!(self.to, "070701")?;
        for field in [self.entries, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_bytes, 0] {
            write!(self.to, "{field:08x}")?;
        }
        self.to.write_all(name.as_bytes())?;
        self.zeros(4 - (110 + name.len()) % 4)?;
        self.to.write_all(bytes)?;
        self.zeros((4 - bytes.len() % 4) % 4)
    }

    fn zeros(&mut self, count: usize) -> Result<()> {
        Ok(self.to.write_all([0_u8; 4].get(..count).unwrap_or_default())?)
    }
}
