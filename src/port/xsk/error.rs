//! Why an AF_XDP port could not be opened: what was tried, on which interface and queue, the cause, and what to do about
//! it. What is not here: errors of the data path, which are counters.

use std::io;

/// Why an AF_XDP port could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields are what the message says of them")]
pub enum XskError {
    /// A frame cannot hold a packet of the interface's MTU.
    #[error(
        "cannot open an AF_XDP port on {interface}: its MTU is {mtu} and a frame holds {most} at most; \
         lower it: ip link set {interface} mtu {most}"
    )]
    MtuTooLarge { interface: String, mtu: u32, most: u32 },

    /// A count or size that AF_XDP does not take.
    #[error("cannot open an AF_XDP port on {interface} queue {queue}: {what} is {value}, it has to be a power of two")]
    BadSize { interface: String, queue: u32, what: &'static str, value: u32 },

    /// No interface has that name (ENODEV).
    #[error(
        "cannot open an AF_XDP port on {interface} queue {queue}: no interface of that name in this network namespace; \
         see: ip link"
    )]
    UnknownInterface { interface: String, queue: u32 },

    /// The interface does not have that queue (EINVAL of bind).
    #[error(
        "cannot open an AF_XDP port on {interface} queue {queue}: {interface} has {queues} queues, numbered from 0; \
         use one of them, or see: ethtool -L {interface}"
    )]
    QueueOutOfRange { interface: String, queue: u32, queues: u32 },

    /// Another socket holds the queue, and did not let go while we retried (EBUSY).
    #[error(
        "cannot open an AF_XDP port on {interface} queue {queue}: another AF_XDP socket holds that queue, still after \
         {waited_ms} ms; end its process, see: ss --xdp -p"
    )]
    Busy { interface: String, queue: u32, waited_ms: u128 },

    /// The process may not (EPERM).
    #[error(
        "cannot open an AF_XDP port on {interface} queue {queue}: not permitted; run as root or with CAP_NET_RAW (and \
         CAP_NET_ADMIN and CAP_BPF for the steering program)"
    )]
    NotPermitted { interface: String, queue: u32 },

    /// The UMEM's memory was refused (ENOMEM or ENOBUFS).
    #[error("cannot open an AF_XDP port on {interface} queue {queue}: no memory for a UMEM of {bytes} bytes; {remedy}")]
    NoMemory { interface: String, queue: u32, bytes: u64, remedy: String },

    /// The kernel has no AF_XDP (EAFNOSUPPORT).
    #[error(
        "cannot open an AF_XDP port on {interface} queue {queue}: this kernel has no AF_XDP; it takes Linux 5.4 or later \
         with CONFIG_XDP_SOCKETS=y"
    )]
    NoAfXdp { interface: String, queue: u32 },

    /// The driver cannot do zero-copy on that queue (EOPNOTSUPP).
    #[error(
        "cannot open an AF_XDP port on {interface} queue {queue}: the driver refuses zero-copy there; bind with copy or auto"
    )]
    ZeroCopyRefused { interface: String, queue: u32 },

    /// Anything else.
    #[error("cannot open an AF_XDP port on {interface} queue {queue}: {tried} failed: {source}; {remedy}")]
    Other { interface: String, queue: u32, tried: &'static str, source: io::Error, remedy: &'static str },
}
