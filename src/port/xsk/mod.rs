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

pub use config::{
    BUSY_POLL_MOST_US, BindMode, CHUNK_MOST, DEFAULT_TX_BUDGET, MTU_MOST, TX_BUDGET_LEAST, TX_BUDGET_MOST, XskConfig,
    frame_size,
};
pub use error::XskError;
pub use rings::XskRings;

use super::rings::RingPort;
use std::os::fd::{AsFd, BorrowedFd};

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
}

impl AsFd for XskPort {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd()
    }
}
