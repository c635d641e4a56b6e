//! Hands libFuzzer's bytes to `handfast_fuzz::frame`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| handfast_fuzz::frame::check(data));
