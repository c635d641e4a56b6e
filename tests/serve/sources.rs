//! Who may talk to a server: prefixes that are denied and allowed while it runs, and the limit of SYNs from one prefix.

use std::io::{ErrorKind, Read as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use handfast::bench::clients::{ClientsArgs, Service};
use handfast::observe::report::{Reloaded, Stats};

use crate::wire::{Capture, FROM_SERVER};
use crate::world::{Finally, Serve, V4, V6, World, assert_no_loss, http_exchange, server, text};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n";

fn reload(serve: &Serve<'_>, args: &[&str]) -> Reloaded {
    let output = serve.ask(&[&["reload", "--json"], args].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn steering(stats: &Stats, name: &str) -> u64 {
    stats.steering.get(name).unwrap()
}

/// Every frame that steering saw ended in one way.
fn assert_steering_balances(stats: &Stats) {
    let outcomes = stats.steering.iter().filter(|(name, _)| !["seen", "syn_buckets", "syn_unlimited"].contains(name));
    assert_eq!(outcomes.map(|(_, n)| n).sum::<u64>(), steering(stats, "seen"), "{:?}", stats.steering);
}

#[test]
fn a_denied_prefix_hears_nothing_until_a_reload_lets_it_in_again() {
    let Some(world) = World::up("a_denied_prefix_hears_nothing_until_a_reload_lets_it_in_again") else { return };
    for mode in ["native", "generic"] {
        let file = world.file("serve.toml", b"listen = [\"80=http\"]\n");
        let serve = world.serve(&format!("--config {file} --xdp-mode {mode}"));
        let mut open = world.connect(server(V4, 80)).unwrap();
        http_exchange(&mut open, REQUEST);

        let denying = b"listen = [\"80=http\"]\n[steering]\ndeny = [\"198.18.0.0/16\"]\n";
        world.file("serve.toml", denying);
        let answer = reload(&serve, &[]);
        assert_eq!((answer.limits, answer.unchanged), (vec!["deny".to_owned()], vec!["80=http".to_owned()]));
        let capture = Capture::start(&world);
        assert_eq!(world.connect(server(V4, 80)).unwrap_err().kind(), ErrorKind::TimedOut, "{mode}");
        // The open connection is denied, too, and the other family is not.
        open.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        open.write_all(REQUEST).unwrap();
        assert_eq!(open.read(&mut [0; 100]).unwrap_err().kind(), ErrorKind::WouldBlock, "{mode}");
        http_exchange(&mut world.connect(server(V6, 80)).unwrap(), REQUEST);
        let captured = capture.stop();
        assert_eq!(captured.count(&format!("{FROM_SERVER} && tcp && ip")), 0, "{mode}: somebody answered");
        let stats = serve.stats();
        assert!(steering(&stats, "drop_denied") >= 2, "{:?}", stats.steering);
        assert_steering_balances(&stats);

        // One address of the denied prefix is let in by a flag, and the connection goes on where it was.
        let answer = reload(&serve, &["--allow", "198.18.0.2"]);
        assert_eq!(answer.limits, ["allow"]);
        open.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut response = [0; 12];
        open.read_exact(&mut response).unwrap();
        assert_eq!(&response, b"HTTP/1.1 200");
        http_exchange(&mut world.connect(server(V4, 80)).unwrap(), REQUEST);
        assert_no_loss(&serve.stats());
        serve.end();
    }
}

#[test]
fn filters_that_are_reloaded_under_load_drop_nobody_whom_all_of_them_allow() {
    let Some(world) = World::up("filters_that_are_reloaded_under_load_drop_nobody_whom_all_of_them_allow") else {
        return;
    };
    let serve = world.serve("--listen 7000=discard --time-wait 500ms");
    let done = AtomicBool::new(false);
    let completed = thread::scope(|scope| {
        let clients = scope.spawn(|| {
            let mut completed = 0;
            while !done.load(Ordering::Relaxed) {
                let args =
                    ClientsArgs { connections: 1_000, service: Service::Discard, ..ClientsArgs::new(server(V4, 7000)) };
                completed += world.drive_all(&args).connections.completed;
            }
            completed
        });
        let stop = Finally(&done);
        // Each allows the client in another way.
        let filters = [
            ["--deny", "0.0.0.0/0", "--allow", "198.18.0.0/24"],
            ["--deny", "198.18.0.0/16", "--allow", "198.18.0.2"],
            ["--deny", "198.18.0.0/24", "--allow", "198.18.0.2/31"],
            ["--deny", "198.18.1.0/24", "--allow", "0.0.0.0/0"],
        ];
        for filter in filters.iter().cycle().take(12) {
            thread::sleep(Duration::from_millis(100));
            assert!(reload(&serve, filter).needs_restart.is_empty());
        }
        drop(stop);
        clients.join().unwrap()
    });
    assert!(completed >= 1_000);
    let stats = serve.settled();
    assert_eq!(steering(&stats, "drop_denied"), 0, "{:?}", stats.steering);
    assert_steering_balances(&stats);
}

#[test]
fn syns_beyond_the_rate_wait_for_their_turn() {
    let Some(world) = World::up("syns_beyond_the_rate_wait_for_their_turn") else { return };
    let file = world.file("serve.toml", b"listen = [\"80=http\"]\n[steering]\nsyn-rate = 3\n");
    let serve = world.serve(&format!("--config {file}"));
    for address in [V4, V6] {
        let started = Instant::now();
        let mut streams: Vec<_> = (0..4).map(|_| world.connect(server(address, 80)).unwrap()).collect();
        // The client's kernel sends the fourth SYN again after a second. By then there is room for it.
        assert!(started.elapsed() >= Duration::from_millis(900), "{:?}", started.elapsed());
        streams.iter_mut().for_each(|stream| drop(http_exchange(stream, REQUEST)));
    }
    let stats = serve.stats();
    assert_eq!((steering(&stats, "drop_syn_rate"), steering(&stats, "syn_buckets")), (2, 2), "{:?}", stats.steering);
    assert_steering_balances(&stats);
    // A reload lifts the limit.
    world.file("serve.toml", b"listen = [\"80=http\"]\n");
    assert_eq!(reload(&serve, &[]).limits, ["syn-rate"]);
    let started = Instant::now();
    let streams: Vec<_> = (0..10).map(|_| world.connect(server(V4, 80)).unwrap()).collect();
    assert!(started.elapsed() < Duration::from_millis(900), "{} connections: {:?}", streams.len(), started.elapsed());
    assert_eq!(steering(&serve.stats(), "drop_syn_rate"), 2);
}

#[test]
fn prefixes_that_cannot_be_are_all_named() {
    let Some(world) = World::up("prefixes_that_cannot_be_are_all_named") else { return };
    let output = world.serve_to_the_end(
        "--listen 80=http --deny 10.1.2.3/8 --deny 10.0.0.0/33 --allow x --deny ::/0 --allow ::/0 --syn-rate-prefix-v4 33",
    );
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{message}");
    let words = [
        "--deny 10.1.2.3/8: names an address inside of the prefix; write 10.0.0.0/8",
        "--deny 10.0.0.0/33: must have at most 32 bits",
        "--allow x: must be an address or ADDR/BITS",
        "deny ::/0 and allow ::/0: one prefix has one rule",
        "--syn-rate-prefix-v4 33: must be from 0 to 32",
    ];
    for word in words {
        assert!(message.contains(word), "no {word:?} in: {message}");
    }
    assert!(!world.has_xdp());
}
