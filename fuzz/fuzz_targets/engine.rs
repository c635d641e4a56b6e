//! Hands libFuzzer's bytes to `handfast_fuzz::engine`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| handfast_fuzz::engine::check(data));
