//! A port: where frames come from and go to. What is here: the [`Port`] trait, the move-only [`Frame`], the [`Burst`],
//! and the frame ledger. What is not here: anything about TCP, or about what a frame means.
//!
//! A port owns a fixed number of equally sized frames from start to end. Every frame is at every moment in exactly one
//! place, and [`FrameLedger`] counts the places; [`FrameLedger::balances`] is asserted at every flush in debug builds.

mod chunks;
pub mod memory;
pub mod rings;
#[cfg(feature = "xdp")]
pub mod xsk;

use std::time::Duration;

use crate::arch::prefetch;
use crate::stats::words::word_struct;

/// How many frames a worker takes from a port in one turn at most.
pub const BURST_FRAMES: usize = 64;

/// The right to one frame of one port: whoever holds it may read and write the frame's bytes through the port.
///
/// Only a port makes one, it cannot be copied, and it has to be given back: to [`Port::transmit`] or
/// [`Port::recycle`]. Two tokens for one frame would be a buffer with two owners.
#[derive(Debug)]
#[must_use = "a frame that is not given back to its port is lost"]
pub struct Frame {
    /// Where the packet starts, as a byte offset into the port's memory.
    addr: u64,
    /// Bytes of packet in the frame, from the destination MAC address on.
    len: u32,
}

impl Frame {
    /// Bytes of packet in the frame; 0 for a frame fresh from [`Port::take_free`].
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// True for a frame without a packet in it.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// The frames of one receive, at most [`BURST_FRAMES`], in a buffer that is allocated once.
#[derive(Debug)]
pub struct Burst {
    frames: Vec<Frame>,
}

impl Default for Burst {
    fn default() -> Self {
        Self::new()
    }
}

impl Burst {
    /// An empty burst with room for [`BURST_FRAMES`].
    pub fn new() -> Self {
        Self { frames: Vec::with_capacity(BURST_FRAMES) }
    }

    /// How many frames it holds.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// True if it holds none.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// How many more frames it takes.
    pub fn room(&self) -> usize {
        BURST_FRAMES - self.frames.len()
    }

    /// The frames, first received first.
    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// Takes all frames out, first received first.
    pub fn drain(&mut self) -> impl ExactSizeIterator<Item = Frame> + '_ {
        self.frames.drain(..)
    }

    /// Adds a frame at the end. For ports.
    ///
    /// # Panics
    ///
    /// If the burst is full: the port asked [`Burst::room`] or it has a bug.
    fn push(&mut self, frame: Frame) {
        assert!(self.room() > 0, "a port received more frames than the burst has room for");
        self.frames.push(frame);
    }
}

word_struct! {
    /// Where a port's frames are. Units: frames.
    pub struct FrameLedger {
        /// All frames of the port; never changes.
        total,
        /// Given to the kernel to receive into, and not come back yet (this covers the fill ring and the RX ring).
        fill,
        /// Held by the worker as [`Frame`] tokens.
        in_hand,
        /// Waiting in the port for a place in the TX ring.
        tx_pending,
        /// Given to the kernel to send, and not come back yet (this covers the TX ring and the completion ring).
        tx,
        /// Free, in the port's own hands.
        free,
    }
}

impl FrameLedger {
    /// True if every frame is in one place.
    pub fn balances(&self) -> bool {
        self.total == self.fill + self.in_hand + self.tx_pending + self.tx + self.free
    }
}

word_struct! {
    /// What a port counts itself. Plain integers, owned by the worker that owns the port.
    pub struct PortCounters {
        /// Frames received.
        rx_frames,
        /// Bytes received.
        rx_bytes,
        /// Frames put into the TX ring.
        tx_frames,
        /// Bytes put into the TX ring.
        tx_bytes,
        /// Frames that came back through the completion ring: sent.
        tx_completed,
        /// System calls made to have the kernel send.
        tx_kicks,
        /// Kicks that the kernel answered with EAGAIN, EBUSY or ENOBUFS: it has work left and wants another kick.
        tx_kicks_again,
        /// Kicks that failed otherwise (for example ENETDOWN or ENXIO).
        tx_kicks_failed,
        /// Times that frames had to wait in the port, because the TX ring was full.
        tx_ring_full,
        /// System calls made to have the kernel refill its receive ring.
        rx_wakeups,
        /// Times that the fill ring could not be filled up for want of free frames.
        fill_starved,
        /// Times that [`Port::take_free`] had nothing to give.
        no_free_frame,
    }
}

word_struct! {
    /// What the kernel counts for one socket (XDP_STATISTICS). Units: frames or descriptors, since the bind. All zero for a port
    /// that has no kernel behind it.
    pub struct KernelStatistics {
        /// Frames dropped on the way in: longer than a chunk, or no free frame in the fill ring.
        rx_dropped,
        /// Descriptors in the fill ring that the kernel refused.
        rx_invalid_descs,
        /// Descriptors in the TX ring that the kernel refused. Their frames never come back: more than 0 is our bug.
        tx_invalid_descs,
        /// Frames dropped because the RX ring was full.
        rx_ring_full,
        /// Times that the kernel looked for a frame in the fill ring and found none.
        rx_fill_ring_empty_descs,
        /// Times that the kernel looked for a frame in the TX ring and found none.
        tx_ring_empty_descs,
    }
}

impl KernelStatistics {
    /// All frames that reached the socket and were dropped there.
    pub fn rx_drops(&self) -> u64 {
        self.rx_dropped + self.rx_ring_full
    }
}

/// A source and sink of frames, with the memory they live in.
///
/// A port never allocates after it was made, and never blocks but in [`Port::wait`]. Frames that it gives out are the caller's until given
/// back; nothing is lost under full rings, it waits in the port.
pub trait Port {
    /// Receives up to `burst.room()` frames behind those already in `burst`, and refills what the kernel receives into.
    /// Returns how many were received.
    fn receive(&mut self, burst: &mut Burst) -> usize;

    /// The packet in `frame`: `frame.len()` bytes.
    fn bytes(&self, frame: &Frame) -> &[u8];

    /// Announces to the processor that the headers of the packet in `frame` will be read.
    #[inline]
    fn prefetch(&self, frame: &Frame) {
        prefetch::headers(self.bytes(frame));
    }

    /// All bytes of `frame` from the start of the packet to the end of the frame's room, for writing a packet of any
    /// length up to [`Port::max_packet_len`] in place.
    fn bytes_mut(&mut self, frame: &mut Frame) -> &mut [u8];

    /// The longest packet in bytes, from the destination MAC address on, that a frame can carry.
    fn max_packet_len(&self) -> usize;

    /// Queues the first `len` bytes of `frame` for sending. They go out with the next [`Port::flush`], or wait in the port
    /// until the TX ring has room.
    ///
    /// # Panics
    ///
    /// If `len` is 0 or more than the frame's room: our own bug, whatever the peer sent.
    fn transmit(&mut self, frame: Frame, len: usize);

    /// Takes a frame back that carries nothing more.
    fn recycle(&mut self, frame: Frame);

    /// A free frame to write a packet into that nobody asked for (a retransmission), or `None` if there is none that what
    /// the kernel receives into can spare.
    fn take_free(&mut self) -> Option<Frame>;

    /// Collects the sent frames and hands the queued ones to the kernel, without calling it.
    fn submit(&mut self);

    /// Calls the kernel to send, once, if anything is left to be sent and it wants to be called.
    fn kick(&mut self);

    /// [`Port::submit`] and [`Port::kick`].
    #[inline]
    fn flush(&mut self) {
        self.submit();
        self.kick();
    }

    /// True while frames are queued, or given to the kernel and not reported sent: a later flush has something to do.
    fn tx_outstanding(&self) -> bool;

    /// Where the frames are.
    fn ledger(&self) -> FrameLedger;

    /// What was counted since the start.
    fn counters(&self) -> PortCounters;

    /// What the kernel counted since the start.
    fn kernel_statistics(&self) -> KernelStatistics;

    /// Blocks until a frame is there to receive, `timeout` is over or a signal came. For a worker that has nothing else to do.
    fn wait(&mut self, timeout: Duration);
}
