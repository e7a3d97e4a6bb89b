//! Fuzz target: see `fuzz::readers::cache_artifact`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::readers::cache_artifact(bytes));
