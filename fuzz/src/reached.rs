//! What a frame reached, told to libFuzzer: a frame that is the first with its verdict, class and
//! address family is kept, whether or not it took a branch of its own.

use std::sync::atomic::{AtomicU8, Ordering};

use weir_ebpf::packet::Address;
use weir_ebpf::path::Decided;
use weir_ebpf::verdict::Verdict;

/// No packet, or a class of either family.
const CELLS_EACH: usize = 8;
const CELLS: usize = Verdict::COUNT * CELLS_EACH;

/// libFuzzer reads the section between two runs and clears it.
#[unsafe(link_section = "__libfuzzer_extra_counters")]
static REACHED: [AtomicU8; CELLS] = [const { AtomicU8::new(0) }; CELLS];

pub fn tell(decided: &Decided) {
    let cell = match &decided.packet {
        None => 0,
        Some(packet) => {
            let family = usize::from(matches!(packet.source, Address::V6(_)));
            1 + packet.class() as usize * 2 + family
        }
    };
    if let Some(counter) = REACHED.get(decided.verdict as usize * CELLS_EACH + cell) {
        counter.store(1, Ordering::Relaxed);
    }
}
