//! What can go wrong while steering is set up or changed: what was tried, on what, the cause, and the remedy.

use super::attach::{Interface, Occupant, XdpMode};
use super::endpoints::Endpoint;
use super::filter::MAX_PREFIXES;
use std::io;

/// An error of the control path of steering.
#[derive(Debug, thiserror::Error)]
pub enum SteerError {
    /// The kernel took the program or a map not.
    #[error(
        "loading the steering program: {cause}; run as root or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON, \
         on Linux 5.9 or later"
    )]
    Load {
        /// What libbpf says; the verifier's log is on standard error.
        cause: libbpf_rs::Error,
    },
    /// A map could not be read or changed.
    #[error("{tried}: {cause}")]
    Map {
        /// What was tried, on which map element.
        tried: String,
        /// What the kernel says.
        cause: libbpf_rs::Error,
    },
    /// An endpoint with port 0.
    #[error("steering the endpoint {endpoint}: port 0 cannot be reached; name a port from 1 to 65535")]
    EndpointPort {
        /// The endpoint.
        endpoint: Endpoint,
    },
    /// An endpoint with the address 0.0.0.0 or ::.
    #[error("steering the endpoint {endpoint}: no segment has this destination; leave the address out for any address")]
    EndpointAddress {
        /// The endpoint.
        endpoint: Endpoint,
    },
    /// More endpoints than the maps were made for.
    #[error("steering {wanted} endpoints: there is room for {room}; steer fewer, or any address on a port")]
    TooManyEndpoints {
        /// How many were asked for.
        wanted: usize,
        /// How many the maps were made for.
        room: u32,
    },
    /// More prefixes than the filter has room for.
    #[error(
        "filtering {wanted} source prefixes: there is room for {MAX_PREFIXES}; join prefixes that lie side by side"
    )]
    TooManyPrefixes {
        /// How many were asked for.
        wanted: usize,
    },
    /// A queue beyond those that the socket map was made for.
    #[error("steering queue {queue}: the queues are 0 to {}; check the number of channels with ethtool -l", queues - 1)]
    NoSuchQueue {
        /// The queue.
        queue: u32,
        /// How many queues there are.
        queues: u32,
    },
    /// This program is attached already.
    #[error("attaching the steering program to interface {interface}: it is attached already; detach it first")]
    AlreadyAttached {
        /// Where it was to be attached.
        interface: Interface,
    },
    /// Another XDP program has the interface.
    #[error(
        "attaching an XDP program to interface {interface}: {occupant} is there; \
         stop the process that owns it, or remove it with `{}`",
        occupant.removal(interface)
    )]
    Occupied {
        /// The interface.
        interface: Interface,
        /// The program that is there.
        occupant: Occupant,
    },
    /// The kernel or the driver refused.
    #[error(
        "attaching an XDP program to interface {interface} in {mode} mode: {cause}{}; {}",
        native_refused.as_ref().map(|refusal| format!(" (and native mode: {refusal})")).unwrap_or_default(),
        remedy(*mode, cause)
    )]
    Attach {
        /// The interface.
        interface: Interface,
        /// The mode tried last.
        mode: XdpMode,
        /// What the kernel says.
        cause: io::Error,
        /// What it said to native mode, if that was tried first.
        native_refused: Option<io::Error>,
    },
}

/// What to do when attaching failed.
fn remedy(mode: XdpMode, cause: &io::Error) -> &'static str {
    match (rustix::io::Errno::from_io_error(cause), mode) {
        (Some(rustix::io::Errno::PERM), _) => "run as root or with CAP_BPF and CAP_NET_ADMIN",
        (Some(rustix::io::Errno::INVAL | rustix::io::Errno::NODEV), XdpMode::Generic) => {
            "is there such an interface in this network namespace?"
        }
        (_, XdpMode::Native) => {
            "use generic mode, or make the driver ready for XDP (MTU within a page; on veth, as many receive \
             queues as the peer has transmit queues)"
        }
        (_, XdpMode::Generic | XdpMode::Offloaded) => "the kernel's log may say more (dmesg)",
    }
}
