//! Any bytes as a PROXY header and as lists of hops: nothing panics, and the laws hold.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_fuzz::identity;

fuzz_target!(|bytes: &[u8]| identity::check(bytes));
