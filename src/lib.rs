//! handfast
#[cfg(feature = "xdp")]
pub mod bench;
#[cfg(feature = "xdp")]
pub mod cli;
#[cfg(feature = "xdp")]
pub mod control;
#[cfg(feature = "xdp")]
pub mod observe;
pub mod port;
pub mod stats;
#[cfg(feature = "xdp")]
pub mod steer;
pub mod tcp;
pub mod time;
pub mod verdict;
