//! From its first frame on, a worker neither allocates nor frees: not for any part of a connection's life, not for noise, not
//! at a limit, and not for a command. Shown by a global allocator that counts by thread, over the in-memory port turn by turn,
//! and (as root) over AF_XDP with the kernel's TCP as the peer.
//!
//! Each test also insists that what it means to show did happen, by the worker's own counters.

#[path = "common/alloc.rs"]
mod alloc;
#[cfg(feature = "xdp")]
#[path = "common/mod.rs"]
mod common;
#[path = "common/peers.rs"]
mod peers;

use alloc::{allocations, releases};
use handfast::engine::listeners::Listeners;
use handfast::port::Port;
use handfast::port::memory::{MemoryConfig, MemoryPort};
use handfast::profile::Stage;
use handfast::stats::counters::Counters;
use handfast::stats::ledger::{flows_unaccounted, frames_unaccounted};
use handfast::tcp::config::{HalfOpenFull, SynCookies, TcpConfig};
use handfast::tcp::cookie::{Key, Keys};
use handfast::tcp::state::State;
use handfast::time::Now;
use handfast::verdict::DropReason;
use handfast::worker::Worker;
use handfast::worker::capture::filter::Filter;
use handfast::worker::capture::{Recorder, RecorderConfig, Tap, queue};
use handfast::worker::mailbox::{Answer, Command, FlowQuery};
use handfast::worker::profile::Profile;
use handfast::worker::user::Nobody;
use peers::{Cable, Conduct, GivenTime, Random, Setup, hasty};

const MILLI: u64 = 1_000_000;

/// Calls of the allocator that this thread has made.
fn heap_calls() -> u64 {
    allocations() + releases()
}

/// One turn during which the worker calls the allocator not once.
fn turn<T: Tap>(worker: &mut Worker<MemoryPort, GivenTime, Nobody, T>, now: Now) -> bool {
    let before = heap_calls();
    let busy = worker.turn(now);
    assert_eq!(heap_calls() - before, 0, "a turn of the worker called the allocator");
    busy
}

/// Every counter named is above 0, or the test has not shown what it means to.
fn assert_happened(counters: &Counters, names: &[&str]) {
    let missing: Vec<_> =
        counters.scalars().filter(|(name, count)| names.contains(name) && *count == 0).map(|(name, _)| name).collect();
    assert!(missing.is_empty(), "never happened: {missing:?}");
    let known = counters.scalars().filter(|(name, _)| names.contains(name)).count();
    assert_eq!(known, names.len(), "a name in {names:?} is no counter's");
}

#[test]
fn the_counting_allocator_counts() {
    let before = (allocations(), releases());
    drop(std::hint::black_box(Box::new(7_u64)));
    assert_eq!((allocations() - before.0, releases() - before.1), (1, 1));
}

#[test]
fn connections_of_every_kind_live_and_end_without_the_heap() {
    let tcp = TcpConfig { half_open_full: HalfOpenFull::Drop, ..hasty() };
    let mut cable = Cable::new(&Setup { flows: 300, tcp, ..Setup::default() });
    let mut random = Random::new(1);
    for round in 0_usize..12_000 {
        // More connections than there is room for, and noise in between.
        if round < 4_000 && round.is_multiple_of(4) {
            cable.open(Conduct::ALL[round / 4 % Conduct::ALL.len()]);
        }
        if round < 4_000 && round.is_multiple_of(3) {
            cable.send_noise(&mut random);
        }
        cable.turn_with(MILLI, turn);
    }
    let engine = cable.worker.engine();
    let counters = engine.counters();
    assert_happened(
        counters,
        &[
            "established",
            "closed",
            "reset_by_peer",
            "half_open_timeouts",
            "retransmission_timeouts",
            "idle_timeouts",
            "fin_wait_2_timeouts",
            "time_wait_expired",
            "syn_ack_retransmissions",
            "data_retransmissions",
            "fast_retransmissions",
            "keepalive_probes",
            "window_probes",
            "challenge_acks",
            "resets_sent",
            "requests",
            "emitted",
            "bytes_received",
        ],
    );
    for reason in [DropReason::FlowTableFull, DropReason::Truncated, DropReason::BadTcpChecksum, DropReason::NotIp] {
        assert!(counters.dropped[reason.index()] > 0, "no frame was dropped as {}", reason.name());
    }
    assert_eq!(engine.flows(), 0, "every connection has come to its end");
    assert_eq!((frames_unaccounted(counters), flows_unaccounted(counters, 0)), (0, 0));
    assert!(cable.unreadable.is_empty(), "{:x?}", cable.unreadable[0]);
}

#[test]
fn a_capture_costs_no_heap() {
    // A queue that nobody empties: it is full after a while.
    let (producer, _consumer) = queue::pair(1_000, 128);
    let config = RecorderConfig {
        filter: Some(Filter::default()),
        remember: 256,
        frame_bytes: 128,
        key: [1, 2],
        queue: producer,
    };
    let mut cable = Cable::tapped(&Setup { flows: 300, ..Setup::default() }, Recorder::new(config));
    let mut random = Random::new(2);
    for round in 0_usize..12_000 {
        if round < 2_000 && round.is_multiple_of(4) {
            cable.open(Conduct::ALL[round / 4 % Conduct::ALL.len()]);
        }
        if round < 2_000 && round.is_multiple_of(3) {
            cable.send_noise(&mut random);
        }
        cable.turn_with(MILLI, turn);
    }
    cable.mailbox.stop();
    cable.worker.run();
    let counters = cable.mailbox.report().expect("published at its end").capture;
    assert_eq!(counters.captured + counters.captured_of_failed, 1_000);
    assert!(counters.to_array().iter().all(|count| *count > 0), "{counters:?}");
}

#[test]
fn cookies_and_evictions_cost_no_heap() {
    let keys = Keys { current: Key([1; 16]), previous: Some(Key([2; 16])), parity: true };
    let cases: [(SynCookies, HalfOpenFull, &[&str]); 4] = [
        (SynCookies::Always, HalfOpenFull::Drop, &["cookies_sent", "cookies_accepted", "cookies_refused"]),
        (SynCookies::Auto, HalfOpenFull::Drop, &["cookies_sent", "cookies_accepted", "cookies_switched_on"]),
        (SynCookies::Never, HalfOpenFull::EvictOldest, &["half_open_evicted"]),
        (SynCookies::Never, HalfOpenFull::EvictRandom, &["half_open_evicted"]),
    ];
    for (syn_cookies, half_open_full, names) in cases {
        let tcp = TcpConfig { syn_cookies, half_open_full, half_open_limit: 8, ..hasty() };
        let mut cable = Cable::new(&Setup { flows: 300, tcp, ..Setup::default() });
        assert!(cable.mailbox.send(Command::CookieKeys(keys)).is_ok());
        let mut random = Random::new(3);
        for round in 0_usize..12_000 {
            if round < 2_000 && round.is_multiple_of(2) {
                cable.open(Conduct::ALL[round / 2 % Conduct::ALL.len()]);
            }
            if round < 2_000 && round.is_multiple_of(3) {
                cable.send_noise(&mut random);
            }
            cable.turn_with(MILLI, turn);
        }
        let engine = cable.worker.engine();
        assert_happened(engine.counters(), names);
        assert_eq!(engine.flows(), 0, "every connection has come to its end");
        assert_eq!((frames_unaccounted(engine.counters()), flows_unaccounted(engine.counters(), 0)), (0, 0));
    }
}

#[test]
fn turns_that_are_timed_cost_no_heap_and_their_profile_comes_back() {
    for every in [1, 3] {
        let mut cable = Cable::new(&Setup { flows: 300, ..Setup::default() });
        let mut random = Random::new(9);
        assert!(cable.mailbox.send(Command::Profile(Box::new(Profile::new(every)))).is_ok());
        for round in 0_usize..3_000 {
            if round < 1_000 && round.is_multiple_of(2) {
                cable.open(Conduct::ALL[round / 2 % Conduct::ALL.len()]);
                cable.send_noise(&mut random);
            }
            cable.turn_with(MILLI, turn);
        }
        let counters = *cable.worker.engine().counters();
        assert!(cable.mailbox.send(Command::EndProfile).is_ok());
        cable.turn_with(MILLI, turn);
        let Some(Answer::Profile(profile)) = cable.mailbox.take_answer() else { panic!("no profile came back") };
        let sheet = &profile.sheet;
        // The turn of the command itself is not timed, and it received what was sent before.
        let timed = sheet.detailed.frames + sheet.whole.frames;
        assert_eq!(timed, profile.port.rx_frames);
        assert!(timed > 1_000 && counters.received - timed <= 64, "{timed} of {}", counters.received);
        assert_eq!(sheet.detailed.turns + sheet.whole.turns + sheet.polls.times, 3_000);
        assert_eq!(sheet.whole.turns == 0, every == 1);
        let sum: u64 = sheet.stages.iter().sum();
        assert!(sum <= sheet.detailed.cycles && sum * 100 >= sheet.detailed.cycles * 95, "{sum}: {:?}", sheet.detailed);
        for stage in Stage::ALL {
            assert!(sheet.readings[stage.index()] > 0, "no turn passed through {}", stage.name());
        }
        // Without one there is nothing to end, and nothing to answer.
        assert!(cable.mailbox.send(Command::EndProfile).is_ok());
        cable.turn_with(MILLI, turn);
        cable.turn_with(MILLI, turn);
        assert!(cable.mailbox.take_answer().is_none());
    }
}

#[test]
fn a_jammed_port_costs_no_heap_either() {
    let port = MemoryConfig {
        frames: 64,
        frame_size: 2048,
        fill_ring: 32,
        rx_ring: 16,
        tx_ring: 8,
        completion_ring: 8,
        tx_budget: 4,
    };
    let mut cable = Cable::new(&Setup { port, ..Setup::default() });
    for round in 0_usize..3_000 {
        if round.is_multiple_of(7) {
            cable.open(Conduct::ALL[round % Conduct::ALL.len()]);
        }
        cable.take = if round % 100 < 50 { 0 } else { 2 };
        cable.turn_with(MILLI, turn);
    }
    assert_happened(cable.worker.engine().counters(), &["frame_shortage", "established"]);
    let port = cable.worker.port().counters();
    assert!(port.tx_ring_full > 0 && port.no_free_frame > 0 && port.fill_starved > 0, "{port:?}");
}

#[test]
fn commands_are_obeyed_without_the_heap() {
    let mut cable = Cable::new(&Setup { flows: 10_000, ..Setup::default() });
    for _ in 0..20 {
        cable.open(Conduct::Idles);
    }
    for _ in 0..5 {
        cable.turn(MILLI);
    }

    cable.mailbox.send(Command::Flows(FlowQuery::new(Some(State::Established), 15, 3))).unwrap();
    cable.mailbox.send(Command::Flows(FlowQuery::new(None, 100, 3))).unwrap();
    cable.mailbox.send(Command::Listeners(Listeners::new(peers::listeners()))).unwrap();
    cable.mailbox.send(Command::TcpConfig(TcpConfig { time_wait_ms: 1, ..hasty() })).unwrap();
    cable.mailbox.send(Command::Drain).unwrap();
    for _ in 0..20 {
        cable.turn_with(MILLI, turn);
    }

    let Some(Answer::Flows(limited)) = cable.mailbox.take_answer() else { panic!("no answer to the first query") };
    let live = |query: &FlowQuery| query.flows_of_listener.iter().map(|flows| flows.live()).collect::<Vec<_>>();
    assert_eq!((limited.flows.len(), live(&limited)), (15, vec![0, 20, 0]));
    let Some(Answer::Flows(all)) = cable.mailbox.take_answer() else { panic!("no answer to the second query") };
    assert_eq!((all.flows.len(), live(&all)), (20, vec![0, 20, 0]));
    let Some(Answer::OldListeners(old)) = cable.mailbox.take_answer() else { panic!("the old listeners were kept") };
    let before = releases();
    drop(old);
    assert!(releases() > before, "their memory is freed here, by who asked");
    cable.open(Conduct::Asks);
    cable.turn_with(MILLI, turn);
    assert_eq!(cable.worker.engine().counters().resets_sent, 1, "it drains");
}

#[test]
fn answers_that_nobody_takes_are_kept_and_hold_further_commands_back() {
    let mut cable = Cable::new(&Setup::default());
    let mut sent = 0;
    for _ in 0..100 {
        sent += u32::from(cable.mailbox.send(Command::Flows(FlowQuery::new(None, 1, 0))).is_ok());
        cable.turn_with(MILLI, turn);
    }
    assert!(sent < 100, "commands are refused in the end");
    let mut answered = 0;
    for _ in 0..100 {
        answered += u32::from(cable.mailbox.take_answer().is_some());
        cable.turn_with(MILLI, turn);
    }
    assert_eq!(answered, sent, "none was lost");
}

/// The same over AF_XDP: the worker in its own thread on one end of a veth, the kernel's TCP on the other.
#[cfg(feature = "xdp")]
mod over_af_xdp {
    use super::{heap_calls, peers};
    use crate::common::root_or_skip;
    use handfast::bench::clients::{ClientsArgs, ClientsReport, Service, drive};
    use handfast::bench::lab::{Lab, LabConfig};
    use handfast::bench::netns::inside;
    use handfast::control::link::Link;
    use handfast::port::Port;
    use handfast::port::xsk::{XskConfig, XskPort};
    use handfast::steer::{AttachMode, Endpoint, MacFilter, SteerOptions, Steering};
    use handfast::worker::clock::{Clock, MonotonicClock};
    use handfast::worker::mailbox::Mailbox;
    use handfast::worker::report::Report;
    use handfast::worker::{Idle, Worker};
    use std::net::SocketAddr;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, Barrier};
    use std::thread;
    use std::time::Duration;

    const SERVER: &str = "hf-server";

    /// A lab that is removed at the end of its test, also when the test fails.
    struct TestLab(Lab);

    impl Drop for TestLab {
        fn drop(&mut self) {
            if let Err(error) = self.0.down(true) {
                eprintln!("cannot clean up: {error}");
            }
        }
    }

    /// Opens everything in the calling thread's namespace and turns until `done`. Returns the last report and how often the
    /// loop called the allocator.
    fn serve(ready: &Barrier, done: &AtomicBool) -> (Report, u64) {
        let link = Link::query(SERVER).unwrap().expect("the lab has this end");
        let mac = link.mac.expect("a veth has one");
        let mut steering =
            Steering::load(SteerOptions { queues: 1, max_endpoints: 8, mac: MacFilter::Own(mac) }).unwrap();
        steering.attach(link.index, AttachMode::Auto).unwrap();
        let port = XskPort::open(&XskConfig::new(SERVER, 0)).unwrap();
        steering.set_socket(0, port.fd()).unwrap();
        let ports = [peers::HTTP, peers::DISCARD, peers::CLOSE];
        steering.set_endpoints(&ports.map(|port| Endpoint { addr: None, port })).unwrap();
        let mut clock = MonotonicClock::start();
        let mailbox = Arc::new(Mailbox::new());
        let engine = peers::engine(&peers::Setup::default(), mac, clock.now());
        let mut worker = Worker::new(engine, port, clock, Arc::clone(&mailbox), Idle::Sleep);
        // Frames to receive into have to be there before the first client.
        worker.turn(clock.now());
        ready.wait();
        let before = heap_calls();
        while !done.load(Ordering::Relaxed) {
            if !worker.turn(clock.now()) {
                worker.port_mut().wait(Duration::from_millis(1));
            }
        }
        let calls = heap_calls() - before;
        mailbox.stop();
        worker.run();
        (mailbox.report().expect("published at its end"), calls)
    }

    fn clients(port: u16, service: Service) -> ClientsReport {
        let target: SocketAddr = format!("198.18.0.1:{port}").parse().unwrap();
        let args = ClientsArgs {
            connections: 500,
            concurrency: 32,
            service,
            bytes: 20_000,
            timeout: Duration::from_secs(5),
            ..ClientsArgs::new(target)
        };
        drive(&args, &mut |_| {}).unwrap()
    }

    #[test]
    fn kernel_clients_are_served_over_af_xdp_without_the_heap() {
        if !root_or_skip("kernel_clients_are_served_over_af_xdp_without_the_heap") {
            return;
        }
        let config = LabConfig::named(&format!("hfmm-{}", std::process::id()));
        let lab = TestLab(Lab::named(&config.name).unwrap());
        Lab::up(&config).unwrap();
        let (ready, done) = (Barrier::new(2), AtomicBool::new(false));
        let (report, calls) = thread::scope(|scope| {
            let server = scope.spawn(|| inside(&lab.0.server_namespace(), || serve(&ready, &done)).unwrap());
            ready.wait();
            let reports = inside(&lab.0.client_namespace(), || {
                [(peers::HTTP, Service::Http), (peers::DISCARD, Service::Discard), (peers::CLOSE, Service::Close)]
                    .map(|(port, service)| clients(port, service))
            });
            // Long enough for the last TIME-WAIT to end.
            thread::sleep(Duration::from_secs(1));
            done.store(true, Ordering::Relaxed);
            for report in reports.unwrap() {
                assert_eq!(report.connections.completed, 500, "{report}");
            }
            server.join().unwrap()
        });
        assert_eq!(calls, 0, "the worker called the allocator");
        let counters = &report.counters;
        assert!(counters.established >= 1500 && counters.emitted > 0 && counters.time_wait_expired > 0, "{counters:?}");
        assert!(counters.bytes_received > 10_000_000 && counters.requests >= 500, "{counters:?}");
    }
}
