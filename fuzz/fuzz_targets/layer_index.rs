//! Fuzz target: see `fuzz::readers::layer_index`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::readers::layer_index(bytes));
