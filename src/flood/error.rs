//! What can go wrong with a flood: what was tried, the cause, and the remedy.

use std::io;

use crate::blast::next_hop::NextHopError;
use crate::blast::xdp::XdpError;
use crate::control::problem::Problems;
use crate::port::xsk::XskError;
use crate::steer::SteerError;

/// Why there was no flood, or why it is no success. The result was written all the same where there is one.
#[derive(Debug, thiserror::Error)]
pub enum FloodError {
    /// Options that are wrong, or a target that may not be flooded: wrong usage.
    #[error(transparent)]
    Options(Problems),
    /// The machine cannot do it.
    #[error(transparent)]
    Machine(Problems),
    /// The interface.
    #[error("interface {interface}: {cause}")]
    Interface {
        /// Its name.
        interface: String,
        /// What is wrong with it, and what to do.
        cause: String,
    },
    /// There is no way to the target.
    #[error(transparent)]
    NextHop(#[from] NextHopError),
    /// The kernel took the program or a map not.
    #[error(
        "loading the flooding program: {cause}; run as root or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON, on Linux 5.12 or later"
    )]
    Load {
        /// What libbpf says; the verifier's log is on standard error.
        cause: libbpf_rs::Error,
    },
    /// The program could not be attached.
    #[error(transparent)]
    Attach(#[from] SteerError),
    /// Sending by BPF_PROG_RUN, or the maps.
    #[error(transparent)]
    Send(#[from] XdpError),
    /// The AF_XDP port.
    #[error(transparent)]
    Port(#[from] XskError),
    /// No random key.
    #[error("asking the kernel for random bytes: {0}")]
    Random(getrandom::Error),
    /// No thread.
    #[error("starting the sending thread: the system made none: {0}; look at the limits of processes (ulimit -u)")]
    Spawn(io::Error),
    /// SIGINT and SIGTERM cannot be waited for.
    #[error("waiting for SIGINT and SIGTERM: {0}")]
    Signals(io::Error),
    /// Standard output took no result.
    #[error("standard output: cannot be written: {0}")]
    Output(#[from] io::Error),
    /// The rate was not reached.
    #[error(
        "{reached:.0} of {asked} frames a second were sent: one core sends no more with the engine {engine}; ask for less, or leave --rate out"
    )]
    RateNotHeld {
        /// The rate asked for.
        asked: u64,
        /// The rate reached.
        reached: f64,
        /// The engine.
        engine: &'static str,
    },
}

impl FloodError {
    /// The exit status: 2 for wrong usage, 1 for all else.
    pub fn exit_status(&self) -> u8 {
        if matches!(self, Self::Options(_)) { 2 } else { 1 }
    }
}
