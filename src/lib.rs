//! handfast
pub mod arch;
#[cfg(feature = "xdp")]
pub mod bench;
#[cfg(feature = "xdp")]
pub mod control;
pub mod port;
pub mod stats;
#[cfg(feature = "xdp")]
pub mod steer;
pub mod tcp;
pub mod time;
pub mod verdict;
