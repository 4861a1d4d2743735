//! The real programs, loaded into a pin folder of their own and run by BPF_PROG_TEST_RUN: attached to
//! nothing, gone with this value.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::cpu::stay_on;
use anyhow::{Context as _, Result};
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use weir::kernel::{self, Loaded};
use weir::plane::{Bans, Charge, CounterRow, Events, Maps, PinDir, now_ns};

pub struct KernelPath {
    loaded: Loaded,
    folder: Folder,
    pub maps: Arc<Maps>,
    pub charge: Arc<Charge>,
}

/// A pin folder, removed with everything in it.
struct Folder(PathBuf);

/// As much as a program may add to a frame.
const CHANGED_BYTES: usize = 64;

/// An `epoch_shift` whose epochs are longer than any test.
pub const ONE_EPOCH: u64 = 63;

impl KernelPath {
    /// With the smallest maps.
    pub fn small() -> Result<Self> {
        Self::load(kernel::Config { clients: 4_096, bans: 64, ..kernel::Config::default() })
    }

    pub fn load(config: kernel::Config) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("weir-path-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = Folder(PathBuf::from("/sys/fs/bpf").join(name));
        let pins = PinDir::new(&folder.0);
        let loaded = kernel::load(&pins, &config).context("loading the programs")?;
        let maps = Arc::new(Maps::open(&pins)?);
        let charge = Arc::new(Charge::open(&pins)?);
        Ok(Self { loaded, folder, maps, charge })
    }

    pub fn pins(&self) -> PinDir {
        PinDir::new(&self.folder.0)
    }

    pub fn bans(&self) -> Result<Bans> {
        Ok(Bans::in_kernel(&self.pins(), self.maps.clone(), self.charge.clone(), now_ns())?)
    }

    pub fn events(&self) -> Result<Events> {
        Ok(Events::open(&self.pins())?)
    }

    /// Takes the pins away; programs and maps live on behind their descriptors.
    pub fn unpin(&self) -> Result<()> {
        kernel::detach(&self.folder.0, &[])?;
        Ok(())
    }

    /// What XDP returns for the frame (at least 14 bytes: the kernel takes no shorter one).
    pub fn run(&mut self, frame: &[u8]) -> Result<u32> {
        Ok(self.run_times(frame, 1)?.0)
    }

    /// What XDP returns, and the frame as the program left it.
    pub fn run_changed(&mut self, frame: &[u8]) -> Result<(u32, Vec<u8>)> {
        let mut changed = vec![0; frame.len() + CHANGED_BYTES];
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut changed),
            repeat: 1,
            ..TestRunOptions::new()
        };
        let result = self.loaded.packets()?.test_run(options)?;
        changed.truncate(usize::try_from(result.data_size_out)?);
        Ok((result.return_value, changed))
    }

    /// Stays on one CPU for `work`, so that per-CPU budgets add up.
    pub fn on_one_cpu<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T> + Send) -> Result<T>
    where
        T: Send,
        Self: Send,
    {
        std::thread::scope(|scope| {
            let work = scope.spawn(|| {
                stay_on(0)?;
                work(self)
            });
            work.join().map_err(|panic| std::panic::resume_unwind(panic))?
        })
    }

    /// The last action and the mean nanoseconds of a run.
    pub fn run_times(&mut self, frame: &[u8], repeat: u32) -> Result<(u32, u64)> {
        let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::new() };
        let result = self.loaded.packets()?.test_run(options)?;
        Ok((result.return_value, u64::try_from(result.duration.as_nanos())?))
    }

    /// The packet program, for who runs it from several threads.
    pub fn packets(&mut self) -> Result<&Xdp> {
        Ok(self.loaded.packets()?)
    }

    /// The counters that rose since `before`.
    pub fn counted_since(&self, before: &[CounterRow]) -> Result<Vec<CounterRow>> {
        let mut after = self.maps.counters()?;
        for row in &mut after {
            let old = before.iter().find(|old| old.verdict == row.verdict && old.action == row.action);
            row.packets -= old.map_or(0, |old| old.packets);
            row.bytes -= old.map_or(0, |old| old.bytes);
        }
        after.retain(|row| row.packets > 0);
        Ok(after)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = kernel::detach(&self.0, &[]) {
            eprintln!("cannot remove {}: {error}", self.0.display());
        }
    }
}
