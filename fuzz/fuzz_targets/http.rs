//! Hands libFuzzer's bytes to `handfast_fuzz::http`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| handfast_fuzz::http::check(data));
