//! A memory cgroup that a test makes, in whichever hierarchy has the controller; gone in Drop.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The hierarchy's usual mounts: the controller's own (v1), and the unified one (v2).
const V1: &str = "/sys/fs/cgroup/memory";
const V2: &str = "/sys/fs/cgroup";

/// A cgroup with a memory limit; who writes its process id to [`MemoryCgroup::procs`] is inside.
pub struct MemoryCgroup {
    folder: PathBuf,
}

impl MemoryCgroup {
    pub fn new(limit_bytes: u64) -> Result<Self> {
        let (root, limit) = if Path::new(V1).is_dir() {
            (V1, "memory.limit_in_bytes")
        } else {
            std::fs::write(format!("{V2}/cgroup.subtree_control"), "+memory")
                .context("enabling the memory controller")?;
            (V2, "memory.max")
        };
        let folder = Path::new(root).join(format!("weir-test-{}", std::process::id()));
        std::fs::create_dir(&folder).with_context(|| format!("making {}", folder.display()))?;
        let made = Self { folder };
        std::fs::write(made.folder.join(limit), limit_bytes.to_string()).context("limiting memory")?;
        Ok(made)
    }

    pub fn procs(&self) -> PathBuf {
        self.folder.join("cgroup.procs")
    }
}

impl Drop for MemoryCgroup {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir(&self.folder) {
            eprintln!("cannot remove {}: {error}", self.folder.display());
        }
    }
}
