//! Fuzz target: see `fuzz::readers::compressed_layer`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::readers::compressed_layer(bytes));
