//! Fairness of what goes out by itself: streams and timers, with and without free frames.

#[path = "common/peers.rs"]
mod peers;

use handfast::engine::listeners::{Endpoint, Listener, Listeners};
use handfast::engine::{Engine, EngineConfig, Secrets};
use handfast::port::memory::{Injected, MemoryConfig, MemoryPort};
use handfast::service::{AnyService, Http};
use handfast::time::Now;
use handfast::wire::options::Options;
use handfast::wire::parse::{PartialChecksums, parse};
use handfast::wire::segment::Control;
use handfast::wire::seq::SeqNum;
use handfast::wire::tuple::FourTuple;
use handfast::worker::mailbox::Mailbox;
use handfast::worker::{Idle, Worker};
use peers::{Cable, Conduct, GivenTime, Setup, WORKER_MAC, frame, hasty};
use std::collections::HashMap;
use std::sync::Arc;

const MILLI: u64 = 1_000_000;

/// Sixty large downloads whose peers acknowledge all they have, once a millisecond, keep more than a turn's budget of frames
/// ready; the half-open connection beside them is to get its SYN-ACK again after 200 ms all the same.
#[test]
fn streams_do_not_starve_timers() {
    const STREAMS: u16 = 60;
    let setup = Setup {
        port: MemoryConfig { frames: 16_384, tx_ring: 4096, completion_ring: 4096, ..MemoryConfig::default() },
        ..Setup::default()
    };
    let http = AnyService::Http(Http::new(&vec![b'x'; 8 << 20], "text/plain").unwrap());
    let listener = Listener { endpoint: Endpoint { addr: None, port: 80 }, service: http, open: true };
    let config = EngineConfig {
        tcp: hasty(),
        flows: 100,
        burst: 64,
        mac: WORKER_MAC,
        partial_checksums: PartialChecksums::Accept,
        events: 0,
    };
    let secrets = Secrets { flow_hash: [1, 2], isn: [3; 16], timestamp_offset: 0 };
    let mut now = Now::from_millis(1_000_000);
    let engine = Engine::new(config, &secrets, Listeners::new(vec![listener]), now);
    let mut worker =
        Worker::new(engine, MemoryPort::new(&setup.port), GivenTime(now), Arc::new(Mailbox::new()), Idle::Spin);
    worker.turn(now);
    worker.port_mut().set_tx_budget(u32::MAX);

    let tuple =
        |n: u16| FourTuple::new(format!("198.18.0.2:{}", 2000 + n).parse().unwrap(), "198.18.0.1:80".parse().unwrap());
    let options = Options { mss: Some(1460), window_scale: Some(10), ..Options::default() };
    for n in 0..=STREAMS {
        let syn = frame(&tuple(n), SeqNum(0), SeqNum(0), Control::SYN, u16::MAX, options, &[]);
        assert_eq!(worker.port_mut().inject(&syn), Injected::Received);
    }
    // What each stream's peer has got, by tuple; the last one never answers.
    let mut got: HashMap<FourTuple, SeqNum> = HashMap::new();
    let request = b"GET / HTTP/1.1\r\n\r\n";
    for round in 0..600 {
        now = Now(now.0 + MILLI);
        worker.turn(now);
        worker.port_mut().take_sent(usize::MAX, |bytes| {
            let segment = parse(bytes, PartialChecksums::Refuse).unwrap();
            if segment.tuple != tuple(STREAMS) {
                got.insert(segment.tuple, segment.seq + segment.len());
            }
        });
        for (tuple, ack) in &got {
            let (seq, payload): (u32, &[u8]) = if round == 0 { (1, request) } else { (19, &[]) };
            let ack = frame(tuple, SeqNum(seq), *ack, Control::ACK, u16::MAX, Options::default(), payload);
            assert_eq!(worker.port_mut().inject(&ack), Injected::Received);
        }
    }
    let counters = worker.engine().counters();
    assert_eq!((counters.frame_shortage, counters.retransmission_timeouts), (0, 0), "the port was no hindrance");
    assert!(counters.emitted > 100_000, "{counters:?}");
    assert!(counters.syn_ack_retransmissions > 0, "600 ms and no timer fired: {counters:?}");
}

/// A timer that only ends a connection needs no frame, and is not to wait for one.
#[test]
fn connections_end_in_time_while_no_frame_is_free() {
    let port = MemoryConfig { frames: 64, fill_ring: 32, ..MemoryConfig::default() };
    let mut cable = Cable::new(&Setup { port, ..Setup::default() });
    for _ in 0..100 {
        cable.open(Conduct::VanishesHalfOpen);
        cable.take = 0;
        cable.turn(MILLI);
    }
    assert!(cable.worker.engine().half_open() > 30);
    for _ in 0..10_000 {
        cable.turn(MILLI);
    }
    assert_eq!(cable.worker.engine().half_open(), 0, "half-open for 10 s; the limit is 2.5 s");
}
