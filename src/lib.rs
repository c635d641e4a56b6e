//! handfast
#[cfg(feature = "xdp")]
pub mod bench;
#[cfg(feature = "xdp")]
pub mod control;
pub mod port;
pub mod stats;
#[cfg(feature = "xdp")]
pub mod steer;
pub mod flow;
pub mod timer;
pub mod tcp;
pub mod time;
pub mod verdict;
pub mod wire;
