//! Fuzz target: see `fuzz::readers::tree`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::readers::tree(bytes));
