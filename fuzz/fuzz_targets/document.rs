//! Fuzz target: see `fuzz::readers::document`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::readers::document(bytes));
