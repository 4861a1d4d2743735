//! The BPF file system, where a running Weir pins its maps and programs.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

const ROOT: &str = "/sys/fs/bpf";

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A folder of pins that no other instance uses; whatever is left in it is removed in Drop.
pub struct PinFolder {
    path: PathBuf,
}

impl PinFolder {
    /// Only names the folder: making it is the instance's business.
    pub fn new() -> Result<Self> {
        ensure_mounted()?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Ok(Self { path: Path::new(ROOT).join(format!("weir-test-{}-{number}", std::process::id())) })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder of the running layout version.
    pub fn versioned(&self) -> PathBuf {
        self.path.join(format!("v{}", weir_ebpf::abi::LAYOUT_VERSION))
    }
}

impl PinFolder {
    /// Makes what is pinned look like another layout version's that had CLIENTS and BANS without slots.
    pub fn as_version(&self, version: u32) -> Result<PathBuf> {
        let (ours, theirs) = (self.versioned(), self.path.join(format!("v{version}")));
        std::fs::create_dir(&theirs).with_context(|| format!("making {}", theirs.display()))?;
        for pin in std::fs::read_dir(&ours)? {
            let pin = pin?;
            if pin.file_name().to_string_lossy().ends_with("_SLOTS") {
                std::fs::remove_file(pin.path())?;
            } else {
                std::fs::rename(pin.path(), theirs.join(pin.file_name()))?;
            }
        }
        std::fs::remove_dir(ours)?;
        Ok(theirs)
    }

    /// Folders of layout versions, then the folder itself.
    fn folders(&self) -> Vec<PathBuf> {
        let inside = std::fs::read_dir(&self.path).into_iter().flatten().flatten();
        let versions = inside.map(|entry| entry.path()).filter(|path| path.is_dir());
        versions.chain(std::iter::once(self.path.clone())).collect()
    }
}

impl Drop for PinFolder {
    fn drop(&mut self) {
        for folder in self.folders() {
            let Ok(pins) = std::fs::read_dir(&folder) else { continue };
            for pin in pins.flatten() {
                if let Err(error) = std::fs::remove_file(pin.path()) {
                    eprintln!("left behind: {}: {error}", pin.path().display());
                }
            }
            if let Err(error) = std::fs::remove_dir(&folder) {
                eprintln!("left behind: {}: {error}", folder.display());
            }
        }
    }
}

/// Mounts bpffs where it is missing; it stays, as on any host.
pub fn ensure_mounted() -> Result<()> {
    if statfs(ROOT).is_ok_and(|found| found.filesystem_type() == BPF_FS_MAGIC) {
        return Ok(());
    }
    mount(Some("bpf"), ROOT, Some("bpf"), MsFlags::empty(), None::<&str>)
        .with_context(|| format!("mounting bpffs at {ROOT}"))
}
