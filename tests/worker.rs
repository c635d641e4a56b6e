//! The worker's turn and its loop over the in-memory port, in virtual time: verdicts become frames, budgets hold, shortage is
//! counted and passes, sleep ends in time, commands are obeyed, and the ledgers balance after every turn whatever the peers
//! and the rings do.

#[path = "common/peers.rs"]
mod peers;

use handfast::engine::TIMER_BUDGET;
use handfast::engine::listeners::ListenerFlows;
use handfast::port::memory::{Injected, MemoryConfig, MemoryPort};
use handfast::port::{Burst, Frame, FrameLedger, KernelStatistics, Port, PortCounters};
use handfast::stats::ledger::{flows_unaccounted, frames_unaccounted};
use handfast::tcp::config::{HalfOpenFull, TcpConfig};
use handfast::time::Now;
use handfast::verdict::DropReason;
use handfast::wire::options::Options;
use handfast::wire::segment::Control;
use handfast::wire::seq::SeqNum;
use handfast::wire::tuple::FourTuple;
use handfast::worker::clock::Clock;
use handfast::worker::mailbox::{Command, FlowQuery, Mailbox};
use handfast::worker::{Idle, Worker};
use peers::{Cable, Conduct, Random, Setup, WORKER_MAC, engine, frame, hasty};
use proptest::prelude::*;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

const MICRO: u64 = 1_000;
const MILLI: u64 = 1_000_000;
/// The frames that one turn sends without a request, at most.
const EMIT_BUDGET: u64 = 256;
const MAX_SLEEP: Duration = Duration::from_millis(20);

// ---- turns ----

#[test]
fn every_verdict_becomes_what_happens_to_the_frame() {
    let mut cable = Cable::new(&Setup::default());
    cable.open(Conduct::VanishesHalfOpen);
    cable.turn(MILLI);
    assert_eq!(cable.heard, 1, "transmit: a SYN-ACK goes out in the SYN's frame");
    cable.send(vec![0; 20]);
    cable.turn(MILLI);
    assert_eq!(cable.heard, 1, "drop: nothing goes out");
    let counters = cable.worker.engine().counters();
    assert_eq!((counters.received, counters.transmitted_in_place, counters.dropped_total()), (2, 1, 1));
    let ledger = cable.worker.port().ledger();
    assert_eq!((ledger.in_hand, ledger.free + ledger.fill), (0, ledger.total), "both frames are the port's again");
}

#[test]
fn a_turn_says_whether_there_was_anything_to_do() {
    let mut cable = Cable::new(&Setup { tcp: TcpConfig { half_open_timeout_ms: 5, ..hasty() }, ..Setup::default() });
    assert!(!cable.turn(MILLI));
    cable.open(Conduct::VanishesHalfOpen);
    assert!(cable.turn(MILLI), "a frame");
    assert!(!cable.turn(MILLI));
    assert!(cable.turn(10 * MILLI), "a timer that sends nothing");
    assert_eq!(cable.worker.engine().counters().half_open_timeouts, 1);
    assert!(!cable.turn(MILLI));
    cable.mailbox.send(Command::Drain).unwrap();
    assert!(cable.turn(MILLI), "a command");
}

#[test]
fn frames_that_are_stuck_postpone_what_nobody_asked_for_and_nothing_is_lost() {
    let port = MemoryConfig { frames: 128, tx_ring: 32, completion_ring: 32, ..MemoryConfig::default() };
    let mut cable = Cable::new(&Setup { port, ..Setup::default() });
    (0..20).for_each(|_| cable.open(Conduct::Asks));
    for _ in 0..3 {
        cable.turn(MILLI);
    }
    cable.take = 0;
    for _ in 0..30 {
        cable.turn(MILLI);
    }
    let shortage = cable.worker.engine().counters().frame_shortage;
    assert!(shortage > 10, "every turn that had to leave something counts, here {shortage}");
    assert!(!cable.worker.turn(cable.now), "a turn that could do nothing did nothing");

    cable.take = usize::MAX;
    for _ in 0..5_000 {
        cable.turn(MILLI);
    }
    let counters = cable.worker.engine().counters();
    assert_eq!((counters.established, counters.time_wait_expired), (20, 20), "all were served in the end");
    assert_eq!(counters.bytes_sent, 20 * (peers::BODY_LEN as u64 + head_len()));
}

/// Length of the http response's head.
fn head_len() -> u64 {
    let head = format!(
        "HTTP/1.1 200 OK\r\nServer: handfast\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        peers::BODY_LEN
    );
    head.len() as u64
}

#[test]
fn a_turn_sends_no_more_than_its_budget_and_counts_what_it_left() {
    let mut cable = Cable::new(&Setup::default());
    (0..200).for_each(|_| cable.open(Conduct::Asks));
    let mut most = 0;
    for _ in 0..200 {
        let before = cable.worker.engine().counters().emitted;
        cable.turn(MILLI);
        most = most.max(cable.worker.engine().counters().emitted - before);
    }
    assert_eq!(most, EMIT_BUDGET);
    cable.mailbox.stop();
    cable.worker.run();
    let report = cable.mailbox.report().unwrap();
    assert!(report.emit_budget_exhausted > 0 && report.emit_budget_exhausted < 20, "{}", report.emit_budget_exhausted);
}

#[test]
fn a_turn_looks_at_no_more_timers_than_its_budget_and_counts_what_it_left() {
    let flows = 4 * TIMER_BUDGET;
    let tcp = TcpConfig { half_open_timeout_ms: 100, ..hasty() };
    let mut cable = Cable::new(&Setup { flows, tcp, ..Setup::default() });
    (0..flows).for_each(|_| cable.open(Conduct::VanishesHalfOpen));
    for _ in 0..20 {
        cable.turn(0);
    }
    assert_eq!(cable.worker.engine().half_open(), flows);
    for turn in 1..=4 {
        cable.turn(if turn == 1 { 200 * MILLI } else { 0 });
        let counters = cable.worker.engine().counters();
        assert_eq!(counters.half_open_timeouts, u64::from(turn * TIMER_BUDGET), "turn {turn}");
        assert_eq!(counters.timer_budget_exhausted, u64::from(turn.min(3)), "turn {turn}");
    }
    assert_eq!(cable.worker.engine().flows(), 0);
}

#[test]
fn timers_go_on_under_a_flood() {
    let tcp = TcpConfig { half_open_full: HalfOpenFull::Drop, ..hasty() };
    let mut cable = Cable::new(&Setup { flows: 64, tcp, ..Setup::default() });
    (0..64).for_each(|_| cable.open(Conduct::VanishesHalfOpen));
    cable.turn(MILLI);
    for _ in 0..3_000 {
        (0..64).for_each(|_| cable.open(Conduct::VanishesHalfOpen));
        cable.turn(MILLI);
    }
    let counters = cable.worker.engine().counters();
    assert!(counters.dropped[DropReason::FlowTableFull.index()] > 100_000, "this is no flood");
    assert!(counters.half_open_timeouts >= 64 && counters.syn_ack_retransmissions >= 3 * 64, "{counters:?}");
}

#[test]
fn after_weeks_without_a_flow_timers_are_as_good_as_new() {
    const DAY: u64 = 86_400_000 * MILLI;
    let mut cable = Cable::new(&Setup::default());
    for _ in 0..60 {
        cable.turn(DAY);
        cable.open(Conduct::VanishesHalfOpen);
        cable.turn(MILLI);
        let before = cable.worker.engine().counters().syn_ack_retransmissions;
        cable.turn(199 * MILLI);
        assert_eq!(cable.worker.engine().counters().syn_ack_retransmissions, before, "too early");
        cable.turn(2 * MILLI);
        assert_eq!(cable.worker.engine().counters().syn_ack_retransmissions, before + 1, "too late");
        for _ in 0..10 {
            cable.turn(500 * MILLI);
        }
        assert_eq!(cable.worker.engine().flows(), 0);
        // Without flows for longer than half the circle of the ticks: 24.8 days.
        for _ in 0..30 {
            cable.turn(DAY);
        }
    }
}

#[test]
fn a_drained_worker_refuses_new_connections_and_finishes_the_open_ones() {
    let mut cable = Cable::new(&Setup::default());
    (0..5).for_each(|_| cable.open(Conduct::Asks));
    cable.turn(MILLI);
    cable.mailbox.send(Command::Drain).unwrap();
    cable.turn(MILLI);
    (0..7).for_each(|_| cable.open(Conduct::Asks));
    for _ in 0..3_000 {
        cable.turn(MILLI);
    }
    let counters = cable.worker.engine().counters();
    assert_eq!((counters.passive_opens, counters.time_wait_expired, counters.resets_sent), (5, 5, 7));
}

#[test]
fn a_query_is_copied_out_over_several_turns_and_later_commands_wait_for_it() {
    let mut cable = Cable::new(&Setup { flows: 20_000, ..Setup::default() });
    cable.mailbox.send(Command::Flows(FlowQuery::new(None, 10, 0))).unwrap();
    cable.mailbox.send(Command::Flows(FlowQuery::new(None, 10, 0))).unwrap();
    let turns_until_answer = |cable: &mut Cable| {
        let mut turns = 0;
        while cable.mailbox.take_answer().is_none() {
            turns += 1;
            assert!(cable.turn(MILLI) && turns < 100, "a worker with a query under way has something to do");
        }
        turns
    };
    assert_eq!([turns_until_answer(&mut cable), turns_until_answer(&mut cable)], [5, 5], "4,096 slots a turn");
}

// ---- the loop ----

/// Virtual time that all parts of a test share, in nanoseconds.
type Time = Rc<Cell<u64>>;

/// A clock that shows it, and on which each look takes a microsecond.
struct SharedClock(Time);

impl Clock for SharedClock {
    fn now(&mut self) -> Now {
        self.0.set(self.0.get() + MICRO);
        Now(self.0.get())
    }
}

/// What a [`WatchedPort`] tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// A turn begins.
    Turn,
    /// The worker sleeps; the time is over when the test has returned.
    Sleep(Duration),
}

/// A memory port whose worker is watched, turn by turn and sleep by sleep.
struct WatchedPort<F> {
    port: MemoryPort,
    watch: F,
}

impl<F: FnMut(Seen, &mut MemoryPort)> Port for WatchedPort<F> {
    fn receive(&mut self, burst: &mut Burst) -> usize {
        (self.watch)(Seen::Turn, &mut self.port);
        self.port.receive(burst)
    }

    fn bytes(&self, frame: &Frame) -> &[u8] {
        self.port.bytes(frame)
    }

    fn bytes_mut(&mut self, frame: &mut Frame) -> &mut [u8] {
        self.port.bytes_mut(frame)
    }

    fn max_packet_len(&self) -> usize {
        self.port.max_packet_len()
    }

    fn transmit(&mut self, frame: Frame, len: usize) {
        self.port.transmit(frame, len);
    }

    fn recycle(&mut self, frame: Frame) {
        self.port.recycle(frame);
    }

    fn take_free(&mut self) -> Option<Frame> {
        self.port.take_free()
    }

    fn submit(&mut self) {
        self.port.submit();
    }

    fn kick(&mut self) {
        self.port.kick();
    }

    fn tx_outstanding(&self) -> bool {
        self.port.tx_outstanding()
    }

    fn ledger(&self) -> FrameLedger {
        self.port.ledger()
    }

    fn counters(&self) -> PortCounters {
        self.port.counters()
    }

    fn kernel_statistics(&self) -> KernelStatistics {
        self.port.kernel_statistics()
    }

    fn wait(&mut self, timeout: Duration) {
        (self.watch)(Seen::Sleep(timeout), &mut self.port);
    }
}

/// Runs a worker until it has slept `sleeps` times. `watch` sees what happens first; a sleep takes as long as it may.
fn run(
    setup: &Setup,
    idle: Idle,
    sleeps: usize,
    mut watch: impl FnMut(Seen, &mut MemoryPort, &Mailbox),
) -> (Arc<Mailbox>, Time) {
    let time: Time = Rc::new(Cell::new(1_000_000 * MILLI));
    let mailbox = Arc::new(Mailbox::new());
    let mut slept = 0;
    let (watched_time, watched_mailbox) = (Rc::clone(&time), Arc::clone(&mailbox));
    let watch = move |seen: Seen, port: &mut MemoryPort| {
        watch(seen, port, &watched_mailbox);
        if let Seen::Sleep(timeout) = seen {
            watched_time.set(watched_time.get() + u64::try_from(timeout.as_nanos()).unwrap());
            slept += 1;
            if slept == sleeps {
                watched_mailbox.stop();
            }
        }
    };
    let port = WatchedPort { port: MemoryPort::new(&setup.port), watch };
    let engine = engine(setup, WORKER_MAC, Now(time.get()));
    Worker::new(engine, port, SharedClock(Rc::clone(&time)), Arc::clone(&mailbox), idle).run();
    (mailbox, time)
}

/// A SYN from some peer.
fn syn(number: u16) -> Vec<u8> {
    let tuple = FourTuple::new(format!("198.18.0.2:{number}").parse().unwrap(), "198.18.0.1:80".parse().unwrap());
    frame(&tuple, SeqNum(1), SeqNum(0), Control::SYN, 1000, Options::default(), &[])
}

#[test]
fn an_idle_worker_looks_for_a_while_and_then_sleeps() {
    let turns = Rc::new(RefCell::new(Vec::from([0_u64])));
    let seen = Rc::clone(&turns);
    let (mailbox, _) = run(&Setup::default(), Idle::Sleep, 5, move |what, _, _| match what {
        Seen::Turn => *seen.borrow_mut().last_mut().unwrap() += 1,
        Seen::Sleep(timeout) => {
            assert_eq!(timeout, MAX_SLEEP);
            seen.borrow_mut().push(0);
        }
    });
    assert!(turns.borrow()[0] >= 50, "50 microseconds of looking: {turns:?}");
    assert_eq!(turns.borrow()[1..], [1; 5], "one look after each sleep that brought nothing, and one at the end");
    assert_eq!(mailbox.report().unwrap().sleeps, 5);
}

#[test]
fn what_was_received_before_the_end_is_answered_and_counted() {
    let (mailbox, _) = run(&Setup::default(), Idle::Sleep, 1, |what, port, _| {
        // While it sleeps for the last time: it is stopped when this returns.
        if matches!(what, Seen::Sleep(_)) {
            for number in 1..=100 {
                assert_eq!(port.inject(&syn(number)), Injected::Received);
            }
        }
    });
    let report = mailbox.report().unwrap();
    assert_eq!((report.port.rx_frames, report.counters.received, report.counters.passive_opens), (100, 100, 100));
    assert_eq!(report.port.tx_frames, 100);
}

#[test]
fn a_sleep_ends_when_the_next_timer_is_due() {
    let mut injected = false;
    let sleeps = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&sleeps);
    let setup = Setup { tcp: TcpConfig { rto_initial_ms: 190, ..hasty() }, ..Setup::default() };
    let (mailbox, _) = run(&setup, Idle::Sleep, 14, move |what, port, _| {
        if what == Seen::Turn && !std::mem::replace(&mut injected, true) {
            port.receive(&mut Burst::new());
            assert_eq!(port.inject(&syn(1)), Injected::Received);
        }
        port.take_sent(usize::MAX, |_| {});
        if let Seen::Sleep(timeout) = what {
            seen.borrow_mut().push(timeout);
        }
    });
    // The SYN-ACK is sent again 190 ms later: nine sleeps of 20 ms and what is left.
    let sleeps = sleeps.borrow();
    let until_due = sleeps.iter().position(|sleep| *sleep < MAX_SLEEP).expect("one sleep is cut short");
    let total: Duration = sleeps[..=until_due].iter().sum();
    assert!((Duration::from_millis(189)..=Duration::from_millis(190)).contains(&total), "{sleeps:?}");
    assert_eq!(mailbox.report().unwrap().counters.syn_ack_retransmissions, 1);
}

#[test]
fn a_worker_that_waits_for_frames_sleeps_a_millisecond_whatever_is_due() {
    // The peer never takes the SYN-ACKs, so their frames do not come back and no retransmission finds one.
    let port = MemoryConfig { frames: 16, fill_ring: 8, rx_ring: 8, ..MemoryConfig::default() };
    let sleeps = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&sleeps);
    let mut number = 0;
    let (mailbox, _) = run(&Setup { port, ..Setup::default() }, Idle::Sleep, 400, move |what, port, _| match what {
        Seen::Turn => {
            while number < 100 && port.inject(&syn(1000 + number)) == Injected::Received {
                number += 1;
            }
        }
        Seen::Sleep(timeout) => seen.borrow_mut().push(timeout),
    });
    assert!(mailbox.report().unwrap().counters.frame_shortage > 100, "something was due all the time");
    assert!(sleeps.borrow().iter().all(|sleep| *sleep == Duration::from_millis(1)), "{:?}", sleeps.borrow());
}

#[test]
fn a_spinning_worker_never_sleeps_and_publishes_ten_times_a_second() {
    let reports = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&reports);
    let mut turn = 0;
    let (_, time) = run(&Setup::default(), Idle::Spin, 1, move |what, _, mailbox| {
        assert_eq!(what, Seen::Turn);
        turn += 1;
        assert!(turn < 1_000_000, "a second is over");
        let turns = mailbox.report().unwrap().turns;
        let mut reports = seen.borrow_mut();
        if reports.last() != Some(&turns) {
            reports.push(turns);
        }
        if reports.len() == 5 {
            mailbox.stop();
        }
    });
    let elapsed = Duration::from_nanos(time.get() - 1_000_000 * MILLI);
    assert_eq!(reports.borrow()[0], 0, "the first report comes before the first turn");
    assert!((Duration::from_millis(400)..Duration::from_millis(410)).contains(&elapsed), "{elapsed:?}");
}

#[test]
fn a_sleeping_worker_obeys_after_its_longest_sleep_and_publishes_before_each() {
    let mut asked = None;
    let (mailbox, time) = run(&Setup::default(), Idle::Sleep, 4, move |what, _, mailbox| {
        if let Seen::Sleep(_) = what {
            let sleeps = mailbox.report().unwrap().sleeps;
            match asked {
                None => mailbox.send(Command::Flows(FlowQuery::new(None, 1, 0))).unwrap(),
                Some(before) => assert!(sleeps == before + 1 && (sleeps > 1 || mailbox.take_answer().is_some())),
            }
            asked = Some(sleeps);
        }
    });
    assert_eq!(mailbox.report().unwrap().sleeps, 4);
    assert!(time.get() - 1_000_000 * MILLI < 81 * MILLI);
}

#[test]
fn a_worker_that_is_stopped_publishes_its_last_counters() {
    let mut turns = 0;
    let (mailbox, _) = run(&Setup::default(), Idle::Spin, 1, move |_, port, mailbox| {
        turns += 1;
        if turns == 2 {
            assert_eq!(port.inject(&syn(7)), Injected::Received);
            mailbox.stop();
        }
    });
    let report = mailbox.report().unwrap();
    assert_eq!((report.turns, report.counters.received, report.flows), (2, 1, 1));
    assert_eq!(report.ledger.tx, 1, "the last answer was handed to the kernel");
}

// ---- whatever happens ----

/// One turn's surroundings.
#[derive(Clone, Copy, Debug)]
struct Weather {
    /// Peers that open a connection, and how the first of them behaves.
    opening: (u8, usize),
    noise: u8,
    /// Frames that the kernel sends, and that the peers take.
    tx_budget: u32,
    take: usize,
    micros: u64,
}

fn weather() -> impl Strategy<Value = Weather> {
    let small_or_all = |most: u32| prop_oneof![2 => 0..most, 1 => Just(u32::MAX)];
    let opening = prop_oneof![3 => Just((0, 0)), 1 => (1_u8..12, 0..Conduct::ALL.len())];
    let micros = prop_oneof![3 => 0_u64..3_000, 1 => 0_u64..2_000_000];
    (opening, 0_u8..4, small_or_all(6), small_or_all(6), micros).prop_map(
        |(opening, noise, tx_budget, take, micros)| Weather { opening, noise, tx_budget, take: take as usize, micros },
    )
}

/// After every turn each frame and each flow is in one place, and no frame stays in hand.
fn assert_balance(cable: &Cable) -> Result<(), TestCaseError> {
    let (engine, port) = (cable.worker.engine(), cable.worker.port());
    let (counters, ledger) = (engine.counters(), port.ledger());
    prop_assert_eq!(frames_unaccounted(counters), 0);
    prop_assert_eq!(flows_unaccounted(counters, engine.flows().into()), 0);
    prop_assert_eq!(engine.states().iter().sum::<u32>(), engine.flows());
    prop_assert_eq!(engine.timers(), engine.flows(), "a flow without a timer lives for ever");
    let mut by_listener = ListenerFlows::default();
    engine.listeners().iter().for_each(|(_, flows)| by_listener.add(&flows));
    prop_assert_eq!(by_listener.states, engine.states());
    prop_assert!(ledger.balances() && ledger.in_hand == 0, "{:?}", ledger);
    prop_assert_eq!(port.counters().rx_frames, counters.received);
    let sent = counters.transmitted_in_place + counters.emitted;
    prop_assert_eq!(port.counters().tx_frames + ledger.tx_pending, sent);
    prop_assert!(cable.unreadable.is_empty(), "an illegal frame was sent: {:x?}", cable.unreadable);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_ledgers_balance_after_every_turn_and_every_flow_ends(
        turns in prop::collection::vec(weather(), 0..150),
        seed: u64,
        flows in 1_u32..40,
        rings in [3..7_u32, 3..7_u32, 3..7_u32, 3..7_u32],
    ) {
        let [fill_ring, rx_ring, tx_ring, completion_ring] = rings.map(|n| 1 << n);
        let port = MemoryConfig { frames: 64, fill_ring, rx_ring, tx_ring, completion_ring, ..MemoryConfig::default() };
        let mut cable = Cable::new(&Setup { port, flows, tcp: hasty() });
        let mut random = Random::new(seed);
        for Weather { opening: (count, first), noise, tx_budget, take, micros } in turns {
            (0..usize::from(count)).for_each(|i| cable.open(Conduct::ALL[(first + i) % Conduct::ALL.len()]));
            (0..noise).for_each(|_| cable.send_noise(&mut random));
            cable.worker.port_mut().set_tx_budget(tx_budget);
            cable.take = take;
            cable.turn(micros * MICRO);
            assert_balance(&cable)?;
        }
        // The weather clears up, and nobody opens any more.
        cable.worker.port_mut().set_tx_budget(u32::MAX);
        cable.take = usize::MAX;
        for _ in 0..20_000 {
            cable.turn(5 * MILLI);
            if cable.worker.engine().flows() == 0 && cable.waiting() == 0 {
                break;
            }
        }
        assert_balance(&cable)?;
        prop_assert_eq!(cable.worker.engine().flows(), 0, "states {:?}", cable.worker.engine().states());
        // The last answers are still to be sent, and a turn gets no more of them back than the completion ring has room for: eight
        // of the 64 frames, where it is smallest.
        for _ in 0..16 {
            cable.turn(MILLI);
        }
        let ledger = cable.worker.port().ledger();
        prop_assert_eq!(ledger.free + ledger.fill, ledger.total, "{:?}", ledger);
    }
}
