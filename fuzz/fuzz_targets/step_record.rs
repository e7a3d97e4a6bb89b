//! Fuzz target: see `fuzz::readers::step_record`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::readers::step_record(bytes));
