//! What can go wrong with the generator below the socket: what was tried, the cause, and the remedy.

use super::plan::MAX_TUPLES;
use crate::steer::SteerError;
use std::io;
use std::net::{IpAddr, SocketAddr};

/// Why connections could not be generated.
#[derive(Debug, thiserror::Error)]
pub enum XdpError {
    /// Target and sources of different families.
    #[error("connecting from {from} to {target}: one is IPv4 and the other IPv6; give sources of the target's family")]
    Family {
        /// The target.
        target: SocketAddr,
        /// The first source address.
        from: IpAddr,
    },
    /// The loopback interface.
    #[error(
        "connecting through the loopback interface: that is where the frames come from that become SYNs; use a veth pair"
    )]
    Loopback,
    /// A plan without a connection in it.
    #[error("nothing to connect: there has to be a target port, a source address, a source port from 1 on, and a rate")]
    Nothing,
    /// More four-tuples than there is room for.
    #[error(
        "connecting from {wanted} pairs of source address and port: the limit is {MAX_TUPLES}; give fewer of either"
    )]
    TooManyTuples {
        /// Sources times ports.
        wanted: u64,
    },
    /// Source addresses past the last one that only differs in its last 32 bits.
    #[error("connecting from {sources} addresses from {first} on: they run past the last address; start lower")]
    SourceRange {
        /// The first source address.
        first: IpAddr,
        /// How many.
        sources: u32,
    },
    /// The kernel took the program or a map not.
    #[error(
        "loading the generating program: {cause}; run as root or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON, \
         on Linux 5.18 or later"
    )]
    Load {
        /// What libbpf says; the verifier's log is on standard error.
        cause: libbpf_rs::Error,
    },
    /// The program could not be attached.
    #[error(transparent)]
    Attach(#[from] SteerError),
    /// No thread.
    #[error("starting the sending thread: the system made none: {cause}; look at the limits of processes (ulimit -u)")]
    Spawn {
        /// The cause.
        cause: io::Error,
    },
    /// Not pinned.
    #[error(
        "sending from core {core}: the sending thread cannot be pinned to it; give a core that this process may run on (taskset -p $$ shows \
         them)"
    )]
    Pin {
        /// The core.
        core: u16,
    },
    /// The kernel did not run the program.
    #[error("sending by BPF_PROG_RUN with live frames: {cause}; that needs root and Linux 5.18 or later")]
    Send {
        /// What the kernel says.
        cause: io::Error,
    },
    /// The counters could not be read, or the schedule not written.
    #[error("reading the counters of the generating program, or writing its schedule: {cause}")]
    Counters {
        /// What the kernel says.
        cause: libbpf_rs::Error,
    },
}
