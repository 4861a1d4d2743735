//! Any bytes as requests and as answers of HTTP/1: nothing panics, and the laws hold.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_fuzz::http1;

fuzz_target!(|bytes: &[u8]| http1::check(bytes));
