//! Fuzz target: see `fuzz::readers::reference`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::readers::reference(bytes));
