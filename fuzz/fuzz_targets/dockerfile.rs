//! Fuzz target: see `fuzz::readers::dockerfile`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::readers::dockerfile(bytes));
