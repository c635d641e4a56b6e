//! Hands libFuzzer's bytes to `handfast_fuzz::options`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| handfast_fuzz::options::check(data));
