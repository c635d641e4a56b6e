//! AF_XDP ports: one UMEM, one socket, one worker for each queue. What is here: [`XskPort`] and how it is opened. What is
//! not here: the XDP program that redirects frames to the socket (`steer` loads it and puts [`XskPort::fd`] into its
//! XSKMAP), and anything that knows TCP.
//!
//! # Why this is sound
//!
//! AF_XDP shares the UMEM with the kernel, and xsk-rs leaves it to its user to stay away from a frame that the kernel has.
//! Three things do that here, and the SAFETY lines refer to them:
//!
//! 1. A UMEM has one socket, its four rings have one owner (`rings::XskRings`), and nothing else holds a descriptor. So
//!    every descriptor on a ring is of that UMEM, and every crossing passes through `umem::Frames`.
//! 2. `umem::Frames` has one flag per chunk: ours or the kernel's (`Chunks`, checked in release builds too). A token ends
//!    when its chunk is handed over, and bytes are reached only while the flag says ours. So no reference overlaps with the
//!    kernel's reading or writing, whatever tokens safe code holds: one from another port stops the worker.
//! 3. References to bytes borrow the port, mutable ones exclusively. So two references into one chunk cannot meet, and none
//!    outlives a handing over or the mapping.
//!
//! What is trusted: that the kernel keeps to AF_XDP (it does not write a frame after it returned it, and a received packet
//! lies inside its chunk), and xsk-rs and libxdp.
//!
//! xsk-rs takes locks when a UMEM or socket is made and destroyed only; its rings and its access to bytes have none.

mod bind;
mod config;
mod error;
mod rings;
mod umem;

pub use config::{BindMode, XskConfig};
pub use error::XskError;
pub use rings::XskRings;

use super::rings::RingPort;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::xdp_statistics;
use rustix::net::xdp::XdpStatistics;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// What the kernel counts for one AF_XDP socket (XDP_STATISTICS). Units: frames or descriptors, since the bind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct XskStatistics {
    /// Frames dropped on the way in: longer than a chunk, or no free frame in the fill ring.
    pub rx_dropped: u64,
    /// Descriptors in the fill ring that the kernel refused.
    pub rx_invalid_descs: u64,
    /// Descriptors in the TX ring that the kernel refused. Their frames never come back: more than 0 is our bug.
    pub tx_invalid_descs: u64,
    /// Frames dropped because the RX ring was full.
    pub rx_ring_full: u64,
    /// Times that the kernel looked for a frame in the fill ring and found none.
    pub rx_fill_ring_empty_descs: u64,
    /// Times that the kernel looked for a frame in the TX ring and found none.
    pub tx_ring_empty_descs: u64,
}

impl XskStatistics {
    /// All frames that reached the socket and were dropped there.
    pub fn rx_drops(&self) -> u64 {
        self.rx_dropped + self.rx_ring_full
    }
}

impl From<XdpStatistics> for XskStatistics {
    fn from(kernel: XdpStatistics) -> Self {
        Self {
            rx_dropped: kernel.rx_dropped,
            rx_invalid_descs: kernel.rx_invalid_descs,
            tx_invalid_descs: kernel.tx_invalid_descs,
            rx_ring_full: kernel.rx_ring_full.unwrap_or(0),
            rx_fill_ring_empty_descs: kernel.rx_fill_ring_empty_descs.unwrap_or(0),
            tx_ring_empty_descs: kernel.tx_ring_empty_descs.unwrap_or(0),
        }
    }
}

/// A port over one queue of one interface.
pub type XskPort = RingPort<XskRings>;

// A port is made by the supervisor and moved into its worker's thread.
const _: () = {
    const fn is_send<T: Send>() {}
    is_send::<XskPort>();
};

impl XskPort {
    /// Opens the port: maps the UMEM, binds the socket, and waits up to 2 s for a queue that is still being released.
    /// No frame arrives until a program redirects some to [`XskPort::fd`], and the fill ring gets its first frames at the
    /// first [`super::Port::receive`].
    ///
    /// # Errors
    ///
    /// [`XskError`] with interface, queue, cause and remedy.
    pub fn open(config: &XskConfig) -> Result<Self, XskError> {
        let (rings, frames) = bind::open(config)?;
        Ok(Self::over(rings, frames))
    }

    /// The socket, for the XSKMAP of the steering program.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.rings.fd()
    }

    /// True if the driver moves frames without copying (XDP_OPTIONS).
    pub fn zero_copy(&self) -> bool {
        self.rings.zero_copy
    }

    /// How many frames the kernel sends at a kick in copy mode, if it was told; `None` if it was not, or is older than
    /// Linux 6.17: then it sends 32.
    pub fn tx_budget(&self) -> Option<u32> {
        self.rings.tx_budget
    }

    /// What the kernel counted for this socket.
    ///
    /// # Errors
    ///
    /// The system's error for the call; on an open socket there is none to expect.
    pub fn statistics(&self) -> io::Result<XskStatistics> {
        Ok(xdp_statistics(self.fd())?.into())
    }

    /// Waits until a frame is in the RX ring, for `timeout` at most. False if there is none yet, or a signal came in between.
    /// Blocks: for a worker that has nothing else to do.
    ///
    /// # Errors
    ///
    /// The system's error for poll.
    pub fn wait_readable(&self, timeout: Duration) -> io::Result<bool> {
        let timeout = Timespec::try_from(timeout).map_err(io::Error::other)?;
        let mut fds = [PollFd::from_borrowed_fd(self.fd(), PollFlags::IN)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) => Ok(fds[0].revents().contains(PollFlags::IN)),
            Err(Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for XskPort {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd()
    }
}
