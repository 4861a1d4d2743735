//! Any frame through the host's build of the path and through the kernel's, which must say the same.
//! Wants root; nothing is attached, and no pin outlives the start.
#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use weir_fuzz::{mutate, reached};
use weir_tests::twin::Twin;

thread_local! {
    static TWIN: RefCell<Twin> = RefCell::new(twin());
}

fuzz_target!(|frame: &[u8]| {
    let decided = TWIN.with_borrow_mut(|twin| twin.compare(frame));
    reached::tell(&decided.expect("host and kernel agree"));
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    mutate::mutate(data, size, max_size, seed, fuzzer_mutate)
});

fn twin() -> Twin {
    let twin = Twin::new().expect("a kernel to compare with");
    // libFuzzer ends the process without dropping anything; the descriptors are enough.
    twin.unpin().expect("pins that we made");
    twin
}
