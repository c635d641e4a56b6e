//! What every port with four rings does alike. What is here: the order of work of [`Port`] over any [`Rings`]: where
//! frames wait, how the fill ring is kept full, when the kernel is called, and the counting. What is not here: the
//! memory and the rings themselves, which are AF_XDP's (`xsk`) or a model of them ([`super::memory`]).
//!
//! The in-memory port and the AF_XDP port share this code, so that a test over memory tests what runs over a NIC.

#![forbid(unsafe_code)]

use super::{Burst, Frame, FrameLedger, KernelStatistics, Port, PortCounters};
use crate::arch::prefetch;
use std::collections::VecDeque;
use std::time::Duration;

/// One part in this many of a port's frames is kept back from the fill ring, for [`Port::take_free`].
const RESERVE_DIVISOR: usize = 8;
/// Never more frames than this are kept back.
const RESERVE_MOST: usize = 256;

/// How many of `frames` frames the fill ring never gets, so that a retransmission finds a free one while everything else
/// waits for packets.
pub const fn reserved_frames(frames: usize) -> usize {
    let share = frames / RESERVE_DIVISOR;
    if share < RESERVE_MOST { share } else { RESERVE_MOST }
}

/// What came of asking the kernel to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kick {
    /// Nothing waits in the TX ring, or the kernel works by itself: no call was made.
    NotNeeded,
    /// The kernel took its budget of frames.
    Done,
    /// EAGAIN, EBUSY or ENOBUFS: work is left.
    Again,
    /// Another error; the frames stay in the TX ring.
    Failed,
}

/// The fill, RX, TX and completion ring of one queue, and the memory of its frames.
///
/// Tokens go in where the kernel takes a frame over, and new ones come out where it hands one back.
pub trait Rings {
    /// How many frames the fill ring takes now.
    fn fill_room(&mut self) -> usize;

    /// Hands `frames`, at most [`Rings::fill_room`] of them, to the kernel to receive into.
    fn fill(&mut self, frames: impl ExactSizeIterator<Item = Frame>);

    /// Calls the kernel if it asked to be told about new frames in the fill ring. True if a call was made.
    fn wake_fill(&mut self) -> bool;

    /// Takes received frames out of the RX ring into `burst`, as many as it has room for. Returns how many.
    fn receive(&mut self, burst: &mut Burst) -> usize;

    /// How many frames the TX ring takes now.
    fn tx_room(&mut self) -> usize;

    /// Hands `frames`, at most [`Rings::tx_room`] of them, to the kernel to send.
    fn send(&mut self, frames: impl ExactSizeIterator<Item = Frame>);

    /// Calls the kernel to send what is in the TX ring, if it wants to be called.
    fn kick(&mut self) -> Kick;

    /// Takes sent frames out of the completion ring, all there are, to the end of `free`. Returns how many.
    fn reap(&mut self, free: &mut Vec<Frame>) -> usize;

    /// Makes `frame` empty, with the packet start where the room behind it is [`Rings::max_packet_len`].
    fn reset(&mut self, frame: Frame) -> Frame;

    /// As [`Port::bytes`].
    fn bytes(&self, frame: &Frame) -> &[u8];

    /// As [`Port::prefetch`].
    #[inline]
    fn prefetch(&self, frame: &Frame) {
        prefetch::headers(self.bytes(frame));
    }

    /// As [`Port::bytes_mut`].
    fn bytes_mut(&mut self, frame: &mut Frame) -> &mut [u8];

    /// How many bytes fit behind the packet start of `frame`.
    fn room(&self, frame: &Frame) -> usize;

    /// As [`Port::max_packet_len`]: the least [`Rings::room`] of any frame.
    fn max_packet_len(&self) -> usize;

    /// As [`Port::kernel_statistics`].
    fn kernel_statistics(&self) -> KernelStatistics;

    /// As [`Port::wait`].
    fn wait(&mut self, timeout: Duration);
}

/// A port over four rings.
#[derive(Debug)]
pub struct RingPort<R> {
    pub(super) rings: R,
    /// Frames that nobody has; the last recycled is the first reused, because its bytes are still in the cache.
    free: Vec<Frame>,
    /// Frames to send, in order, that are not in the TX ring yet.
    pending: VecDeque<Frame>,
    /// How many frames are the kernel's to receive into, as soon as they are free: what the fill ring holds, or all but
    /// the reserve. Nothing that we send by ourselves may eat into them, or we would be deaf while the link is jammed.
    fill_due: usize,
    /// How many frames there are.
    total: usize,
    /// How many frames the kernel has to receive into.
    fill: usize,
    /// How many frames the worker has.
    in_hand: usize,
    /// How many frames the kernel has to send.
    tx: usize,
    counters: PortCounters,
}

/// A count of frames as the ledger has it.
fn count(frames: usize) -> u64 {
    u64::try_from(frames).expect("a frame count fits 64 bits")
}

impl<R: Rings> RingPort<R> {
    /// A port over `rings`, whose frames are all in `free`. All memory that the port ever needs is allocated here.
    pub(super) fn over(mut rings: R, free: Vec<Frame>) -> Self {
        let total = free.len();
        let pending = VecDeque::with_capacity(total);
        let fill_due = rings.fill_room().min(total - reserved_frames(total));
        let counters = PortCounters::default();
        Self { rings, free, pending, fill_due, total, fill: 0, in_hand: 0, tx: 0, counters }
    }

    /// Collects sent frames.
    fn reap(&mut self) {
        if self.tx > 0 {
            let reaped = self.rings.reap(&mut self.free);
            self.tx -= reaped;
            self.counters.tx_completed += count(reaped);
        }
    }

    /// Gives the kernel its due of frames to receive into, as far as there are free ones.
    fn refill(&mut self) {
        let short = self.rings.fill_room().min(self.fill_due - self.fill);
        if short > self.free.len() {
            self.counters.fill_starved += 1;
        }
        let given = short.min(self.free.len());
        if given > 0 {
            self.rings.fill(self.free.drain(self.free.len() - given..));
            self.fill += given;
        }
        if self.rings.wake_fill() {
            self.counters.rx_wakeups += 1;
        }
    }

    /// True if a frame is free that is not the kernel's due.
    fn has_frame_to_take(&self) -> bool {
        let out = self.in_hand + self.pending.len() + self.tx;
        out < self.total - self.fill_due && !self.free.is_empty()
    }

    /// Moves queued frames into the TX ring, as many as fit.
    fn send_pending(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let sent = self.pending.len().min(self.rings.tx_room());
        if sent < self.pending.len() {
            self.counters.tx_ring_full += 1;
        }
        let mut bytes = 0;
        self.rings.send(self.pending.drain(..sent).inspect(|frame| bytes += u64::from(frame.len)));
        self.tx += sent;
        self.counters.tx_frames += count(sent);
        self.counters.tx_bytes += bytes;
    }

    /// Has the kernel send, and counts what it says.
    fn call_kernel(&mut self) {
        match self.rings.kick() {
            Kick::NotNeeded => return,
            Kick::Done => {}
            Kick::Again => self.counters.tx_kicks_again += 1,
            Kick::Failed => self.counters.tx_kicks_failed += 1,
        }
        self.counters.tx_kicks += 1;
    }
}

impl<R: Rings> Port for RingPort<R> {
    fn receive(&mut self, burst: &mut Burst) -> usize {
        self.reap();
        self.refill();
        let before = burst.len();
        let received = self.rings.receive(burst);
        self.fill -= received;
        self.in_hand += received;
        self.counters.rx_frames += count(received);
        self.counters.rx_bytes += burst.frames()[before..].iter().map(|frame| u64::from(frame.len)).sum::<u64>();
        received
    }

    #[inline]
    fn bytes(&self, frame: &Frame) -> &[u8] {
        self.rings.bytes(frame)
    }

    #[inline]
    fn prefetch(&self, frame: &Frame) {
        self.rings.prefetch(frame);
    }

    #[inline]
    fn bytes_mut(&mut self, frame: &mut Frame) -> &mut [u8] {
        self.rings.bytes_mut(frame)
    }

    fn max_packet_len(&self) -> usize {
        self.rings.max_packet_len()
    }

    #[inline]
    fn transmit(&mut self, mut frame: Frame, len: usize) {
        let room = self.rings.room(&frame);
        assert!((1..=room).contains(&len), "transmit of {len} bytes from a frame with room for {room}");
        frame.len = u32::try_from(len).expect("a frame's room fits 32 bits");
        self.in_hand -= 1;
        self.pending.push_back(frame);
    }

    #[inline]
    fn recycle(&mut self, frame: Frame) {
        self.in_hand -= 1;
        self.free.push(frame);
    }

    fn take_free(&mut self) -> Option<Frame> {
        if !self.has_frame_to_take() {
            self.reap();
        }
        let frame = if self.has_frame_to_take() { self.free.pop() } else { None };
        let Some(frame) = frame else {
            self.counters.no_free_frame += 1;
            return None;
        };
        self.in_hand += 1;
        Some(self.rings.reset(frame))
    }

    fn submit(&mut self) {
        // Room in the completion ring first: without it the kernel does not send.
        self.reap();
        self.send_pending();
    }

    fn kick(&mut self) {
        if self.tx > 0 {
            self.call_kernel();
        }
        debug_assert!(self.ledger().balances(), "a frame is lost or twice owned: {:?}", self.ledger());
    }

    fn tx_outstanding(&self) -> bool {
        self.tx > 0 || !self.pending.is_empty()
    }

    fn ledger(&self) -> FrameLedger {
        FrameLedger {
            total: count(self.total),
            fill: count(self.fill),
            in_hand: count(self.in_hand),
            tx_pending: count(self.pending.len()),
            tx: count(self.tx),
            free: count(self.free.len()),
        }
    }

    fn counters(&self) -> PortCounters {
        self.counters
    }

    fn kernel_statistics(&self) -> KernelStatistics {
        self.rings.kernel_statistics()
    }

    fn wait(&mut self, timeout: Duration) {
        self.rings.wait(timeout);
    }
}
