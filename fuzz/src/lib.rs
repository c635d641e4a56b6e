//! What the fuzz targets check, as plain functions from bytes to nothing: they panic when a promise is broken.
//!
//! | Module | Input | What is promised |
//! |---|---|---|
//! | [`frame`] | a frame | what parses is what a segment promises to be, and reads the same when written again |
//! | [`options`] | TCP options | nothing is read that is not there; what is written reads the same |
//! | [`engine`] | steps of peers, users and the clock | no panic, ledgers at 0, legal frames, no answer to a RST, no allocation |
//! | [`http`] | cuts and requests | the responses depend neither on how requests are cut nor on how they are read |
//! | [`steering`] | a frame | the steering program takes what the engine can use, and nothing else |
//! | [`cookie`] | the same | it answers the SYNs that a worker would answer with a cookie, and with the same bytes |
//!
//! fuzz_targets/ only hands libFuzzer's bytes over. So the committed seeds run through the same checks in
//! `cargo test --manifest-path fuzz/Cargo.toml --lib`, without libFuzzer and with a stable compiler.

#[path = "../../tests/common/alloc.rs"]
mod alloc;
pub mod cookie;
pub mod engine;
pub mod frame;
pub mod http;
pub mod options;
pub mod repair;
#[cfg(test)]
mod seeds;
pub mod steering;
