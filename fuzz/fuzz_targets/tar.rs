//! Fuzz target: see `fuzz::readers::tar`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::readers::tar(bytes));
