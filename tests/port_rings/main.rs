//! The AF_XDP port on a veth pair: frames out and back, each ring starved, and what cannot be opened. After every
//! disturbance the books have to balance, and all frames have to be free or in the fill ring again.
#![cfg(feature = "xdp")]

#[path = "../common/alloc.rs"]
mod alloc;
#[path = "../common/mod.rs"]
mod common;
mod lab;

use common::root_or_skip;
use handfast::port::xsk::{XskConfig, XskError, XskPort};
use handfast::port::{Burst, Frame, Port};
use lab::{A, B, End, Lab, number, packet, run, wait};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use std::time::{Duration, Instant};
use std::{fs, thread};

/// Frames that may be under way at once without overflowing a veth's own ring of 256.
const WINDOW: u32 = 64;

/// A port of 1024 frames at one end; at most 256 wait in the fill ring, the others are free to send.
fn config(interface: &str) -> XskConfig {
    XskConfig { frames: 1024, fill_ring: 256, ..XskConfig::new(interface, 0) }
}

fn len_out(number: u32) -> usize {
    60 + usize::try_from(number * 7 % 1455).unwrap()
}

fn len_back(number: u32) -> usize {
    60 + usize::try_from(number * 11 % 1455).unwrap()
}

/// Sends as many packets as the window allows, and returns the new count of those sent.
fn fill_window(a: &mut End, mut sent: u32, returned: u32, total: u32) -> u32 {
    while sent < total && sent - returned < WINDOW && a.queue(&packet(sent, len_out(sent))) {
        sent += 1;
    }
    a.port.flush();
    sent
}

/// Turns all frames around that are there, with an answer of another length.
fn turn_around(b: &mut End) {
    b.port.receive(&mut b.burst);
    for mut frame in b.burst.drain() {
        let n = number(b.port.bytes(&frame));
        assert_eq!(b.port.bytes(&frame), packet(n, len_out(n)), "packet {n} changed on its way out");
        let len = len_back(n);
        b.port.bytes_mut(&mut frame)[..len].copy_from_slice(&packet(!n, len));
        b.port.transmit(frame, len);
    }
    b.port.flush();
}

/// Takes the answers in order, and returns how many came in total.
fn take_answers(a: &mut End, mut returned: u32) -> u32 {
    a.port.receive(&mut a.burst);
    for frame in a.burst.drain() {
        assert_eq!(a.port.bytes(&frame), packet(!returned, len_back(returned)), "answer {returned}");
        returned += 1;
        a.port.recycle(frame);
    }
    returned
}

/// Sends `total` packets from one end, has the other one answer each, and checks all of them. Returns both ends, drained.
fn out_and_back(a: &XskConfig, b: &XskConfig, total: u32) -> (End, End) {
    let (mut a, mut b) = (End::open(a), End::open(b));
    let (mut sent, mut returned) = (0, 0);
    wait("frames out and back", || {
        sent = fill_window(&mut a, sent, returned, total);
        turn_around(&mut b);
        returned = take_answers(&mut a, returned);
        returned == total
    });
    a.assert_drained();
    b.assert_drained();
    (a, b)
}

#[test]
fn a_polled_port_calls_the_kernel_before_each_look_and_moves_frames_as_ever() {
    if !root_or_skip("a_polled_port_calls_the_kernel_before_each_look_and_moves_frames_as_ever") {
        return;
    }
    let _lab = Lab::new("poll");
    let polled = |interface| XskConfig { busy_poll_us: 20, ..config(interface) };
    let (mut a, _) = out_and_back(&polled(A), &polled(B), 1_000);
    let before = a.port.counters().rx_wakeups;
    a.port.receive(&mut a.burst);
    assert_eq!(a.port.counters().rx_wakeups, before + 1);
}

/// Huge pages that are reserved for a test, above those that others have.
struct HugePages(u64);

impl HugePages {
    const FILE: &str = "/proc/sys/vm/nr_hugepages";

    fn reserve(more: u64) -> Self {
        let before: u64 = fs::read_to_string(Self::FILE).unwrap().trim().parse().unwrap();
        fs::write(Self::FILE, (before + more).to_string()).unwrap();
        Self(before)
    }

    /// Bytes of huge pages that a process of this user has mapped.
    fn mapped() -> u64 {
        let smaps = fs::read_to_string("/proc/self/smaps_rollup").unwrap();
        let line = smaps.lines().find(|line| line.starts_with("Private_Hugetlb:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }
}

impl Drop for HugePages {
    fn drop(&mut self) {
        let _ = fs::write(Self::FILE, self.0.to_string());
    }
}

#[test]
fn packet_memory_lies_in_huge_pages_where_they_are_reserved_and_says_what_is_missing_where_not() {
    if !root_or_skip("packet_memory_lies_in_huge_pages_where_they_are_reserved_and_says_what_is_missing_where_not") {
        return;
    }
    let _lab = Lab::new("huge");
    let huge = |interface, frames| XskConfig { huge_pages: true, frames, ..config(interface) };
    let error = XskPort::open(&huge(A, 1 << 22)).unwrap_err().to_string();
    assert!(error.contains("8589934592 bytes") && error.contains("vm.nr_hugepages"), "{error}");
    let _pages = HugePages::reserve(2);
    let (a, b) = out_and_back(&huge(A, 1024), &huge(B, 1024), 1_000);
    assert_eq!(HugePages::mapped(), 4 << 20, "1,024 frames of 2 KiB at each end");
    drop((a, b));
    assert_eq!(HugePages::mapped(), 0);
}

#[test]
fn a_hundred_thousand_frames_go_out_and_come_back_intact() {
    if !root_or_skip("a_hundred_thousand_frames_go_out_and_come_back_intact") {
        return;
    }
    let _lab = Lab::new("turn");
    let total = 100_000;
    let (a, b) = out_and_back(&config(A), &config(B), total);
    let (a, b) = (a.port.counters(), b.port.counters());
    assert_eq!((a.tx_frames, a.rx_frames), (u64::from(total), u64::from(total)));
    assert_eq!((a.tx_bytes, a.rx_bytes), (b.rx_bytes, b.tx_bytes));
    assert_eq!((a.tx_kicks_failed, b.tx_kicks_failed), (0, 0));
}

#[test]
fn an_empty_fill_ring_drops_in_the_kernel_and_nothing_is_lost_here() {
    if !root_or_skip("an_empty_fill_ring_drops_in_the_kernel_and_nothing_is_lost_here") {
        return;
    }
    let _lab = Lab::new("fill");
    let (mut a, mut b) = (End::open(&config(A)), End::open(&XskConfig { frames: 256, ..config(B) }));
    let mut held: Vec<Frame> = Vec::new();
    wait("all frames held", || {
        a.send_all(10);
        b.port.receive(&mut b.burst);
        held.extend(b.burst.drain());
        held.len() == 256
    });
    let sent_before = a.port.counters().tx_frames;
    a.send_all(100);
    assert_eq!(b.port.receive(&mut b.burst), 0);
    let overshoot = sent_before - held.len() as u64;
    b.wait_for_drops(100 + overshoot);
    let statistics = b.port.kernel_statistics();
    assert_eq!(statistics.rx_ring_full, 0);
    assert!(statistics.rx_fill_ring_empty_descs >= 100);
    assert!(b.port.counters().fill_starved > 0);

    held.into_iter().for_each(|frame| b.port.recycle(frame));
    b.port.receive(&mut b.burst);
    a.send_all(50);
    assert_eq!(b.receive_count(50), (0..50).collect::<Vec<_>>());
    assert_eq!(a.port.counters().tx_frames, b.port.counters().rx_frames + b.port.kernel_statistics().rx_drops());
    a.assert_drained();
    b.assert_drained();
}

#[test]
fn an_rx_ring_that_nobody_empties_drops_in_the_kernel_and_nothing_is_lost_here() {
    if !root_or_skip("an_rx_ring_that_nobody_empties_drops_in_the_kernel_and_nothing_is_lost_here") {
        return;
    }
    let _lab = Lab::new("rx");
    let (mut a, mut b) = (End::open(&config(A)), End::open(&XskConfig { rx_ring: 64, ..config(B) }));
    a.send_all(200);
    b.wait_for_drops(136);
    assert_eq!(b.port.kernel_statistics().rx_ring_full, 136);
    assert_eq!(b.receive_count(64), (0..64).collect::<Vec<_>>());
    a.send_all(30);
    assert_eq!(b.receive_count(30), (0..30).collect::<Vec<_>>());
    assert_eq!(b.port.kernel_statistics().rx_drops(), 136);
    a.assert_drained();
    b.assert_drained();
}

#[test]
fn frames_beyond_a_small_tx_ring_wait_and_arrive_in_order() {
    if !root_or_skip("frames_beyond_a_small_tx_ring_wait_and_arrive_in_order") {
        return;
    }
    let _lab = Lab::new("tx");
    let (mut a, mut b) = (End::open(&XskConfig { tx_ring: 16, ..config(A) }), End::open(&config(B)));
    assert_eq!(a.port.tx_budget(), None, "no budget fits a ring below 32");
    for i in 0..500 {
        assert!(a.queue(&packet(i, 60)));
    }
    a.port.flush();
    let ledger = a.port.ledger();
    assert!(ledger.tx <= 16 && ledger.tx_pending >= 484, "{ledger:?}");
    let mut seen = Vec::new();
    wait("500 frames through a ring of 16", || {
        a.port.flush();
        seen.extend(b.receive_numbers());
        seen.len() == 500
    });
    assert_eq!(seen, (0..500).collect::<Vec<_>>());
    assert!(a.port.counters().tx_ring_full >= 30, "{:?}", a.port.counters());
    a.assert_drained();
    b.assert_drained();
}

#[test]
fn a_small_completion_ring_holds_the_sender_back_and_loses_nothing() {
    if !root_or_skip("a_small_completion_ring_holds_the_sender_back_and_loses_nothing") {
        return;
    }
    let _lab = Lab::new("comp");
    let (mut a, mut b) = (End::open(&XskConfig { completion_ring: 8, ..config(A) }), End::open(&config(B)));
    for i in 0..200 {
        assert!(a.queue(&packet(i, 60)));
    }
    a.port.flush();
    assert_eq!(a.port.counters().tx_kicks_again, 1, "8 sent, the rest waits for the completion ring");
    assert_eq!(b.receive_count(8).len(), 8);
    let mut seen = 8;
    wait("200 frames past a completion ring of 8", || {
        a.port.flush();
        seen += b.receive_numbers().len();
        seen == 200
    });
    assert!(a.port.counters().tx_kicks_again >= 20, "{:?}", a.port.counters());
    a.assert_drained();
    b.assert_drained();
}

#[test]
fn frames_wait_while_the_own_link_is_down_and_leave_when_it_is_up() {
    if !root_or_skip("frames_wait_while_the_own_link_is_down_and_leave_when_it_is_up") {
        return;
    }
    let _lab = Lab::new("down");
    let (mut a, mut b) = (End::open(&config(A)), End::open(&config(B)));
    run(&format!("ip link set {A} down"));
    for i in 0..20 {
        assert!(a.queue(&packet(i, 60)));
    }
    a.port.flush();
    a.port.flush();
    assert_eq!(a.port.counters().tx_kicks_failed, 2, "ENETDOWN at each kick");
    assert_eq!(a.port.ledger().tx, 20);
    run(&format!("ip link set {A} up"));
    let mut seen = Vec::new();
    wait("frames leave after the link is up", || {
        a.port.flush();
        seen.extend(b.receive_numbers());
        seen.len() == 20
    });
    assert_eq!(seen, (0..20).collect::<Vec<_>>());
    a.assert_drained();
    b.assert_drained();
}

#[test]
fn frames_to_a_peer_that_is_down_come_back_as_completions() {
    if !root_or_skip("frames_to_a_peer_that_is_down_come_back_as_completions") {
        return;
    }
    let _lab = Lab::new("peer");
    let (mut a, mut b) = (End::open(&config(A)), End::open(&config(B)));
    run(&format!("ip link set {B} down"));
    a.send_all(100);
    assert!(a.port.counters().tx_kicks_again > 0, "EBUSY for a frame that the link dropped");
    assert_eq!(a.port.counters().tx_kicks_failed, 0);
    a.assert_drained();
    run(&format!("ip link set {B} up"));
    wait("the link carries again", || {
        a.send_all(1);
        !b.receive_numbers().is_empty()
    });
    a.assert_drained();
    b.assert_drained();
}

#[test]
fn a_port_in_use_allocates_nothing() {
    if !root_or_skip("a_port_in_use_allocates_nothing") {
        return;
    }
    let _lab = Lab::new("alloc");
    let (mut a, mut b) = (End::open(&config(A)), End::open(&config(B)));
    let start = Instant::now();
    let before = alloc::allocations();
    while a.port.counters().rx_frames < 5000 && start.elapsed() < Duration::from_secs(10) {
        for _ in 0..WINDOW {
            let mut frame = a.port.take_free().expect("few frames are out");
            a.port.bytes_mut(&mut frame)[..60].fill(0x02);
            a.port.transmit(frame, 60);
        }
        a.port.flush();
        b.port.receive(&mut b.burst);
        b.burst.drain().for_each(|frame| b.port.transmit(frame, 60));
        b.port.flush();
        a.port.receive(&mut a.burst);
        a.burst.drain().for_each(|frame| a.port.recycle(frame));
    }
    assert_eq!(alloc::allocations(), before);
    assert!(a.port.counters().rx_frames >= 5000);
}

#[test]
fn waiting_ends_when_a_frame_arrives() {
    if !root_or_skip("waiting_ends_when_a_frame_arrives") {
        return;
    }
    let _lab = Lab::new("wait");
    let (mut a, mut b) = (End::open(&config(A)), End::open(&config(B)));
    let started = Instant::now();
    b.port.wait(Duration::from_millis(20));
    assert!(started.elapsed() >= Duration::from_millis(20), "nothing to receive, but the wait was over early");
    a.send_all(1);
    let started = Instant::now();
    b.port.wait(Duration::from_secs(5));
    assert!(started.elapsed() < Duration::from_secs(4), "a frame is there, but the wait goes on");
}

#[test]
fn the_mode_and_the_tx_budget_are_told() {
    if !root_or_skip("the_mode_and_the_tx_budget_are_told") {
        return;
    }
    let _lab = Lab::new("told");
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut parts = release.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    let has_budget = (parts.next().unwrap(), parts.next().unwrap()) >= (6, 17);
    let budget = |tx_budget| XskPort::open(&XskConfig { tx_budget, ..config(A) }).unwrap().tx_budget();
    assert_eq!(budget(1), has_budget.then_some(32), "the kernel takes no less");
    assert_eq!(budget(512), has_budget.then_some(512));
    assert_eq!(budget(1 << 20), has_budget.then_some(2048), "the TX ring is the most");
    assert!(!XskPort::open(&config(A)).unwrap().zero_copy(), "a veth copies");
}

#[test]
fn a_port_that_cannot_be_opened_says_why() {
    if !root_or_skip("a_port_that_cannot_be_opened_says_why") {
        return;
    }
    let _lab = Lab::new("why");
    let text = |config: &XskConfig| XskPort::open(config).unwrap_err().to_string();

    let unknown = text(&config("hfpt-none"));
    assert!(unknown.contains("hfpt-none queue 0") && unknown.contains("no interface"), "{unknown}");
    let queue = text(&XskConfig { queue: 7, ..config(A) });
    assert!(queue.contains("hfpt-a queue 7") && queue.contains("has 1 queues"), "{queue}");
    let zero_copy = text(&XskConfig { bind: handfast::port::xsk::BindMode::ZeroCopy, ..config(A) });
    assert!(zero_copy.contains("refuses zero-copy"), "{zero_copy}");
}

#[test]
fn a_queue_in_use_is_retried_and_then_refused() {
    if !root_or_skip("a_queue_in_use_is_retried_and_then_refused") {
        return;
    }
    let _lab = Lab::new("busy");
    let first = XskPort::open(&config(A)).unwrap();
    let start = Instant::now();
    let error = XskPort::open(&config(A)).unwrap_err();
    assert!(matches!(error, XskError::Busy { queue: 0, .. }), "{error}");
    assert!(start.elapsed() >= Duration::from_secs(2));

    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(300));
            drop(first);
        });
        XskPort::open(&config(A)).expect("opened as soon as the first is gone");
    });
}

#[test]
fn a_process_without_rights_is_told_which_it_lacks() {
    if !root_or_skip("a_process_without_rights_is_told_which_it_lacks") {
        return;
    }
    let _lab = Lab::new("caps");
    let mut sets = capabilities(None).unwrap();
    let all = sets.effective;
    sets.effective = all - CapabilitySet::NET_RAW;
    set_capabilities(None, sets).unwrap();
    let raw = XskPort::open(&config(A)).unwrap_err().to_string();
    assert!(raw.contains("CAP_NET_RAW"), "{raw}");

    // The limit is the process's; the other tests of this process keep CAP_IPC_LOCK and do not feel it.
    let before = getrlimit(Resource::Memlock);
    setrlimit(Resource::Memlock, Rlimit { current: Some(65536), ..before }).unwrap();
    sets.effective = all - CapabilitySet::IPC_LOCK;
    set_capabilities(None, sets).unwrap();
    let locked = XskPort::open(&config(A)).unwrap_err().to_string();
    setrlimit(Resource::Memlock, before).unwrap();
    assert!(locked.contains("limited to 65536 bytes") && locked.contains("CAP_IPC_LOCK"), "{locked}");
}

#[test]
fn a_port_moves_to_another_thread() {
    if !root_or_skip("a_port_moves_to_another_thread") {
        return;
    }
    let _lab = Lab::new("move");
    let (mut a, b) = (End::open(&config(A)), End::open(&config(B)));
    let mut port = b.port;
    thread::scope(|scope| {
        let received = scope.spawn(move || {
            let mut burst = Burst::new();
            port.wait(Duration::from_secs(5));
            port.receive(&mut burst)
        });
        a.send_all(1);
        assert_eq!(received.join().unwrap(), 1);
    });
}
