//! Fuzz target: see `fuzz::readers::protocol`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::readers::protocol(bytes));
