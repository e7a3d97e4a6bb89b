//! Fuzz target: see `fuzz::readers::ignore`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::readers::ignore(bytes));
