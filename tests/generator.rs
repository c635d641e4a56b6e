//! A generator and a server, each a worker over a port in memory, joined by a cable on a virtual clock: what a run counts is
//! what happened, in every mode, and none of it calls the allocator.
//!
//! Not here: AF_XDP, the command line and the kernel's TCP as a target (tests/blast).
#![cfg(feature = "xdp")]

#[path = "common/alloc.rs"]
mod alloc;

use handfast::blast::plan::{CloseBy, Hold, Plan};
use handfast::blast::tally::{Phase, Reason, Tally};
use handfast::blast::user::Blaster;
use handfast::blast::watch::{Progress, Watch};
use handfast::engine::events::EVENTS_PER_STEP;
use handfast::engine::listeners::{Endpoint, Listener, Listeners};
use handfast::engine::{Engine, EngineConfig, Secrets, TIMER_BUDGET};
use handfast::port::BURST_FRAMES;
use handfast::port::memory::{MemoryConfig, MemoryPort};
use handfast::service::{AnyService, Client, Close, Discard, Http};
use handfast::stats::ledger::{flows_unaccounted, frames_unaccounted};
use handfast::tcp::config::TcpConfig;
use handfast::tcp::state::State;
use handfast::time::Now;
use handfast::wire::parse::PartialChecksums;
use handfast::worker::clock::Clock;
use handfast::worker::mailbox::Mailbox;
use handfast::worker::user::CALL_BUDGET;
use handfast::worker::{Idle, Worker};
use std::sync::Arc;

const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
const DISCARD: u16 = 7000;
const CLOSE: u16 = 7001;
const HTTP: u16 = 80;
const MICRO: u64 = 1_000;
const SECOND: u64 = 1_000_000_000;

#[derive(Debug)]
struct Given(Now);

impl Clock for Given {
    fn now(&mut self) -> Now {
        self.0
    }
}

fn engine(mac: [u8; 6], tcp: TcpConfig, listeners: Vec<Listener>, events: usize) -> Engine {
    let config = EngineConfig {
        tcp,
        flows: 4_096,
        burst: BURST_FRAMES,
        mac,
        partial_checksums: PartialChecksums::Refuse,
        events,
    };
    let secrets = Secrets { flow_hash: [1, 2], isn: [7; 16], timestamp_offset: 9 };
    Engine::new(config, &secrets, Listeners::new(listeners), Now(0))
}

fn listener(port: u16, service: AnyService, open: bool) -> Listener {
    Listener { endpoint: Endpoint { addr: None, port }, service, open }
}

/// A run for two seconds, as fast as it goes, to the discard service.
fn plan() -> Plan {
    Plan {
        target: ([198, 18, 0, 1], DISCARD).into(),
        sources: "198.18.1.0/30".parse().unwrap(),
        ports: 1024..=4000,
        rate: None,
        concurrency: None,
        connections: None,
        duration_ns: 2 * SECOND,
        ramp_ns: 0,
        hold: Hold::Nanos(0),
        close: CloseBy::Client,
        request: Vec::new(),
        timeout_ns: SECOND,
    }
}

/// Both workers.
struct Pair {
    client: Worker<MemoryPort, Given, Blaster>,
    server: Worker<MemoryPort, Given>,
    watch: Arc<Watch>,
    now: Now,
    heap_calls: u64,
}

impl Pair {
    fn new(plan: &Plan) -> Self {
        // Room for all that may be under way at once: what is lost here, the test has lost.
        let config = MemoryConfig { frames: 8_192, fill_ring: 4_096, rx_ring: 4_096, ..MemoryConfig::default() };
        let (ours, theirs) = MemoryPort::pair(&config);
        let timeout_ms = u32::try_from(plan.timeout_ns / 1_000_000).unwrap();
        let tcp = TcpConfig {
            time_wait_ms: 0,
            half_open_timeout_ms: timeout_ms,
            fin_wait_2_ms: timeout_ms,
            idle_timeout_ms: if plan.hold == Hold::Nanos(0) { timeout_ms } else { 0 },
            ..TcpConfig::default()
        };
        let client = Client::new(&plan.request, plan.closes_at_once()).unwrap();
        let room = EVENTS_PER_STEP * (BURST_FRAMES + TIMER_BUDGET as usize + CALL_BUDGET);
        let opener = engine(CLIENT_MAC, tcp, vec![listener(0, AnyService::Client(client), false)], room);
        let watch = Arc::new(Watch::default());
        let user = Blaster::new(plan.share(0, 1), SERVER_MAC, 4_096, Arc::clone(&watch));
        let mailbox = || Arc::new(Mailbox::new());
        let services = vec![
            listener(DISCARD, AnyService::Discard(Discard), true),
            listener(CLOSE, AnyService::Close(Close), true),
            listener(HTTP, AnyService::Http(Http::new(&[b'x'; 3_000], "text/plain").unwrap()), true),
        ];
        let tcp = TcpConfig { time_wait_ms: 10, ..TcpConfig::default() };
        let answerer = engine(SERVER_MAC, tcp, services, 0);
        Self {
            client: Worker::with_user(opener, ours, Given(Now(0)), mailbox(), Idle::Spin, user),
            server: Worker::new(answerer, theirs, Given(Now(0)), mailbox(), Idle::Spin),
            watch,
            now: Now(0),
            heap_calls: 0,
        }
    }

    /// One turn of both, 100 us later. `carries` says whether the cable does.
    fn turn(&mut self, carries: bool) {
        let before = alloc::allocations() + alloc::releases();
        self.client.turn(self.now);
        self.server.turn(self.now);
        self.heap_calls += alloc::allocations() + alloc::releases() - before;
        if carries {
            self.client.port_mut().exchange(self.server.port_mut());
        } else {
            self.client.port_mut().take_sent(usize::MAX, |_| {});
            self.server.port_mut().take_sent(usize::MAX, |_| {});
        }
        self.now = Now(self.now.0 + 100 * MICRO);
    }

    /// Turns until `at` nanoseconds.
    fn until(&mut self, at: u64) {
        while self.now.0 < at {
            self.turn(true);
        }
    }

    /// Turns until the run is over, with a cable that carries if it is to, and checks what must hold whatever happened.
    fn finish(mut self, carries: bool) -> Tally {
        while !self.client.is_over() {
            assert!(self.now.0 < 60 * SECOND, "the run has no end: {:?}", self.watch.progress());
            self.turn(carries);
        }
        // The last acknowledgments are still under way.
        (0..400).for_each(|_| self.turn(carries));
        assert_eq!(self.heap_calls, 0, "a turn called the allocator");
        for engine in [self.client.engine(), self.server.engine()] {
            assert_eq!(frames_unaccounted(engine.counters()), 0);
            assert_eq!(flows_unaccounted(engine.counters(), engine.flows().into()), 0);
        }
        assert_eq!(self.client.engine().flows(), 0, "the generator leaves nothing behind");
        let passive = self.server.engine().counters().passive_opens;
        let ended = self.watch.progress();
        assert_eq!((ended.in_progress, ended.open), (0, 0));
        let tally = self.client.into_user().into_tally();
        assert_eq!(tally.attempted, tally.completed + tally.failed_total(), "{tally:?}");
        if carries {
            assert_eq!(passive, tally.established, "the server counts the same");
        }
        tally
    }
}

fn run(plan: Plan) -> Tally {
    Pair::new(&plan).finish(true)
}

/// All that were attempted were completed, and measured.
fn assert_all_completed(tally: &Tally) {
    assert_eq!((tally.completed, tally.failed_total()), (tally.attempted, 0), "{:?}", tally.failed);
    assert_eq!(tally.established, tally.attempted);
    assert_eq!(tally.latency[Phase::Total.index()].len(), tally.completed);
    assert_eq!(tally.latency[Phase::Handshake.index()].len(), tally.established);
}

#[test]
fn as_many_connections_as_asked_for_are_made() {
    let tally = run(Plan { connections: Some(5_000), ..plan() });
    assert_eq!(tally.attempted, 5_000);
    assert_all_completed(&tally);
    assert!(tally.most_in_progress <= 512, "{}", tally.most_in_progress);
    assert!(tally.sending_ns < 2 * SECOND);
}

#[test]
fn a_rate_is_held_to_the_connection() {
    let tally = run(Plan { rate: Some(1_500), ..plan() });
    assert_eq!(tally.attempted, 3_000);
    assert_all_completed(&tally);
    assert!((2 * SECOND..2 * SECOND + 1_000_000).contains(&tally.sending_ns));
    assert!(tally.most_late_ns <= 200 * MICRO, "a turn or two: {}", tally.most_late_ns);
    let half = run(Plan { rate: Some(1_500), ramp_ns: 2 * SECOND, ..plan() });
    assert_eq!(half.attempted, 1_500);
}

#[test]
fn a_concurrency_is_held_exactly_until_the_end() {
    let mut pair = Pair::new(&Plan { concurrency: Some(3_000), hold: Hold::UntilEnd, ..plan() });
    pair.until(SECOND);
    let Progress { open, in_progress, .. } = pair.watch.progress();
    assert_eq!((open, in_progress), (3_000, 3_000));
    assert_eq!(pair.server.engine().states()[State::Established.index()], 3_000, "and so the server sees it");
    let tally = pair.finish(true);
    assert_eq!(tally.attempted, 3_000);
    assert_all_completed(&tally);
}

#[test]
fn rate_and_concurrency_are_held_together() {
    let mut pair = Pair::new(&Plan { rate: Some(2_000), concurrency: Some(500), hold: Hold::WhileWithin, ..plan() });
    for at in 5..20 {
        pair.until(at * SECOND / 10);
        assert_eq!(pair.watch.progress().open, 500, "after {at} tenths of a second");
    }
    let tally = pair.finish(true);
    assert_eq!(tally.attempted, 4_000);
    assert_all_completed(&tally);
    assert!(tally.latency[Phase::Total.index()].max() < 10_000 * MICRO, "the time of the hold is not part of it");
}

#[test]
fn connections_are_held_for_the_time_given() {
    let mut pair = Pair::new(&Plan { rate: Some(1_000), hold: Hold::Nanos(SECOND / 2), ..plan() });
    pair.until(SECOND + SECOND / 2);
    let open = pair.watch.progress().open;
    assert!((490..=510).contains(&open), "{open} are open");
    assert_all_completed(&pair.finish(true));
}

#[test]
fn connections_are_held_to_their_end_when_no_more_are_to_be_made() {
    let plan = Plan { connections: Some(10), rate: Some(1_000), hold: Hold::Nanos(SECOND), ..plan() };
    let mut pair = Pair::new(&plan);
    pair.until(SECOND - 100_000 * MICRO);
    assert_eq!(pair.watch.progress().open, 10, "not closed before their time");
    assert_all_completed(&pair.finish(true));
}

#[test]
fn the_server_may_close_first_and_a_reset_ends_it_too() {
    let target = ([198, 18, 0, 1], CLOSE).into();
    let tally = run(Plan { target, close: CloseBy::Server, connections: Some(3_000), ..plan() });
    assert_all_completed(&tally);
    assert_eq!(tally.latency[Phase::Teardown.index()].len(), 3_000);
    let reset = run(Plan { close: CloseBy::Reset, connections: Some(3_000), ..plan() });
    assert_all_completed(&reset);
    assert_eq!(reset.latency[Phase::Teardown.index()].len(), 0, "a RST needs no answer");
}

#[test]
fn an_answer_is_read_to_its_end_and_its_first_byte_measured() {
    let plan = Plan {
        target: ([198, 18, 0, 1], HTTP).into(),
        request: b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        connections: Some(2_000),
        ..plan()
    };
    let tally = run(plan.clone());
    assert_all_completed(&tally);
    assert_eq!(tally.latency[Phase::FirstByte.index()].len(), 2_000);
    // The server closes after a request that asks for it.
    let request = b"GET / HTTP/1.0\r\n\r\n".to_vec();
    assert_all_completed(&run(Plan { request, close: CloseBy::Server, ..plan }));
}

#[test]
fn what_does_not_go_as_planned_is_counted_by_its_reason() {
    let failed = |plan: Plan, reason: Reason| {
        let tally = run(plan);
        assert_eq!(tally.failed[reason.index()], tally.attempted, "{}: {:?}", reason.name(), tally.failed);
        assert!(tally.attempted >= 50);
    };
    let few = Plan { connections: Some(50), ..plan() };
    let at = |port: u16| ([198, 18, 0, 1], port).into();
    let request = b"GET / HTTP/1.1\r\n\r\n".to_vec();
    failed(Plan { target: at(9), ..few.clone() }, Reason::Refused);
    failed(Plan { target: at(CLOSE), request: request.clone(), ..few.clone() }, Reason::WrongAnswer);
    failed(
        Plan {
            target: at(HTTP),
            request: b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec(),
            ..few.clone()
        },
        Reason::WrongAnswer,
    );
    failed(Plan { request, ..few.clone() }, Reason::Timeout);
    failed(
        Plan { target: at(CLOSE), hold: Hold::UntilEnd, connections: None, rate: Some(100), ..few.clone() },
        Reason::ClosedEarly,
    );
    // The server of this plan never closes, so the run ends before its connections do.
    failed(
        Plan { close: CloseBy::Server, hold: Hold::UntilEnd, connections: None, rate: Some(100), ..few },
        Reason::Unfinished,
    );
}

#[test]
fn without_a_link_every_handshake_times_out_and_the_run_ends() {
    let tally = Pair::new(&Plan { connections: Some(600), ..plan() }).finish(false);
    let lost = tally.failed[Reason::HandshakeTimeout.index()] + tally.failed[Reason::Unfinished.index()];
    assert_eq!((tally.established, lost), (0, tally.attempted), "{:?}", tally.failed);
    assert!(tally.failed[Reason::HandshakeTimeout.index()] > 0);
}

#[test]
fn a_run_that_is_stopped_closes_what_is_open_and_keeps_its_result() {
    let mut pair = Pair::new(&Plan { concurrency: Some(1_000), hold: Hold::UntilEnd, ..plan() });
    pair.until(SECOND / 2);
    pair.watch.stop();
    let stopped = pair.now.0;
    let tally = pair.finish(true);
    assert_eq!(tally.attempted, 1_000);
    assert_all_completed(&tally);
    assert!((SECOND / 2..SECOND / 2 + 1_000_000).contains(&tally.sending_ns), "{} at {stopped}", tally.sending_ns);
}

#[test]
fn too_few_frames_or_tuples_hold_a_run_back_and_lose_nothing() {
    // Four tuples for 500 at once: each is used again as soon as it is free.
    let plan = Plan { sources: "198.18.1.1".parse().unwrap(), ports: 5000..=5003, connections: Some(200), ..plan() };
    let tally = run(plan);
    assert_all_completed(&tally);
    assert!(tally.no_tuple > 0 && tally.most_in_progress <= 4, "{} {}", tally.no_tuple, tally.most_in_progress);
}
