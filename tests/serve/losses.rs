//! Loss provoked in each ring while connections are opened: every lost frame shows in the counter of the place where it was lost, and when
//! it is over the books balance to the frame.
//!
//! `HANDFAST_LOSSES_SECONDS=60 cargo test --test serve losses -- --nocapture` is the long version, and prints what was lost.

use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use handfast::observe::report::Stats;
use handfast::port::xsk::XskConfig;
use rustix::process::Signal;

use crate::wire::{Crafted, Hand, SYN};
use crate::world::{HANDFAST, Process, Serve, V4, World, run, server, summary};

/// How long connections are opened under each configuration, if nothing is said.
const SECONDS: u64 = 4;
/// Frames sent by hand to a queue without a socket.
const BY_HAND: u16 = 50;

/// How long connections are opened under each of the two configurations: half of what is asked for.
fn seconds() -> u64 {
    let asked = std::env::var("HANDFAST_LOSSES_SECONDS").ok().and_then(|text| text.parse::<u64>().ok());
    asked.map_or(SECONDS, |seconds| (seconds / 2).max(1))
}

/// A generator that opens connections as fast as it can and asks each for more than one turn may send.
fn blast(world: &World, seconds: u64) -> Process {
    let duration = format!("{seconds}s");
    let mut command = world.at_client(HANDFAST, &["blast", "-i", "hf-client", "--target", &format!("{V4}:80")]);
    command.args([
        "--queues",
        "0",
        "--request",
        "GET /",
        "--concurrency",
        "512",
        "--timeout",
        "1s",
        "--duration",
        &duration,
    ]);
    command.env_remove("RUST_LOG").stdout(Stdio::null()).stderr(Stdio::null());
    Process(command.spawn().unwrap())
}

/// SYNs to a queue that has no socket.
fn send_to_the_wrong_queue(world: &World) {
    let syn = |port| Crafted::new(format!("198.18.0.77:{port}").parse().unwrap(), server(V4, 80), SYN).bytes();
    let config = XskConfig {
        frames: 256,
        rx_ring: 64,
        tx_ring: 64,
        fill_ring: 64,
        completion_ring: 64,
        ..XskConfig::new("hf-client", 1)
    };
    let frames: Vec<_> = (0..BY_HAND).map(|n| syn(1_000 + n)).collect();
    Hand::with(world, config).send_all(&frames);
}

/// Takes the server's interface down or up.
fn set_link(world: &World, state: &str) {
    run(&mut world.at_server("ip", &["link", "set", "hf-server", state]));
}

/// Opens connections under `settings` of the file while the server is stopped again and again, and its interface is down each third time when
/// it goes on. Returns the closing report.
fn provoke(world: &World, settings: &str) -> Stats {
    let body = world.file("body", &vec![b'x'; 200_000]);
    // Whoever was forgotten by a peer is to be given up soon.
    let config = world.file("losses.toml", format!("{settings}[tcp]\nrto-max = \"1s\"\n").as_bytes());
    let mut command =
        world.serve_command("--queues 0 --time-wait 100ms --half-open-timeout 1s --idle-timeout 2s --json");
    command.args(["--fin-wait-2", "1s", "--data-retries", "3", "--config", &config, "--listen"]);
    command.arg(format!("80=http:{body}"));
    let serve = Serve::start(world, command);
    send_to_the_wrong_queue(world);
    let mut generator = blast(world, seconds());
    let started = Instant::now();
    let mut round = 0_u32;
    while generator.0.try_wait().unwrap().is_none() {
        assert!(started.elapsed() < Duration::from_secs(seconds() + 30), "the generator does not end");
        thread::sleep(Duration::from_millis(300));
        serve.process.signal(Signal::STOP);
        thread::sleep(Duration::from_millis(100));
        round += 1;
        let is_unplugged = round.is_multiple_of(3);
        if is_unplugged {
            set_link(world, "down");
        }
        serve.process.signal(Signal::CONT);
        if is_unplugged {
            thread::sleep(Duration::from_millis(50));
            set_link(world, "up");
        }
    }
    serve.stats_when("no flow and no frame under way", |stats| {
        let place = |name| stats.total.ledger.get(name).unwrap();
        stats.total.flows == 0 && place("tx") + place("tx_pending") + place("in_hand") == 0
    });
    let stats = summary(&serve.end()).stats;
    println!("--- {} s, {}", seconds(), settings.trim().replace('\n', ", "));
    println!("{}", handfast::observe::text::stats(&stats));
    stats
}

/// The books of a server that has ended: nothing is missing, wherever frames were lost.
fn assert_exact(stats: &Stats) {
    assert!(stats.ledgers.balanced(), "{:?}", stats.ledgers);
    assert_eq!(stats.identities.len(), 9);
    for identity in &stats.identities {
        assert!(identity.holds(), "{identity:?}");
        // At the edges a frame of the kernel's own (a group membership, say) may slip through.
        let exact = identity.name != "interface_to_program";
        assert!(!exact || (identity.difference, identity.tolerance) == (0, 0), "{identity:?}");
    }
}

#[test]
fn what_each_ring_loses_is_counted_and_the_books_balance_to_the_frame() {
    let test = "what_each_ring_loses_is_counted_and_the_books_balance_to_the_frame";
    let Some(world) = World::up_with(test, |lab| lab.queues = 2) else { return };
    let short = provoke(&world, "frames = 1024\nrx-ring = 64\ntx-ring = 64\n");
    let few = provoke(&world, "frames = 256\n");
    for stats in [&short, &few] {
        let Stats { total, steering, .. } = stats;
        // The client's kernel may send there, too: a RST for a segment that nobody there waits for any more.
        assert!(steering.get("pass_no_socket").unwrap() >= u64::from(BY_HAND), "{steering:?}");
        assert!(total.port.get("tx_kicks_failed").unwrap() > 0, "the interface was down: {:?}", total.port);
        assert!(total.engine.get("established").unwrap() > 100, "{:?}", total.engine);
    }
    let port = |stats: &Stats, name| stats.total.port.get(name).unwrap();
    let kernel = |stats: &Stats, name| stats.total.xdp_statistics.get(name).unwrap();
    assert!(kernel(&short, "rx_ring_full") > 0, "the RX ring is short and its worker was stopped: {:?}", short.total);
    assert!(port(&short, "tx_ring_full") > 0, "the TX ring is short and much was to send: {:?}", short.total.port);
    assert!(kernel(&few, "rx_dropped") > 0, "there was no frame to receive into: {:?}", few.total);
    assert!(kernel(&few, "rx_fill_ring_empty_descs") > 0, "{:?}", few.total.xdp_statistics);
    assert!(port(&few, "fill_starved") > 0, "answers could not be sent, and were all the frames: {:?}", few.total.port);
    [&short, &few].into_iter().for_each(assert_exact);
}
