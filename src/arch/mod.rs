//! [unsafe room] What needs the machine or the kernel directly and has no safe wrapper in the crates used.

#[cfg(feature = "xdp")]
pub mod bpf;
pub mod cycles;
pub mod pages;
pub mod prefetch;
