//! Captures of a running server, read by tshark: verdicts as comments, what a filter leaves out, connections that fail, limits, and files
//! that cannot be.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;

use handfast::bench::clients::{ClientsArgs, Service};
use handfast::observe::report::Stats;
use rustix::net::sockopt::set_socket_linger;

use crate::wire::{Captured, Checksum, Crafted, Hand, RST, SYN};
use crate::world::{V4, V6, World, assert_clean, server, summary, text};

/// A frame of a capture: queue's name, direction, time, comment, flags.
fn frames(file: &str, filter: &str) -> Vec<Vec<String>> {
    let fields =
        ["frame.interface_name", "frame.packet_flags_direction", "frame.time_epoch", "frame.comment", "tcp.flags"];
    Captured::of(file).frames(filter, &fields)
}

/// The comments of the frames that a display filter selects, sorted.
fn comments(file: &str, filter: &str) -> Vec<String> {
    let mut comments: Vec<_> = frames(file, filter).into_iter().map(|frame| frame[3].clone()).collect();
    comments.sort_unstable();
    comments
}

/// The books of a capture: what workers handed over is written, and nothing was missed.
fn assert_whole(stats: &Stats) {
    let count = |name| stats.total.capture.get(name).unwrap();
    let capture = stats.capture.as_ref().unwrap();
    let kept = |file: &Option<handfast::observe::report::CaptureFile>| {
        file.as_ref().map_or(0, |file| file.frames + file.unwritten)
    };
    assert_eq!((kept(&capture.all), kept(&capture.failed)), (count("captured"), count("captured_of_failed")));
    assert_eq!(count("missed"), 0);
}

/// A SYN from an address that nobody has.
fn syn(port: u16) -> Crafted {
    Crafted::new(SocketAddr::new("198.18.0.77".parse().unwrap(), port), server(V4, 80), SYN)
}

#[test]
fn every_frame_is_in_the_capture_with_its_verdict() {
    let Some(world) = World::up_with("every_frame_is_in_the_capture_with_its_verdict", |lab| lab.queues = 2) else {
        return;
    };
    let file = world.path("all.pcapng");
    let serve = world.serve(&format!("--listen 80=http --listen 7000=discard --time-wait 1s --capture {file} --json"));
    for (address, service, port) in [(V4, Service::Http, 80), (V6, Service::Discard, 7000)] {
        world.drive_all(&ClientsArgs { connections: 500, service, ..ClientsArgs::new(server(address, port)) });
    }
    let mut hand = Hand::new(&world);
    hand.send(&Crafted { checksum: Checksum::Wrong, ..syn(1_001) }.bytes());
    hand.send(&Crafted { flags: RST, ..syn(1_002) }.bytes());
    let mut port_0 = syn(1_003);
    port_0.src.set_port(0);
    hand.send(&port_0.bytes());
    serve.settled();
    let summary = summary(&serve.end());
    let stats = &summary.stats;
    assert_clean(stats);
    assert!(stats.identities.iter().all(handfast::observe::identity::Identity::holds), "{:?}", stats.identities);
    assert_whole(stats);
    let figures = |name| stats.total.engine.get(name).unwrap();
    let captured = stats.total.capture.get("captured").unwrap();
    assert_eq!(captured, figures("received") + figures("transmitted_in_place") + figures("emitted"));

    let all = Captured::of(&file);
    assert_eq!(all.count("frame") as u64, captured);
    assert_eq!(all.count("frame.packet_flags_direction == 1") as u64, figures("received"));
    assert_eq!(all.count("frame.comment == \"answered\"") as u64, figures("transmitted_in_place"));
    assert_eq!(all.count("frame.comment == \"accepted\"") as u64, figures("accepted"));
    for reason in ["bad_tcp_checksum", "rst_to_closed", "bad_port"] {
        assert_eq!(all.count(&format!("frame.comment == \"drop: {reason}\"")), 1, "{reason}");
    }
    for queue in ["0", "1"] {
        assert!(all.count(&format!("frame.interface_name == \"hf-server queue {queue}\"")) > 100, "queue {queue}");
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    let first: f64 = frames(&file, "frame.number == 1")[0][2].parse().unwrap();
    assert!((now - 120.0..=now).contains(&first), "{first} is not of late ({now})");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_filter_leaves_out_what_does_not_fit() {
    let Some(world) = World::up("a_filter_leaves_out_what_does_not_fit") else { return };
    let file = world.path("some.pcapng");
    let mut command = world.serve_command("--listen 80=http --time-wait 1s --json --capture");
    command.args([&file, "--capture-filter", "dropped, syn and out and not host 2001:2::1", "--capture-snaplen", "60"]);
    let serve = crate::world::Serve::start(&world, command);
    for address in [V4, V6] {
        world.drive_all(&ClientsArgs {
            connections: 20,
            service: Service::Http,
            ..ClientsArgs::new(server(address, 80))
        });
    }
    Hand::new(&world).send(&Crafted { checksum: Checksum::Wrong, payload: vec![7; 500], ..syn(1_001) }.bytes());
    serve.settled();
    assert_whole(&summary(&serve.end()).stats);
    let all = Captured::of(&file);
    assert_eq!(all.count("tcp.flags.syn == 1 && tcp.flags.ack == 1 && ip"), 20);
    assert_eq!(comments(&file, "frame.comment"), ["drop: bad_tcp_checksum"]);
    assert_eq!(all.count("frame"), 21);
    assert_eq!(all.frames("frame.comment", &["frame.len", "frame.cap_len"]), [["554", "60"]]);
}

#[test]
fn connections_that_fail_leave_their_frames_and_others_none() {
    let Some(world) = World::up("connections_that_fail_leave_their_frames_and_others_none") else { return };
    let file = world.path("failed.pcapng");
    let serve = world.serve(&format!(
        "--listen 80=http --time-wait 1s --half-open-timeout 1s --syn-retries 0 --json --capture-failed {file}"
    ));
    world.drive_all(&ClientsArgs { connections: 200, service: Service::Http, ..ClientsArgs::new(server(V4, 80)) });
    // One that nobody completes, and one that is reset behind its request.
    Hand::new(&world).send(&syn(1_001).bytes());
    let mut stream = world.connect(server(V4, 80)).unwrap();
    stream.write_all(b"GET / HT").unwrap();
    serve.stats_when("a connection with text", |stats| stats.total.engine.get("bytes_received").unwrap() >= 8);
    let port = stream.local_addr().unwrap().port();
    set_socket_linger(&stream, Some(std::time::Duration::ZERO)).unwrap();
    drop(stream);
    serve.stats_when("two that failed", |stats| stats.total.capture.get("failures_captured") == Some(2));
    serve.settled();
    assert_whole(&summary(&serve.end()).stats);
    assert_eq!(comments(&file, "tcp.port == 1001"), ["answered", "failed: half_open_timeout"]);
    let reset = comments(&file, &format!("tcp.port == {port}"));
    assert_eq!(reset.last().unwrap(), "answered", "{reset:?}");
    assert!(reset.contains(&"accepted; failed: reset_by_peer".to_owned()), "{reset:?}");
    assert_eq!(Captured::of(&file).count(&format!("!(tcp.port == 1001) && !(tcp.port == {port})")), 0);
    let last = frames(&file, &format!("tcp.port == {port}")).pop().unwrap();
    assert!(last[3].ends_with("failed: reset_by_peer") && last[4].ends_with('4'), "the RST is the last: {last:?}");
}

#[test]
fn at_its_limit_a_capture_ends_and_serving_goes_on() {
    let Some(world) = World::up("at_its_limit_a_capture_ends_and_serving_goes_on") else { return };
    let file = world.path("limited.pcapng");
    let serve = world.serve(&format!("--listen 80=http --time-wait 1s --json --capture {file} --capture-limit 64000"));
    world.drive_all(&ClientsArgs { connections: 500, service: Service::Http, ..ClientsArgs::new(server(V4, 80)) });
    serve.settled();
    let ended = serve.end();
    assert!(ended.stderr.contains("reached --capture-limit"), "{}", ended.stderr);
    let stats = summary(&ended).stats;
    assert_whole(&stats);
    let all = stats.capture.unwrap().all.unwrap();
    assert!(all.bytes <= 64_000 && all.frames > 100 && all.unwritten > 1_000, "{all:?}");
    assert_eq!(all.ended.as_deref(), Some("reached capture-limit"));
    assert_eq!(Captured::of(&file).count("frame") as u64, all.frames);
}

#[test]
fn a_capture_that_cannot_be_is_refused_before_anything_is_touched() {
    let Some(world) = World::up("a_capture_that_cannot_be_is_refused_before_anything_is_touched") else { return };
    let folder = world.path("");
    let refused = [
        (vec!["--capture", &folder], 1, "cannot open it: Is a directory", "name a file in it"),
        (vec!["--capture", "/nonexistent/x"], 1, "cannot open it: No such file", "make the folder first"),
        (vec!["--capture", "/dev/full"], 1, "not a regular file", "name a regular file"),
        (vec!["--capture", "x", "--capture-filter", "tcp"], 2, "`tcp` where a term was expected", "host ADDR"),
        (vec!["--capture-filter", "syn"], 2, "there is none", "give --capture FILE"),
        (vec!["--capture", "x", "--capture-snaplen", "9"], 2, "must be from 54 to 4096", "--capture-snaplen 9"),
    ];
    for (args, status, cause, remedy) in refused {
        let output = world.serve_command("--listen 80=http").args(&args).output().unwrap();
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{message}");
        assert!(message.contains(cause) && message.contains(remedy), "{message}");
        assert!(!world.has_xdp());
    }
}
