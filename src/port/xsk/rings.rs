//! The four rings of an AF_XDP socket. What is here: [`Rings`] over xsk-rs, and the two system calls that wake the kernel.
//! What is not here: when to do what ([`crate::port::rings`]), and how the socket came to be (`bind`).

use super::umem::Frames;
use crate::port::rings::{Kick, Rings};
use crate::port::{BURST_FRAMES, Burst, Frame, KernelStatistics};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use rustix::net::sockopt::xdp_statistics;
use rustix::net::{RecvFlags, SendFlags};
use std::os::fd::AsRawFd;
use std::time::Duration;
use xsk_rs::{CompQueue, FillQueue, FrameDesc, RxQueue, TxQueue};

/// How many descriptors cross a ring in one step.
const STEP: usize = BURST_FRAMES;
/// [`STEP`] as ring counts are typed.
const STEP_U32: u32 = 64;
const _: () = assert!(STEP == 64);

/// The rings and frames of one socket: what an [`super::XskPort`] is made over.
#[derive(Debug)]
pub struct XskRings {
    fill: FillQueue,
    rx: RxQueue,
    tx: TxQueue,
    completion: CompQueue,
    frames: Frames,
    /// Descriptors on their way into a ring, at most [`STEP`].
    outgoing: Vec<FrameDesc>,
    /// Descriptors on their way out of a ring.
    incoming: Box<[FrameDesc; STEP]>,
    /// Places in the TX ring.
    tx_size: u32,
    need_wakeup: bool,
    /// True if the kernel's driver moves the frames itself.
    pub(super) zero_copy: bool,
    /// True if the driver's poll runs when the kernel is called, and not by itself.
    pub(super) busy_poll: bool,
    /// How many frames the kernel was told to send at a kick, if it was.
    pub(super) tx_budget: Option<u32>,
}

/// What [`XskRings`] are made of, besides the frames.
pub(super) struct Parts {
    pub(super) fill: FillQueue,
    pub(super) rx: RxQueue,
    pub(super) tx: TxQueue,
    pub(super) completion: CompQueue,
    pub(super) tx_size: u32,
    pub(super) need_wakeup: bool,
}

/// Moves `descs` by steps into a ring; `produce` says how many it took, which has to be all.
fn produce_all(
    outgoing: &mut Vec<FrameDesc>,
    mut descs: impl Iterator<Item = FrameDesc>,
    mut produce: impl FnMut(&[FrameDesc]) -> usize,
) {
    loop {
        outgoing.clear();
        outgoing.extend(descs.by_ref().take(STEP));
        if outgoing.is_empty() {
            return;
        }
        assert_eq!(produce(outgoing), outgoing.len(), "more descriptors for a ring than it has room for");
    }
}

impl XskRings {
    /// The rings of a socket in copy mode with the kernel's own TX budget, until `bind` has asked.
    pub(super) fn new(parts: Parts, frames: Frames) -> Self {
        let Parts { fill, rx, tx, completion, tx_size, need_wakeup } = parts;
        Self {
            fill,
            rx,
            tx,
            completion,
            frames,
            outgoing: Vec::with_capacity(STEP),
            incoming: Box::new([FrameDesc::default(); STEP]),
            tx_size,
            need_wakeup,
            zero_copy: false,
            busy_poll: false,
            tx_budget: None,
        }
    }

    /// The socket.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        let fd = self.tx.fd().as_raw_fd();
        // SAFETY: the socket is open as long as its queues, which `self` owns, and the result borrows `self`.
        unsafe { BorrowedFd::borrow_raw(fd) }
    }

    /// True if the kernel does not send by itself what is in its hands.
    ///
    /// In copy mode that is what it has not taken out of the TX ring; completions come without a call. A zero-copy driver
    /// may also have to be called to look for completions.
    fn wants_kick(&mut self) -> bool {
        if self.need_wakeup && !self.tx.needs_wakeup() {
            return false;
        }
        self.zero_copy || self.tx.nb_free_exact() < self.tx_size
    }
}

/// A ring's 32-bit count as an index.
fn to_usize(n: u32) -> usize {
    usize::try_from(n).expect("xsk-rs needs pointers of 64 bits")
}

impl Rings for XskRings {
    #[inline]
    fn fill_room(&mut self) -> usize {
        // The cached count will do while it promises a step; it is never too high.
        to_usize(self.fill.nb_free(STEP_U32))
    }

    fn fill(&mut self, frames: impl ExactSizeIterator<Item = Frame>) {
        let Self { fill, frames: chunks, outgoing, .. } = self;
        let descs = frames.map(|frame| chunks.hand_over(frame));
        produce_all(outgoing, descs, |step| {
            // SAFETY: `Frames::hand_over` made each descriptor from its token, which is gone, and marked the chunk as the
            // kernel's: nobody touches it until `receive` takes it over.
            unsafe { fill.produce(step) }
        });
    }

    #[inline]
    fn wake_fill(&mut self) -> bool {
        // While it is polled, the driver receives nothing but in this call.
        let wanted = self.busy_poll || self.need_wakeup && self.fill.needs_wakeup();
        if wanted {
            // What the driver answers changes nothing here: it is called again as long as it wants to be.
            let _ = rustix::net::recv(self.fd(), &mut [0u8; 0][..], RecvFlags::DONTWAIT);
        }
        wanted
    }

    fn receive(&mut self, burst: &mut Burst) -> usize {
        let most = burst.room().min(STEP);
        // SAFETY: all descriptors in this RX ring are of this UMEM, because the socket shares it with no other.
        let received = unsafe { self.rx.consume(&mut self.incoming[..most]) };
        for desc in &self.incoming[..received] {
            burst.push(self.frames.take_over(*desc));
        }
        received
    }

    #[inline]
    fn tx_room(&mut self) -> usize {
        to_usize(self.tx.nb_free(self.tx_size))
    }

    fn send(&mut self, frames: impl ExactSizeIterator<Item = Frame>) {
        let Self { tx, frames: chunks, outgoing, .. } = self;
        let descs = frames.map(|frame| chunks.hand_over(frame));
        produce_all(outgoing, descs, |step| {
            // SAFETY: as in `fill`; here `reap` takes the chunk over again.
            unsafe { tx.produce(step) }
        });
    }

    fn kick(&mut self) -> Kick {
        if !self.wants_kick() {
            return Kick::NotNeeded;
        }
        match rustix::net::send(self.fd(), &[], SendFlags::DONTWAIT) {
            Ok(_) => Kick::Done,
            Err(Errno::AGAIN | Errno::BUSY | Errno::NOBUFS) => Kick::Again,
            Err(_) => Kick::Failed,
        }
    }

    fn reap(&mut self, free: &mut Vec<Frame>) -> usize {
        let before = free.len();
        loop {
            // SAFETY: all descriptors in this completion ring are of this UMEM, because the socket shares it with no other.
            let reaped = unsafe { self.completion.consume(&mut self.incoming[..]) };
            free.extend(self.incoming[..reaped].iter().map(|desc| self.frames.take_over(*desc)));
            if reaped < STEP {
                return free.len() - before;
            }
        }
    }

    fn reset(&mut self, frame: Frame) -> Frame {
        self.frames.reset(frame)
    }

    #[inline]
    fn bytes(&self, frame: &Frame) -> &[u8] {
        self.frames.bytes(frame)
    }

    #[inline]
    fn bytes_mut(&mut self, frame: &mut Frame) -> &mut [u8] {
        self.frames.bytes_mut(frame)
    }

    fn room(&self, frame: &Frame) -> usize {
        self.frames.room(frame)
    }

    fn max_packet_len(&self) -> usize {
        self.frames.max_packet_len()
    }

    fn kernel_statistics(&self) -> KernelStatistics {
        // On an open socket the call has no error to expect; zeros would show in the ledger of the frames.
        let Ok(kernel) = xdp_statistics(self.fd()) else { return KernelStatistics::default() };
        KernelStatistics {
            rx_dropped: kernel.rx_dropped,
            rx_invalid_descs: kernel.rx_invalid_descs,
            tx_invalid_descs: kernel.tx_invalid_descs,
            rx_ring_full: kernel.rx_ring_full.unwrap_or(0),
            rx_fill_ring_empty_descs: kernel.rx_fill_ring_empty_descs.unwrap_or(0),
            tx_ring_empty_descs: kernel.tx_ring_empty_descs.unwrap_or(0),
        }
    }

    fn wait(&mut self, timeout: Duration) {
        let Ok(timeout) = Timespec::try_from(timeout) else { return };
        let mut fds = [PollFd::from_borrowed_fd(self.fd(), PollFlags::IN)];
        // What poll says does not matter: the caller looks at the ring next. After an error it only looks more often.
        let _ = poll(&mut fds, Some(&timeout));
    }
}
