//! A port whose rings and frames lie in ordinary memory. What is here: the four AF_XDP rings of one queue with the
//! kernel's side played by the owner of the port, step by step: a packet arrives ([`MemoryPort::inject`]), the kernel
//! sends at a kick up to its budget, the peer takes what was sent ([`MemoryPort::take_sent`]), and only then the frame
//! is completed. What is not here: threads, time, loss and delay (a simulation adds them between two ports).
//!
//! Each ring can be starved as a real one: no free frame in the fill ring, an RX ring that nobody empties, a kernel that
//! does not send ([`MemoryPort::set_tx_budget`]), completions that do not come because the peer sits on the packets. On
//! a veth the last is what really happens: a completion is posted when the peer has freed the packet.

#![forbid(unsafe_code)]

use super::chunks::Chunks;
use super::rings::{Kick, RingPort, Rings};
use super::{Burst, Frame, KernelStatistics, Port};
use crate::arch::prefetch;
use std::time::Duration;

/// Bytes in front of each packet in its frame, as XDP has them (XDP_PACKET_HEADROOM).
const HEADROOM: u32 = 256;

/// The measures of a [`MemoryPort`]. Rings and frames are counted in powers of two, as the kernel wants them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryConfig {
    /// How many frames the port has.
    pub frames: u32,
    /// Bytes in a frame; 256 of them lie in front of the packet.
    pub frame_size: u32,
    /// Places in the fill ring.
    pub fill_ring: u32,
    /// Places in the RX ring.
    pub rx_ring: u32,
    /// Places in the TX ring.
    pub tx_ring: u32,
    /// Places in the completion ring.
    pub completion_ring: u32,
    /// How many frames the kernel sends at a kick.
    pub tx_budget: u32,
}

impl Default for MemoryConfig {
    /// The measures of a default AF_XDP port.
    fn default() -> Self {
        Self {
            frames: 4096,
            frame_size: 2048,
            fill_ring: 2048,
            rx_ring: 2048,
            tx_ring: 2048,
            completion_ring: 2048,
            tx_budget: 512,
        }
    }
}

/// What became of an injected packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Injected {
    /// It lies in the RX ring.
    Received,
    /// Dropped: longer than a frame has room for.
    TooLong,
    /// Dropped: the fill ring has no frame.
    FillRingEmpty,
    /// Dropped: the RX ring has no place.
    RxRingFull,
}

/// What the kernel's side of a [`MemoryPort`] dropped, in the words of XDP_STATISTICS. Units: packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryDrops {
    /// Longer than a frame has room for.
    pub rx_dropped: u64,
    /// No place in the RX ring.
    pub rx_ring_full: u64,
    /// No frame in the fill ring.
    pub rx_fill_ring_empty: u64,
}

/// A ring of fixed size; the one who produces asks for room first. The positions run on and wrap at 2^32, as in the kernel.
#[derive(Debug)]
struct Ring<T> {
    entries: Box<[T]>,
    produced: u32,
    consumed: u32,
}

impl<T: Copy + Default> Ring<T> {
    fn new(size: u32) -> Self {
        assert!(size.is_power_of_two(), "a ring of {size} places: AF_XDP wants a power of two");
        Self { entries: vec![T::default(); to_usize(size)].into_boxed_slice(), produced: 0, consumed: 0 }
    }

    fn len(&self) -> usize {
        to_usize(self.produced.wrapping_sub(self.consumed))
    }

    fn is_empty(&self) -> bool {
        self.produced == self.consumed
    }

    fn room(&self) -> usize {
        self.entries.len() - self.len()
    }

    /// The place of a position.
    fn place(&self, position: u32) -> usize {
        to_usize(position) & (self.entries.len() - 1)
    }

    fn produce(&mut self, entry: T) {
        assert!(self.room() > 0, "produced into a full ring");
        let place = self.place(self.produced);
        self.entries[place] = entry;
        self.produced = self.produced.wrapping_add(1);
    }

    /// The oldest entry, left in the ring.
    fn first(&self) -> Option<T> {
        (!self.is_empty()).then(|| self.entries[self.place(self.consumed)])
    }

    /// Takes the oldest entry out.
    fn consume(&mut self) -> Option<T> {
        let first = self.first()?;
        self.consumed = self.consumed.wrapping_add(1);
        Some(first)
    }
}

/// A packet in the kernel's hands.
#[derive(Clone, Copy, Debug, Default)]
struct Desc {
    addr: u64,
    len: u32,
}

/// Rings and frames in ordinary memory: what a [`MemoryPort`] is made over.
#[derive(Debug)]
pub struct MemoryRings {
    memory: Box<[u8]>,
    frame_size: u32,
    chunks: Chunks,
    fill: Ring<u64>,
    rx: Ring<Desc>,
    tx: Ring<Desc>,
    completion: Ring<u64>,
    /// Sent, and not yet taken by the peer. Each holds a place in the completion ring, as in the kernel.
    wire: Ring<Desc>,
    tx_budget: u32,
    drops: MemoryDrops,
}

/// A count or offset of the port's memory as an index.
fn to_usize(n: u32) -> usize {
    usize::try_from(n).expect("handfast needs pointers of 32 bits or more")
}

/// An address in the port's memory as an index.
fn offset(addr: u64) -> usize {
    usize::try_from(addr).expect("an address inside an allocation")
}

impl MemoryRings {
    fn new(config: &MemoryConfig) -> Self {
        assert!(config.frames.is_power_of_two(), "{} frames: AF_XDP ports have a power of two", config.frames);
        assert!(config.frame_size > HEADROOM, "frames of {} bytes have no room for a packet", config.frame_size);
        let frames = to_usize(config.frames);
        Self {
            memory: vec![0; frames * to_usize(config.frame_size)].into_boxed_slice(),
            frame_size: config.frame_size,
            chunks: Chunks::new(frames, config.frame_size),
            fill: Ring::new(config.fill_ring),
            rx: Ring::new(config.rx_ring),
            tx: Ring::new(config.tx_ring),
            completion: Ring::new(config.completion_ring),
            wire: Ring::new(config.completion_ring),
            tx_budget: config.tx_budget,
            drops: MemoryDrops::default(),
        }
    }

    /// Start of the packet in the frame that `addr` lies in, where the kernel puts it.
    fn packet_start(&self, addr: u64) -> u64 {
        (addr & !u64::from(self.frame_size - 1)) + u64::from(HEADROOM)
    }

    fn inject(&mut self, packet: &[u8]) -> Injected {
        if packet.len() > self.max_packet_len() {
            self.drops.rx_dropped += 1;
            return Injected::TooLong;
        }
        let Some(addr) = self.fill.first() else {
            self.drops.rx_fill_ring_empty += 1;
            return Injected::FillRingEmpty;
        };
        if self.rx.room() == 0 {
            self.drops.rx_ring_full += 1;
            return Injected::RxRingFull;
        }
        let addr = self.packet_start(addr);
        self.fill.consume();
        let start = offset(addr);
        self.memory[start..start + packet.len()].copy_from_slice(packet);
        let len = u32::try_from(packet.len()).expect("shorter than a frame");
        self.rx.produce(Desc { addr, len });
        Injected::Received
    }

    /// The kernel's sending: up to the budget, and only while a place in the completion ring can be reserved.
    fn send_to_wire(&mut self) {
        for _ in 0..self.tx_budget {
            if self.completion.room() <= self.wire.len() {
                return;
            }
            let Some(desc) = self.tx.consume() else { return };
            self.wire.produce(desc);
        }
    }

    fn take_sent(&mut self, most: usize, mut each: impl FnMut(&[u8])) -> usize {
        let mut taken = 0;
        while taken < most
            && let Some(desc) = self.wire.consume()
        {
            let start = offset(desc.addr);
            each(&self.memory[start..start + to_usize(desc.len)]);
            self.completion.produce(desc.addr);
            taken += 1;
        }
        taken
    }
}

impl Rings for MemoryRings {
    fn fill_room(&mut self) -> usize {
        self.fill.room()
    }

    fn fill(&mut self, frames: impl ExactSizeIterator<Item = Frame>) {
        for frame in frames {
            let addr = frame.addr;
            self.chunks.hand_over(frame);
            self.fill.produce(addr);
        }
    }

    fn wake_fill(&mut self) -> bool {
        false
    }

    fn receive(&mut self, burst: &mut Burst) -> usize {
        let received = burst.room().min(self.rx.len());
        for Desc { addr, len } in std::iter::from_fn(|| self.rx.consume()).take(received) {
            self.chunks.take_over(addr);
            burst.push(Frame { addr, len });
        }
        received
    }

    fn tx_room(&mut self) -> usize {
        self.tx.room()
    }

    fn send(&mut self, frames: impl ExactSizeIterator<Item = Frame>) {
        for frame in frames {
            let desc = Desc { addr: frame.addr, len: frame.len };
            self.chunks.hand_over(frame);
            self.tx.produce(desc);
        }
    }

    fn kick(&mut self) -> Kick {
        if self.tx.is_empty() {
            return Kick::NotNeeded;
        }
        self.send_to_wire();
        if self.tx.is_empty() { Kick::Done } else { Kick::Again }
    }

    fn reap(&mut self, free: &mut Vec<Frame>) -> usize {
        let reaped = self.completion.len();
        while let Some(addr) = self.completion.consume() {
            self.chunks.take_over(addr);
            free.push(Frame { addr, len: 0 });
        }
        reaped
    }

    fn reset(&mut self, frame: Frame) -> Frame {
        Frame { addr: self.packet_start(frame.addr), len: 0 }
    }

    fn bytes(&self, frame: &Frame) -> &[u8] {
        self.chunks.ours(frame);
        let start = offset(frame.addr);
        &self.memory[start..start + frame.len()]
    }

    #[inline]
    fn prefetch(&self, frame: &Frame) {
        let start = offset(frame.addr);
        if let Some(packet) = self.memory.get(start..start + frame.len()) {
            prefetch::headers(packet);
        }
    }

    #[inline]
    fn bytes_mut(&mut self, frame: &mut Frame) -> &mut [u8] {
        self.chunks.ours(frame);
        let start = offset(frame.addr);
        let room = self.room(frame);
        &mut self.memory[start..start + room]
    }

    fn room(&self, frame: &Frame) -> usize {
        // A power of two, so that no division is needed.
        let size = u64::from(self.frame_size);
        offset(size - (frame.addr & (size - 1)))
    }

    fn max_packet_len(&self) -> usize {
        to_usize(self.frame_size - HEADROOM)
    }

    fn kernel_statistics(&self) -> KernelStatistics {
        let MemoryDrops { rx_dropped, rx_ring_full, rx_fill_ring_empty } = self.drops;
        KernelStatistics {
            // As the kernel counts: a packet without a frame to go into is dropped, too.
            rx_dropped: rx_dropped + rx_fill_ring_empty,
            rx_ring_full,
            rx_fill_ring_empty_descs: rx_fill_ring_empty,
            ..KernelStatistics::default()
        }
    }

    /// Returns at once: nothing arrives while the only one who could inject it waits.
    fn wait(&mut self, _timeout: Duration) {}
}

/// A port over ordinary memory; its owner plays the kernel and the peer.
///
/// # Example
///
/// ```
/// use handfast::port::memory::{Injected, MemoryConfig, MemoryPort};
/// use handfast::port::{Burst, Port};
///
/// let mut port = MemoryPort::new(&MemoryConfig::default());
/// let mut burst = Burst::new();
/// port.receive(&mut burst); // puts free frames into the fill ring
/// assert_eq!(port.inject(b"ping"), Injected::Received);
/// assert_eq!(port.receive(&mut burst), 1);
/// for mut frame in burst.drain() {
///     port.bytes_mut(&mut frame)[..4].copy_from_slice(b"pong");
///     port.transmit(frame, 4);
/// }
/// port.flush();
/// assert_eq!(port.take_sent(1, |packet| assert_eq!(packet, b"pong")), 1);
/// ```
pub type MemoryPort = RingPort<MemoryRings>;

impl MemoryPort {
    /// A port with empty rings and all frames free. The fill ring gets its first frames at the first
    /// [`Port::receive`].
    ///
    /// # Panics
    ///
    /// If a count or size in `config` is not a power of two, or a frame has no room for a packet.
    pub fn new(config: &MemoryConfig) -> Self {
        let rings = MemoryRings::new(config);
        let step = u64::from(config.frame_size);
        let free =
            (0..u64::from(config.frames)).map(|i| Frame { addr: i * step + u64::from(HEADROOM), len: 0 }).collect();
        Self::over(rings, free)
    }

    /// A packet arrives: it is copied into a frame of the fill ring, or dropped and counted as the kernel would.
    pub fn inject(&mut self, packet: &[u8]) -> Injected {
        self.rings.inject(packet)
    }

    /// The peer takes up to `most` packets that the kernel sent, first sent first; each is completed after `each` saw it.
    /// Returns how many.
    pub fn take_sent(&mut self, most: usize, each: impl FnMut(&[u8])) -> usize {
        self.rings.take_sent(most, each)
    }

    /// How many packets the kernel sent and no peer took yet.
    pub fn sent_waiting(&self) -> usize {
        self.rings.wire.len()
    }

    /// Sets how many frames the kernel sends at a kick; with 0 it sends none, and every kick ends in EAGAIN.
    pub fn set_tx_budget(&mut self, frames: u32) {
        self.rings.tx_budget = frames;
    }

    /// What was dropped on the way in since the start.
    pub fn drops(&self) -> MemoryDrops {
        self.rings.drops
    }

    /// The cable from here to `peer`: takes all packets sent here and injects them there. Returns how many; what `peer`
    /// could not take is in its [`MemoryPort::drops`].
    pub fn carry_to(&mut self, peer: &mut MemoryPort) -> usize {
        self.take_sent(usize::MAX, |packet| match peer.inject(packet) {
            Injected::Received | Injected::TooLong | Injected::FillRingEmpty | Injected::RxRingFull => {}
        })
    }

    /// The cable in both directions, once each. Returns how many packets moved.
    pub fn exchange(&mut self, peer: &mut MemoryPort) -> usize {
        self.carry_to(peer) + peer.carry_to(self)
    }

    /// Two ports of the same measures for the two ends of a cable, their fill rings filled;
    /// [`MemoryPort::exchange`] moves the packets.
    pub fn pair(config: &MemoryConfig) -> (MemoryPort, MemoryPort) {
        let mut ends = (Self::new(config), Self::new(config));
        let mut none = Burst::new();
        ends.0.receive(&mut none);
        ends.1.receive(&mut none);
        ends
    }
}
