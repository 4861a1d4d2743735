//! Any frame through the host's build of the path: nothing panics, nothing wraps, and the laws hold.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use weir_fuzz::{laws, mutate, reached};

fuzz_target!(|frame: &[u8]| {
    reached::tell(&laws::check(frame));
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    mutate::mutate(data, size, max_size, seed, fuzzer_mutate)
});
