//! Many kernel clients at once over a link that loses, repeats, delays and reorders: every connection completes, every byte
//! is the right one, nobody resets a connection that is not over, and nothing is left over.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use handfast::bench::clients::{ClientsArgs, Service};
use handfast::observe::report::Stats;
use handfast::sim::link::Faults;

use crate::conversations::noise;
use crate::relay::{Carried, Middle, Report, WAYS};
use crate::wire::Capture;
use crate::world::{V4, V6, World, server, text};

/// TIME-WAIT is longer than a client that has lost its FIN, or the answer, three times in a row is silent.
const LISTENERS: &str = "--listen 7000=discard --listen 7001=close --time-wait 2s --frames 32768";
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n";
/// How long a client may take: a lost SYN costs seconds, a second one in a row more.
const CLIENT_PATIENCE: Duration = Duration::from_secs(60);

/// How many clients do what.
struct Crowd {
    /// Connections to each of the services that send nothing, and how many of them at once.
    connections: usize,
    concurrency: usize,
    /// What a client of the discard service sends, in bytes.
    bytes: usize,
    /// Threads that fetch the body one time after another, and how often.
    readers: usize,
    fetches: usize,
    /// Length of the body.
    body: usize,
}

/// Four hundred at once, 2,200 in all.
const CROWD: Crowd =
    Crowd { connections: 1_000, concurrency: 150, bytes: 4_000, readers: 100, fetches: 2, body: 1 << 20 };

impl Crowd {
    fn fetched(&self) -> u64 {
        (self.readers * self.fetches) as u64
    }

    fn all(&self) -> u64 {
        2 * self.connections as u64 + self.fetched()
    }
}

/// One GET on a connection of its own; the server closes behind the answer.
fn fetch(target: SocketAddr, body: &[u8]) -> Result<(), String> {
    let mut answer = Vec::with_capacity(body.len() + 1024);
    let mut exchange = || {
        let mut stream = TcpStream::connect_timeout(&target, CLIENT_PATIENCE)?;
        stream.set_read_timeout(Some(CLIENT_PATIENCE))?;
        stream.write_all(REQUEST)?;
        stream.read_to_end(&mut answer)
    };
    exchange().map_err(|error| format!("{error} after {} bytes", answer.len()))?;
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n").ok_or("no header")? + 4;
    if !answer.starts_with(b"HTTP/1.1 200 OK\r\n") {
        return Err(text(&answer[..head]));
    }
    if &answer[head..] != body { Err(format!("another body, {} bytes", answer.len() - head)) } else { Ok(()) }
}

/// All clients of a crowd at the same time. None may fail.
fn visit(world: &World, address: &str, crowd: &Crowd, body: &[u8]) {
    let args = |port, service| ClientsArgs {
        connections: crowd.connections,
        concurrency: crowd.concurrency,
        bytes: crowd.bytes,
        service,
        timeout: CLIENT_PATIENCE,
        ..ClientsArgs::new(server(address, port))
    };
    let read = || (0..crowd.fetches).try_for_each(|_| fetch(server(address, 80), body));
    world.in_client(|| {
        thread::scope(|scope| {
            let discard = scope.spawn(|| world.drive_all(&args(7000, Service::Discard)));
            let close = scope.spawn(|| world.drive_all(&args(7001, Service::Close)));
            let readers: Vec<_> = (0..crowd.readers).map(|_| scope.spawn(read)).collect();
            let failures: Vec<String> = readers.into_iter().filter_map(|reader| reader.join().unwrap().err()).collect();
            assert!(failures.is_empty(), "{} readers failed: {failures:#?}", failures.len());
            for report in [discard.join().unwrap(), close.join().unwrap()] {
                println!("{report}");
            }
        });
    });
}

fn engine(stats: &Stats, name: &str) -> u64 {
    stats.total.engine.get(name).unwrap()
}

/// Each connection was opened once, ended as connections do, and what it brought counted once.
fn assert_all_ended_well(stats: &Stats, crowd: &Crowd) {
    let engine = |name| engine(stats, name);
    let all = &stats.total.engine;
    assert_eq!((engine("passive_opens"), engine("established")), (crowd.all(), crowd.all()), "{all:?}");
    let ends = ["closed", "time_wait_expired", "time_wait_reused"].map(engine);
    assert_eq!(ends.iter().sum::<u64>(), crowd.all(), "{all:?}");
    let bytes = crowd.connections * crowd.bytes + crowd.readers * crowd.fetches * REQUEST.len();
    assert_eq!((engine("bytes_received"), engine("requests")), (bytes as u64, crowd.fetched()), "{all:?}");
}

/// A crowd over a link with `faults`. Returns what the relay and the server say of it in the end.
fn over(test: &str, address: &str, faults: Faults, seed: u64) -> Option<(Report, Stats)> {
    let world = World::up(test)?;
    let middle = Middle::between(&world);
    let relay = middle.relay(faults, seed);
    let body = noise(CROWD.body);
    let file = world.file("body.bin", &body);
    let serve = world.serve(&format!("--listen 80=http:{file} {LISTENERS}"));
    assert!(serve.log().contains("hf-server (native, copy)"), "{}", serve.log());
    visit(&world, address, &CROWD, &body);
    let stats = serve.settled();
    assert_all_ended_well(&stats, &CROWD);
    let report = relay.stop();
    serve.end();
    println!("{test}: {report:#?}\n{:?}", stats.total.engine);
    assert!(report.verdict.findings.is_empty(), "{:#?}", report.verdict.findings);
    Some((report, stats))
}

/// True if at least so many of 1,000 frames of each way met this fate.
fn at_least(report: &Report, per_mille: u64, fate: impl Fn(&Carried) -> u64) -> bool {
    WAYS.iter().map(|way| report.of(*way)).all(|carried| fate(&carried) * 1_000 >= carried.came * per_mille)
}

#[test]
fn over_a_relay_without_faults_nothing_is_sent_twice_and_nobody_resets() {
    let Some(world) = World::up("over_a_relay_without_faults_nothing_is_sent_twice_and_nobody_resets") else { return };
    let middle = Middle::between(&world);
    let relay = middle.relay(Faults::default(), 1);
    let crowd = Crowd { connections: 200, concurrency: 20, readers: 10, fetches: 3, body: 100_000, ..CROWD };
    let body = noise(crowd.body);
    let file = world.file("body.bin", &body);
    let serve = world.serve(&format!("--listen 80=http:{file} {LISTENERS}"));
    let capture = Capture::start(&world);
    for address in [V4, V6] {
        visit(&world, address, &crowd, &body);
    }
    capture.stop().assert_undisturbed();
    let stats = serve.settled();
    let disturbed =
        ["data_retransmissions", "fin_retransmissions", "syn_ack_retransmissions", "resets_sent", "duplicate_acks"];
    assert_eq!(disturbed.map(|name| engine(&stats, name)), [0; 5]);
    let report = relay.stop();
    serve.end();
    assert!(report.verdict.findings.is_empty(), "{:#?}", report.verdict.findings);
    for way in WAYS {
        let Carried { came, forwarded, lost, again, overtaken, refused, others } = report.of(way);
        assert_eq!((forwarded, [lost, again, overtaken, refused]), (came, [0; 4]), "{report:?}");
        assert!(others > 0, "neighbour discovery did not go through the relay");
    }
}

#[test]
fn all_connections_complete_with_three_percent_lost_each_way() {
    let faults = Faults { loss: 30, ..Faults::none(1_000_000) };
    let test = "all_connections_complete_with_three_percent_lost_each_way";
    let Some((report, stats)) = over(test, V4, faults, 2) else { return };
    assert!(at_least(&report, 20, |carried| carried.lost), "{report:?}");
    let made_good = ["data_retransmissions", "fast_retransmissions", "fin_retransmissions", "syn_ack_retransmissions"];
    assert!(made_good.iter().all(|name| engine(&stats, name) > 0), "{:?}", stats.total.engine);
}

#[test]
fn all_connections_complete_with_frames_repeated_and_out_of_order() {
    // Held back for less than two ways: no copy of a SYN comes when its connection is over.
    let faults = Faults { duplicate: 50, reorder: 100, jitter_ns: 3_000_000, ..Faults::none(2_000_000) };
    let test = "all_connections_complete_with_frames_repeated_and_out_of_order";
    let Some((report, stats)) = over(test, V4, faults, 3) else { return };
    assert!(at_least(&report, 30, |carried| carried.again), "{report:?}");
    assert!(at_least(&report, 10, |carried| carried.overtaken), "{report:?}");
    assert!(engine(&stats, "duplicate_acks") > 0, "{:?}", stats.total.engine);
}

#[test]
fn all_connections_complete_over_ipv6_with_loss_delay_and_disorder() {
    let faults = Faults { loss: 20, reorder: 50, jitter_ns: 8_000_000, ..Faults::none(5_000_000) };
    let test = "all_connections_complete_over_ipv6_with_loss_delay_and_disorder";
    let Some((report, stats)) = over(test, V6, faults, 4) else { return };
    assert!(at_least(&report, 13, |carried| carried.lost), "{report:?}");
    assert!(at_least(&report, 3, |carried| carried.overtaken), "{report:?}");
    assert!(engine(&stats, "data_retransmissions") > 0, "{:?}", stats.total.engine);
}
