//! Hands libFuzzer's bytes to `handfast_fuzz::steering`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| handfast_fuzz::steering::check(data));
