//! Whole runs in a lab. The rates are low for what the generator can do, so that a busy machine delays connections and
//! loses none; then the books agree to the connection.

use crate::world::{PATIENCE, V4, V6, World, server};
use handfast::blast::xdp::{Generator, XdpClose, XdpCore, XdpError, XdpPlan, XdpTally};
use handfast::steer::{AttachMode, SteerError};
use rustix::net::{AddressFamily, SocketType, listen, netdevice, socket};
use std::io::Read as _;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// MAC addresses of the lab's ends.
const CLIENT_MAC: [u8; 6] = [2, 0x68, 0x66, 0, 0, 2];
const SERVER_MAC: [u8; 6] = [2, 0x68, 0x66, 0, 0, 1];

/// Connections offered per second, and how many that makes in the two seconds of a run.
const RATE: u64 = 5_000;
const CONNECTIONS: u64 = 10_000;

/// A plan for two seconds, from four addresses.
fn plan(target: SocketAddr, close: XdpClose) -> XdpPlan {
    XdpPlan {
        ifindex: 0,
        src_mac: CLIENT_MAC,
        dst_mac: SERVER_MAC,
        target,
        first_source: if target.is_ipv4() { "198.18.1.1" } else { "2001:2::100" }.parse().unwrap(),
        sources: 4,
        ports: 1024..=65_535,
        close,
        rate: RATE,
        connections: None,
        duration: Duration::from_secs(2),
        grace: PATIENCE,
        mode: AttachMode::Native,
        core: XdpCore::Any,
    }
}

/// The index of the client's interface, in the client's namespace.
pub fn client_ifindex() -> u32 {
    let any = socket(AddressFamily::INET, SocketType::DGRAM, None).unwrap();
    netdevice::name_to_index(any, "hf-client").unwrap()
}

/// Runs a plan at the lab's client.
fn generate(world: &World, plan: &XdpPlan, stop: &AtomicBool) -> Result<XdpTally, XdpError> {
    world.in_client(|| {
        let mut reports = 0;
        let tally = Generator::load(&XdpPlan { ifindex: client_ifindex(), ..plan.clone() })?
            .run(stop, &mut |_, _| reports += 1)?;
        assert!(tally.elapsed < Duration::from_millis(500) || reports > 0, "no progress was reported");
        Ok(tally)
    })
}

/// Runs a plan and insists that every connection is attempted, and that each fate has as many as `fate` says.
fn generate_all(world: &World, plan: &XdpPlan, fate: impl Fn(&XdpTally) -> u64) -> XdpTally {
    let tally = generate(world, plan, &AtomicBool::new(false)).unwrap();
    // Sending may stop short on a machine that gave us no core for long.
    assert_eq!(tally.attempted + tally.unsent, CONNECTIONS, "{tally:?}");
    assert!(tally.attempted > 0, "{tally:?}");
    assert_eq!(fate(&tally), tally.attempted, "{tally:?}");
    assert_eq!((tally.lost, tally.wrong, tally.tx_errors, tally.in_flight()), (0, 0, 0, 0), "{tally:?}");
    tally
}

/// Every connection was completed, and its times were taken.
fn assert_completed(tally: &XdpTally) {
    assert_eq!((tally.established, tally.refused, tally.reset), (tally.attempted, 0, 0), "{tally:?}");
    assert_eq!((tally.handshake.len(), tally.total.len()), (tally.attempted, tally.attempted));
    assert!(tally.handshake.min() > 1_000 && tally.total.max() < 60_000_000_000, "{tally:?}");
}

/// A listener of the kernel's at the lab's server, whose connections are read to their end, or closed at once.
fn with_listener<T>(world: &World, address: &str, read: bool, work: impl FnOnce(SocketAddr) -> T) -> (T, u64) {
    let (stop, accepted) = (AtomicBool::new(false), AtomicU64::new(0));
    let listener = world.in_server(|| TcpListener::bind(server(address, 0)).unwrap());
    // Again, with a longer queue than the standard library asks for.
    listen(&listener, 4096).unwrap();
    listener.set_nonblocking(true).unwrap();
    let target = listener.local_addr().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let Ok((mut stream, _)) = listener.accept() else {
                    thread::sleep(Duration::from_millis(1));
                    continue;
                };
                if read {
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    assert_eq!(stream.read(&mut [0; 16]).unwrap(), 0, "a FIN and no text");
                }
                accepted.fetch_add(1, Ordering::Relaxed);
            }
        });
        let _stop = crate::world::Finally(&stop);
        let result = work(target);
        // A connection completes for us before its FIN is read: closing is the kernel's.
        (result, accepted.load(Ordering::Relaxed))
    })
}

#[test]
fn the_servers_books_and_ours_agree_when_we_close_first() {
    let Some(world) = World::up("the_servers_books_and_ours_agree_when_we_close_first") else { return };
    for (address, mode) in [(V4, AttachMode::Native), (V6, AttachMode::Native), (V4, AttachMode::Generic)] {
        let serve = world.serve("--listen 7000=discard --frames 32768");
        let plan = XdpPlan { mode, ..plan(server(address, 7000), XdpClose::Client) };
        let tally = generate_all(&world, &plan, |tally| tally.completed);
        assert_completed(&tally);
        let stats = serve.settled();
        let engine = |name| stats.total.engine.get(name).unwrap();
        let books = (engine("passive_opens"), engine("established"), engine("closed"));
        assert_eq!(books, (tally.attempted, tally.attempted, tally.attempted), "{mode:?}");
        // To answers that were given again, on a machine so busy that the server's retransmissions overtake them.
        assert!(engine("resets_sent") <= tally.repeated, "{tally:?}");
        serve.end();
    }
}

#[test]
fn the_servers_books_and_ours_agree_when_the_server_closes_first() {
    let Some(world) = World::up("the_servers_books_and_ours_agree_when_the_server_closes_first") else { return };
    let serve = world.serve("--listen 7001=close --time-wait 1s --frames 32768");
    let tally = generate_all(&world, &plan(server(V4, 7001), XdpClose::Server), |tally| tally.completed);
    assert_completed(&tally);
    let stats = serve.settled();
    let engine = |name| stats.total.engine.get(name).unwrap();
    assert_eq!((engine("passive_opens"), engine("established")), (tally.attempted, tally.attempted));
    assert_eq!(engine("time_wait_expired"), tally.attempted);
}

#[test]
fn four_tuples_that_the_server_keeps_in_time_wait_are_taken_again() {
    let Some(world) = World::up("four_tuples_that_the_server_keeps_in_time_wait_are_taken_again") else { return };
    let serve = world.serve("--listen 7001=close --time-wait 30s --frames 32768");
    let target = server(V4, 7001);
    // Each of 5,000 is used twice within the run, and again by the second run, which has to go on above the first.
    let plan = XdpPlan { sources: 1, ports: 10_000..=14_999, ..plan(target, XdpClose::Server) };
    for _ in 0..2 {
        assert_completed(&generate_all(&world, &plan, |tally| tally.completed));
    }
    let reused = serve.stats().total.engine.get("time_wait_reused").unwrap();
    assert!(reused >= 2 * CONNECTIONS - 5_000 - 2_000, "{reused}");
}

#[test]
fn a_reset_instead_of_the_last_ack_leaves_nothing_at_the_server() {
    let Some(world) = World::up("a_reset_instead_of_the_last_ack_leaves_nothing_at_the_server") else { return };
    let serve = world.serve("--listen 7000=discard --frames 32768");
    let tally = generate_all(&world, &plan(server(V4, 7000), XdpClose::Reset), |tally| tally.completed);
    assert_completed(&tally);
    let stats = serve.settled();
    let engine = |name| stats.total.engine.get(name).unwrap();
    assert_eq!((engine("passive_opens"), engine("established")), (tally.attempted, 0));
}

#[test]
fn the_kernels_own_tcp_completes_every_connection() {
    let Some(world) = World::up("the_kernels_own_tcp_completes_every_connection") else { return };
    for (mode, close) in [(AttachMode::Native, XdpClose::Client), (AttachMode::Generic, XdpClose::Server)] {
        let read = close == XdpClose::Client;
        let (tally, accepted) = with_listener(&world, V4, read, |target| {
            let plan = XdpPlan { mode, ..plan(target, close) };
            generate_all(&world, &plan, |tally| tally.completed)
        });
        assert_completed(&tally);
        assert_eq!(accepted, tally.attempted, "{mode:?}");
    }
}

#[test]
fn the_kernel_takes_our_ipv6_too() {
    let Some(world) = World::up("the_kernel_takes_our_ipv6_too") else { return };
    // The client's own address: for it the kernel answers neighbour solicitations.
    let own = |target, close| XdpPlan { first_source: "2001:2::2".parse().unwrap(), sources: 1, ..plan(target, close) };
    let (tally, accepted) = with_listener(&world, V6, true, |target| {
        generate_all(&world, &own(target, XdpClose::Client), |tally| tally.completed)
    });
    assert_completed(&tally);
    assert_eq!(accepted, tally.attempted);
}

#[test]
fn where_nobody_listens_every_connection_is_refused() {
    let Some(world) = World::up("where_nobody_listens_every_connection_is_refused") else { return };
    for mode in [AttachMode::Native, AttachMode::Generic] {
        let plan = XdpPlan { mode, ..plan(server(V4, 7999), XdpClose::Client) };
        let tally = generate_all(&world, &plan, |tally| tally.refused);
        assert_eq!((tally.established, tally.completed, tally.handshake.len()), (0, 0, 0), "{tally:?}");
    }
}

#[test]
fn where_nobody_answers_every_connection_is_lost() {
    let Some(world) = World::up("where_nobody_answers_every_connection_is_lost") else { return };
    let grace = Duration::from_millis(50);
    let target = server(V4, 7000);
    // A MAC address that nobody has; every four-tuple is used twice.
    let dst_mac = [2, 0x68, 0x66, 0, 0, 9];
    let plan = XdpPlan { dst_mac, grace, sources: 1, ports: 1..=5_000, ..plan(target, XdpClose::Client) };
    let tally = generate(&world, &plan, &AtomicBool::new(false)).unwrap();
    assert_eq!((tally.attempted + tally.unsent, tally.lost), (CONNECTIONS, tally.attempted), "{tally:?}");
    assert_eq!((tally.rx_frames, tally.in_flight()), (0, 0));
}

#[test]
fn a_number_of_connections_and_a_stop_end_a_run_early() {
    let Some(world) = World::up("a_number_of_connections_and_a_stop_end_a_run_early") else { return };
    let target = server(V4, 7999);
    let start = Instant::now();
    let plan = XdpPlan { duration: Duration::from_secs(600), ..plan(target, XdpClose::Client) };
    let few = XdpPlan { connections: Some(77), ..plan.clone() };
    let tally = generate(&world, &few, &AtomicBool::new(false)).unwrap();
    assert_eq!((tally.attempted, tally.refused, tally.unsent), (77, 77, 0), "{tally:?}");
    let stop = AtomicBool::new(false);
    let tally = thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(300));
            stop.store(true, Ordering::Relaxed);
        });
        generate(&world, &plan, &stop).unwrap()
    });
    assert!(tally.refused == tally.attempted && tally.unsent == 3_000_000 - tally.attempted, "{tally:?}");
    assert!(start.elapsed() < Duration::from_secs(60));
}

#[test]
fn a_core_can_do_all_of_the_work() {
    let Some(world) = World::up("a_core_can_do_all_of_the_work") else { return };
    let serve = world.serve("--listen 7000=discard --listen 7001=close --time-wait 1s --frames 32768");
    for (mode, port, close) in [
        (AttachMode::Native, 7000, XdpClose::Client),
        (AttachMode::Generic, 7000, XdpClose::Client),
        (AttachMode::Generic, 7001, XdpClose::Server),
    ] {
        let core = XdpCore::SendsAndAnswers(0);
        let plan = XdpPlan { mode, core, ..plan(server(V4, port), close) };
        assert_completed(&generate_all(&world, &plan, |tally| tally.completed));
    }
    serve.settled();
    let (tally, accepted) = with_listener(&world, V4, true, |target| {
        let plan = XdpPlan { core: XdpCore::SendsAndAnswers(0), ..plan(target, XdpClose::Client) };
        generate_all(&world, &plan, |tally| tally.completed)
    });
    assert_eq!(accepted, tally.attempted);
}

#[test]
fn a_core_that_is_not_there_is_named() {
    let Some(world) = World::up("a_core_that_is_not_there_is_named") else { return };
    for core in [XdpCore::Sends(9_999), XdpCore::SendsAndAnswers(9_999)] {
        let plan = XdpPlan { core, ..plan(server(V4, 7999), XdpClose::Client) };
        let error = generate(&world, &plan, &AtomicBool::new(false)).unwrap_err();
        assert!(matches!(error, XdpError::Pin { core: 9_999 }), "{error}");
    }
}

#[test]
fn an_interface_that_has_a_program_is_not_taken() {
    let Some(world) = World::up("an_interface_that_has_a_program_is_not_taken") else { return };
    let plan = plan(server(V4, 7999), XdpClose::Client);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let (world, plan, first) = (&world, &plan, &stop);
        let running = scope.spawn(move || generate(world, plan, first));
        thread::sleep(Duration::from_millis(500));
        let error = generate(world, plan, &AtomicBool::new(false)).unwrap_err();
        assert!(matches!(error, XdpError::Attach(SteerError::Occupied { .. })), "{error}");
        stop.store(true, Ordering::Relaxed);
        running.join().unwrap().unwrap();
    });
    assert!(!world.lab.show().unwrap().client.xdp, "the program is gone with the run");
}
