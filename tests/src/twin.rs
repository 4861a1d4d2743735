//! One frame through the host's build of the path and through the kernel's, in the same world: what
//! they say must be one verdict and one action.

use anyhow::{Context as _, Result, bail, ensure};
use aya::maps::{Map, MapData, PerCpuArray};
use weir_ebpf::abi::{Count, flags, maps};
use weir_ebpf::path::Decided;
use weir_ebpf::verdict::{Action, COUNTER_CELLS};

use crate::kernel_path::KernelPath;
use crate::world::{arm, host_world, kernel_world, lists};

pub struct Twin {
    kernel: KernelPath,
    counters: PerCpuArray<MapData, Count>,
    /// Packets by cell of COUNTERS, as they should be.
    counted: Vec<u64>,
    runs: u64,
}

/// The kernel's test run takes no frame without a whole Ethernet header.
pub const KERNEL_BYTES_MIN: usize = 14;
/// Debts of the kernel's world melt with time: they are made anew after so many runs.
const RUNS_ARMED: u64 = 10_000;

impl Twin {
    /// With malformed frames dropped, so that they differ from others by their action too.
    pub fn new() -> Result<Self> {
        let kernel = kernel_world()?;
        let mut wanted = lists();
        wanted.rules.flags = flags::DROP_MALFORMED;
        kernel.maps.apply(&wanted, 1)?;
        let data = MapData::from_pin(kernel.pins().map(maps::COUNTERS))?;
        let counters = PerCpuArray::try_from(Map::PerCpuArray(data))?;
        let mut twin = Self { kernel, counters, counted: Vec::new(), runs: 0 };
        twin.counted = (0..COUNTER_CELLS).map(|cell| twin.packets(cell)).collect::<Result<_>>()?;
        Ok(twin)
    }

    /// What both decided; an error says what differs. A frame too short for the kernel is the host's alone.
    pub fn compare(&mut self, frame: &[u8]) -> Result<Decided> {
        let decided = host_world().decide(frame);
        if frame.len() < KERNEL_BYTES_MIN {
            return Ok(decided);
        }
        if self.runs > 0 && self.runs.is_multiple_of(RUNS_ARMED) {
            arm(&self.kernel)?;
        }
        self.runs += 1;
        let action = decided.verdict.action(flags::DROP_MALFORMED);
        let returned = self.kernel.run(frame)?;
        let expected = if action == Action::Drop { 1 } else { 2 };
        ensure!(returned == expected, "host: {decided:?}; the kernel's action is {returned}");
        let cell = decided.verdict.cell(decided.rule, action);
        let packets = self.packets(cell)?;
        let counted = self.counted.get_mut(cell as usize).context("a cell of COUNTERS")?;
        *counted += 1;
        if packets != *counted {
            bail!("host: {decided:?}; the kernel counted another verdict");
        }
        Ok(decided)
    }

    /// Takes the pins away: what is loaded lasts as long as this value.
    pub fn unpin(&self) -> Result<()> {
        self.kernel.unpin()
    }

    fn packets(&self, cell: u32) -> Result<u64> {
        Ok(self.counters.get(&cell, 0)?.iter().map(|count| count.packets).sum())
    }
}
