//! handfast
#[cfg(feature = "xdp")]
pub mod bench;
#[cfg(feature = "xdp")]
pub mod control;
pub mod engine;
pub mod flow;
pub mod port;
pub mod service;
pub mod stats;
#[cfg(feature = "xdp")]
pub mod steer;
pub mod tcp;
pub mod time;
pub mod timer;
pub mod verdict;
pub mod wire;
