//! Fuzz target: see `fuzz::readers::expansion`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::readers::expansion(bytes));
