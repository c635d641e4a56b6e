//! The in-memory port: each ring starved, and random walks over everything that can be done to it. It shares its order of
//! work with the AF_XDP port, so what is found here is found there too.

#[path = "common/alloc.rs"]
mod alloc;

use handfast::port::memory::{Injected, MemoryConfig, MemoryPort};
use handfast::port::rings::reserved_frames;
use handfast::port::{BURST_FRAMES, Burst, Frame, Port};
use proptest::prelude::*;
use std::collections::VecDeque;

/// A port of 64 frames whose rings are smaller than that.
fn small() -> MemoryConfig {
    MemoryConfig {
        frames: 64,
        frame_size: 512,
        fill_ring: 32,
        rx_ring: 8,
        tx_ring: 8,
        completion_ring: 8,
        tx_budget: 32,
    }
}

/// A port with its fill ring filled.
fn ready(config: &MemoryConfig) -> MemoryPort {
    let mut port = MemoryPort::new(config);
    assert_eq!(port.receive(&mut Burst::new()), 0);
    port
}

/// Injects `n` packets that the port has to take, and receives them.
fn receive(port: &mut MemoryPort, n: usize) -> Vec<Frame> {
    let mut burst = Burst::new();
    let mut frames = Vec::new();
    for i in 0..n {
        assert_eq!(port.inject(&[u8::try_from(i % 251).unwrap(); 60]), Injected::Received);
        port.receive(&mut burst);
        frames.extend(burst.drain());
    }
    assert_eq!(frames.len(), n);
    frames
}

#[test]
fn a_fill_ring_without_frames_drops_and_says_so() {
    let mut port = ready(&small());
    let held = receive(&mut port, 64);
    assert_eq!(port.inject(&[0; 60]), Injected::FillRingEmpty);
    assert_eq!(port.receive(&mut Burst::new()), 0);
    assert!(port.counters().fill_starved > 0);
    assert_eq!(port.drops().rx_fill_ring_empty, 1);
    assert_eq!(port.ledger().in_hand, 64);

    held.into_iter().for_each(|frame| port.recycle(frame));
    port.receive(&mut Burst::new());
    assert_eq!(port.inject(&[0; 60]), Injected::Received, "recycled frames reach the fill ring");
}

#[test]
fn the_reserve_serves_take_free_when_all_else_waits_for_packets() {
    let mut port = ready(&MemoryConfig { fill_ring: 64, ..small() });
    let taken: Vec<_> = std::iter::from_fn(|| port.take_free()).collect();
    assert_eq!(taken.len(), reserved_frames(64));
    assert_eq!(port.counters().no_free_frame, 1);
    assert!(port.ledger().balances());
    taken.into_iter().for_each(|frame| port.recycle(frame));
    assert_eq!(port.ledger().in_hand, 0);
    assert_eq!(port.counters().fill_starved, 0, "a reserve is not a want");
}

#[test]
fn a_jammed_link_does_not_make_the_port_deaf() {
    let mut port = ready(&small());
    port.set_tx_budget(0);
    while let Some(frame) = port.take_free() {
        port.transmit(frame, 60);
        port.flush();
    }
    assert_eq!(port.ledger().tx + port.ledger().tx_pending, 32, "what is not the fill ring's");
    for _ in 0..100 {
        receive(&mut port, 1).into_iter().for_each(|frame| port.recycle(frame));
        assert!(port.take_free().is_none(), "the recycled frame is the fill ring's");
    }
    assert_eq!(port.drops(), Default::default());
}

#[test]
fn an_rx_ring_that_nobody_empties_drops_and_says_so() {
    let mut port = ready(&small());
    let taken = (0..20).filter(|_| port.inject(&[7; 60]) == Injected::Received).count();
    assert_eq!(taken, 8);
    assert_eq!(port.drops().rx_ring_full, 12);
    let mut burst = Burst::new();
    assert_eq!(port.receive(&mut burst), 8);
    burst.drain().for_each(|frame| port.recycle(frame));
    assert_eq!(port.inject(&[7; 60]), Injected::Received);
}

#[test]
fn a_packet_longer_than_a_frame_is_dropped_and_counted() {
    let mut port = ready(&small());
    assert_eq!(port.max_packet_len(), 256);
    assert_eq!(port.inject(&[0; 257]), Injected::TooLong);
    assert_eq!(port.inject(&[0; 256]), Injected::Received);
    assert_eq!(port.drops().rx_dropped, 1);
}

#[test]
fn frames_beyond_the_tx_ring_wait_in_order() {
    let mut port = ready(&small());
    for (i, frame) in receive(&mut port, 30).into_iter().enumerate() {
        port.transmit(frame, 14 + i);
    }
    port.set_tx_budget(0);
    port.flush();
    assert_eq!((port.ledger().tx, port.ledger().tx_pending), (8, 22));
    assert_eq!(port.counters().tx_ring_full, 1);
    assert_eq!(port.counters().tx_kicks_again, 1, "the kernel sent nothing and wants another kick");

    port.set_tx_budget(32);
    let mut seen = Vec::new();
    while port.tx_outstanding() {
        port.flush();
        port.take_sent(usize::MAX, |packet| seen.push(packet.len()));
    }
    assert_eq!(seen, (14..44).collect::<Vec<_>>());
    assert_eq!(port.counters().tx_frames, 30);
    assert_eq!(port.ledger().free + port.ledger().fill, 64);
}

#[test]
fn a_peer_that_sits_on_its_packets_stops_the_sender_without_loss() {
    let mut port = ready(&small());
    for frame in receive(&mut port, 20) {
        port.transmit(frame, 60);
    }
    for _ in 0..10 {
        port.flush();
    }
    assert_eq!(port.sent_waiting(), 8, "no more than the completion ring has places for");
    assert_eq!(port.ledger().tx + port.ledger().tx_pending, 20);
    let mut count = 0;
    while port.tx_outstanding() {
        count += port.take_sent(3, |_| {});
        port.flush();
    }
    assert_eq!(count, 20);
}

#[test]
fn a_reply_may_be_as_long_as_the_port_promises_whatever_was_received() {
    let mut port = ready(&small());
    for mut frame in receive(&mut port, 1) {
        assert_eq!(port.bytes(&frame), [0; 60]);
        let room = port.bytes_mut(&mut frame);
        assert!(room.len() >= 256);
        room[..256].fill(9);
        port.transmit(frame, 256);
    }
    port.flush();
    assert_eq!(port.take_sent(1, |packet| assert_eq!(packet, [9; 256])), 1);
}

#[test]
#[should_panic(expected = "transmit of 0 bytes")]
fn a_transmission_of_nothing_is_our_bug() {
    let mut port = ready(&small());
    let frame = port.take_free().unwrap();
    port.transmit(frame, 0);
}

#[test]
#[should_panic(expected = "transmit of 257 bytes")]
fn a_transmission_beyond_the_frame_is_our_bug() {
    let mut port = ready(&small());
    let frame = port.take_free().unwrap();
    port.transmit(frame, 257);
}

#[test]
#[should_panic(expected = "which the kernel has")]
fn a_frame_of_another_port_is_refused_where_the_kernel_has_ours() {
    let mut port = ready(&MemoryConfig { fill_ring: 64, ..small() });
    let mut other = MemoryPort::new(&small());
    let mut foreign = Vec::new();
    while let Some(frame) = other.take_free() {
        foreign.push(frame);
    }
    for frame in &mut foreign {
        port.bytes_mut(frame).fill(0);
    }
}

#[test]
fn packets_cross_the_cable_between_two_ports_and_back() {
    let (mut a, mut b) = MemoryPort::pair(&small());
    let mut burst = Burst::new();
    let mut returned = 0;
    for round in 0..1000_u32 {
        let mut frame = a.take_free().unwrap();
        a.bytes_mut(&mut frame)[..4].copy_from_slice(&round.to_be_bytes());
        a.transmit(frame, 60);
        a.flush();
        assert_eq!(a.exchange(&mut b), 1);
        assert_eq!(b.receive(&mut burst), 1);
        burst.drain().for_each(|frame| b.transmit(frame, 60));
        b.flush();
        assert_eq!(a.exchange(&mut b), 1);
        a.receive(&mut burst);
        for frame in burst.drain() {
            assert_eq!(a.bytes(&frame)[..4], round.to_be_bytes());
            returned += 1;
            a.recycle(frame);
        }
        b.flush();
    }
    assert_eq!(returned, 1000);
    assert_eq!(a.drops(), Default::default());
    assert_eq!(a.counters().rx_frames, b.counters().tx_frames);
    assert_eq!(a.counters().rx_bytes, b.counters().tx_bytes);
}

#[test]
fn a_port_in_use_allocates_nothing() {
    let (mut a, mut b) = MemoryPort::pair(&small());
    let mut burst = Burst::new();
    let before = alloc::allocations();
    for _ in 0..1000 {
        while let Some(mut frame) = a.take_free() {
            a.bytes_mut(&mut frame)[..60].fill(2);
            a.transmit(frame, 60);
        }
        a.flush();
        a.exchange(&mut b);
        b.receive(&mut burst);
        burst.drain().for_each(|frame| b.transmit(frame, 60));
        b.flush();
        a.receive(&mut burst);
        burst.drain().for_each(|frame| a.recycle(frame));
    }
    assert_eq!(alloc::allocations(), before);
    assert!(a.counters().rx_frames > 1000);
}

/// What a random walk does next.
#[derive(Clone, Copy, Debug)]
enum Step {
    Inject,
    Receive,
    Transmit,
    Recycle,
    TakeFree,
    Flush,
    TakeSent(usize),
    TxBudget(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Inject),
        4 => Just(Step::Receive),
        4 => Just(Step::Transmit),
        2 => Just(Step::Recycle),
        2 => Just(Step::TakeFree),
        3 => Just(Step::Flush),
        3 => (0..10_usize).prop_map(Step::TakeSent),
        1 => (0..6_u32).prop_map(Step::TxBudget),
    ]
}

/// A port, the frames in hand, and what must come out of it. Each packet and each frame in hand carries an own number: a
/// frame with two owners would show the wrong one.
struct Walk {
    port: MemoryPort,
    hand: VecDeque<(Frame, u64)>,
    in_rx_ring: VecDeque<u64>,
    to_be_sent: VecDeque<u64>,
    next: u64,
}

impl Walk {
    fn new(config: &MemoryConfig) -> Self {
        let port = MemoryPort::new(config);
        Self { port, hand: VecDeque::new(), in_rx_ring: VecDeque::new(), to_be_sent: VecDeque::new(), next: 0 }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Takes the oldest frame in hand after checking that it still carries its number.
    fn take_from_hand(&mut self) -> Option<(Frame, u64)> {
        let (mut frame, number) = self.hand.pop_front()?;
        assert_eq!(self.port.bytes_mut(&mut frame)[..8], number.to_be_bytes(), "a frame has two owners");
        Some((frame, number))
    }

    fn receive(&mut self) {
        let mut burst = Burst::new();
        self.port.receive(&mut burst);
        for frame in burst.drain() {
            let number = self.in_rx_ring.pop_front().expect("received no more than was injected");
            assert_eq!(self.port.bytes(&frame)[..8], number.to_be_bytes());
            self.hand.push_back((frame, number));
        }
    }

    fn take_sent(&mut self, most: usize) {
        let to_be_sent = &mut self.to_be_sent;
        self.port.take_sent(most, |packet| {
            let number = to_be_sent.pop_front().expect("sent no more than was transmitted");
            assert_eq!(packet[..8], number.to_be_bytes());
        });
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Inject => {
                let number = self.number();
                if self.port.inject(&number.to_be_bytes()) == Injected::Received {
                    self.in_rx_ring.push_back(number);
                }
            }
            Step::Receive => self.receive(),
            Step::Transmit => {
                if let Some((frame, number)) = self.take_from_hand() {
                    self.port.transmit(frame, 8);
                    self.to_be_sent.push_back(number);
                }
            }
            Step::Recycle => {
                if let Some((frame, _)) = self.take_from_hand() {
                    self.port.recycle(frame);
                }
            }
            Step::TakeFree => {
                if let Some(mut frame) = self.port.take_free() {
                    let number = self.number();
                    self.port.bytes_mut(&mut frame)[..8].copy_from_slice(&number.to_be_bytes());
                    self.hand.push_back((frame, number));
                }
            }
            Step::Flush => self.port.flush(),
            Step::TakeSent(most) => self.take_sent(most),
            Step::TxBudget(frames) => self.port.set_tx_budget(frames),
        }
    }

    /// Gives all back and lets everything drain.
    fn end(mut self) {
        self.port.set_tx_budget(u32::MAX);
        while self.port.tx_outstanding() || !self.hand.is_empty() || !self.in_rx_ring.is_empty() {
            self.receive();
            self.take(Step::Recycle);
            self.port.flush();
            self.take_sent(usize::MAX);
        }
        assert!(self.to_be_sent.is_empty(), "a transmitted packet is lost");
        let ledger = self.port.ledger();
        assert_eq!(ledger.free + ledger.fill, ledger.total, "a frame is lost: {ledger:?}");
        let (counters, drops) = (self.port.counters(), self.port.drops());
        assert_eq!(counters.rx_bytes, counters.rx_frames * 8);
        assert_eq!(counters.tx_bytes, counters.tx_frames * 8);
        assert_eq!(drops.rx_dropped, 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_walk_loses_a_frame_or_gives_it_two_owners(
        steps in prop::collection::vec(step(), 0..600),
        rings in [0..6_u32, 0..6_u32, 0..6_u32, 0..6_u32],
        frames in 0..6_u32,
    ) {
        let [fill_ring, rx_ring, tx_ring, completion_ring] = rings.map(|n| 1 << n);
        let mut walk = Walk::new(&MemoryConfig {
            frames: 1 << frames, frame_size: 512, fill_ring, rx_ring, tx_ring, completion_ring, tx_budget: 32,
        });
        for step in steps {
            walk.take(step);
            let ledger = walk.port.ledger();
            prop_assert!(ledger.balances(), "{:?} after {:?}", ledger, step);
            prop_assert_eq!(ledger.in_hand, walk.hand.len() as u64);
        }
        walk.end();
    }
}

#[test]
fn a_burst_takes_no_more_than_it_has_room_for() {
    let mut port = ready(&MemoryConfig::default());
    for _ in 0..BURST_FRAMES + 10 {
        assert_eq!(port.inject(&[1; 60]), Injected::Received);
    }
    let mut burst = Burst::new();
    assert_eq!(port.receive(&mut burst), BURST_FRAMES);
    assert_eq!(port.receive(&mut burst), 0);
    burst.drain().for_each(|frame| port.recycle(frame));
    assert_eq!(port.receive(&mut burst), 10);
    burst.drain().for_each(|frame| port.recycle(frame));
}
