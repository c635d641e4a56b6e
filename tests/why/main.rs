//! `handfast why` against a real server: each cause is brought about on a veth pair, and has to be the first that is named, with
//! its numbers and a remedy.
//!
//! The labs and processes are those of the server's tests (tests/serve/world.rs), and so are the frames made by hand. Each cause
//! has a server of its own; causes of one kind share a lab. Not here: the rules against made-up reports, which lie beside
//! them (src/observe/why).
#![cfg(feature = "xdp")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../serve/wire.rs"]
mod wire;
#[path = "../serve/world.rs"]
mod world;

mod limits;
mod peers;
mod server;
mod way_in;

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use handfast::observe::why::{Diagnosis, Finding};

use wire::{Crafted, Hand};
use world::{PATIENCE, Serve, V4, World, text};

/// What the names of this program's labs start with.
const LAB: &str = "hfwy";

/// An address that the client's kernel does not own: it answers nothing to what comes of frames from there.
const STRANGER: &str = "198.18.9.9";

/// A segment of a stranger to the served port. Each has a port of its own.
fn segment(number: u16, flags: u8) -> Crafted {
    let source = SocketAddr::new(STRANGER.parse().unwrap(), 10_000 + number);
    Crafted::new(source, world::server(V4, 80), flags)
}

/// So many segments, each changed by `change`, put on the link.
fn send(world: &World, count: u16, flags: u8, change: impl Fn(&mut Crafted)) {
    let frames = (0..count).map(|number| {
        let mut segment = segment(number, flags);
        change(&mut segment);
        segment.bytes()
    });
    Hand::new(world).send_all(&frames.collect::<Vec<_>>());
}

/// What `handfast why --json` says.
fn why(serve: &Serve<'_>) -> Diagnosis {
    let output = serve.ask(&["why", "--json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What the machine adds by itself when it does other things as well: no test but its own looks at these.
const NOISE: [&str; 2] = ["worker_without_its_core", "server_stopped"];

/// Waits until `cause` is named first, and returns the diagnosis.
fn named_first(serve: &Serve<'_>, cause: &str) -> Diagnosis {
    let start = Instant::now();
    loop {
        let diagnosis = why(serve);
        let counts = |finding: &&Finding| finding.cause == cause || !NOISE.contains(&finding.cause.as_str());
        if let Some(finding) = diagnosis.findings.iter().find(counts).filter(|finding| finding.cause == cause) {
            let page = text(&serve.ask(&["why"]).stdout);
            assert!(page.contains(&format!("({cause}, ")) && page.contains("   do:      "), "{page}");
            assert!(!finding.evidence.is_empty(), "{finding:?}");
            return diagnosis;
        }
        assert!(start.elapsed() < PATIENCE / 4, "{cause} is not named first: {diagnosis:#?}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Starts a server, brings `cause` about, and insists that it is named first.
fn shows(world: &World, args: &str, cause: &str, bring_about: impl FnOnce(&Serve<'_>)) {
    let serve = world.serve(&format!("--listen 80=discard {args}"));
    bring_about(&serve);
    named_first(&serve, cause);
    serve.end();
}

#[test]
fn of_a_server_that_is_well_nothing_is_said() {
    let Some(world) = World::up("of_a_server_that_is_well_nothing_is_said") else { return };
    let serve = world.serve("--listen 80=discard");
    let quiet = why(&serve);
    assert!(quiet.findings.is_empty(), "{quiet:?}");
    for _ in 0..50 {
        drop(world.connect(world::server(V4, 80)).unwrap());
    }
    serve.settled();
    let diagnosis = why(&serve);
    let wrong: Vec<_> = diagnosis.findings.iter().filter(|finding| !NOISE.contains(&finding.cause.as_str())).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    assert_eq!(diagnosis.established, 50);
    if diagnosis.findings.is_empty() {
        assert!(text(&serve.ask(&["why"]).stdout).contains("Nothing is wrong: "));
    }
    serve.end();
}
