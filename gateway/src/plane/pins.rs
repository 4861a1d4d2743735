//! Where one instance's maps, programs and links are pinned.

use std::path::{Path, PathBuf};

use weir_ebpf::abi::LAYOUT_VERSION;

/// `[kernel] pin_dir` with the layout version appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinDir {
    path: PathBuf,
}

impl PinDir {
    pub fn new(instance: &Path) -> Self {
        Self { path: instance.join(format!("v{LAYOUT_VERSION}")) }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Folders that other layout versions of this instance left, the newest first.
    pub fn others(&self) -> Vec<Self> {
        let entries = self.path.parent().and_then(|instance| std::fs::read_dir(instance).ok());
        let versions = entries.into_iter().flatten().filter_map(|entry| {
            let path = entry.ok()?.path();
            let version: u32 = path.file_name()?.to_str()?.strip_prefix('v')?.parse().ok()?;
            (path != self.path).then_some((version, path))
        });
        let mut versions: Vec<_> = versions.collect();
        versions.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
        versions.into_iter().map(|(_, path)| Self { path }).collect()
    }

    pub fn map(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub fn program(&self, name: &str) -> PathBuf {
        self.path.join(format!("prog_{name}"))
    }

    /// The link of XDP on `interface`.
    pub fn xdp_link(&self, interface: &str) -> PathBuf {
        self.path.join(format!("{XDP_LINK}{interface}"))
    }

    /// The link of the sockops program.
    pub fn proof_link(&self) -> PathBuf {
        self.path.join("link_proof")
    }

    /// Interfaces that have a pinned XDP link, in no order; none where the folder is missing.
    pub fn linked_interfaces(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(&self.path) else { return Vec::new() };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names.filter_map(|name| name.strip_prefix(XDP_LINK).map(str::to_owned)).collect()
    }
}

impl PinDir {
    /// As [`PinDir::linked_interfaces`], whichever layout version has them; in order.
    pub fn linked_in_any(&self) -> Vec<String> {
        let others = self.others();
        let mut names: Vec<_> =
            std::iter::once(self).chain(&others).flat_map(Self::linked_interfaces).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

const XDP_LINK: &str = "link_xdp_";
