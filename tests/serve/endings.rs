//! How a server ends, and what the interface is then: after a signal, after its duration, and after kill -9.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use handfast::bench::clients::ClientsArgs;
use handfast::observe::report::EndedBy;
use rustix::process::Signal;

use crate::world::{Ended, V4, V6, World, assert_clean, server, summary, text, wait_for};

/// A kernel listener on the port that was served takes a connection of a kernel client.
fn the_kernel_answers_on_port_80(world: &World) {
    let listener = world.in_server(|| TcpListener::bind(server(V4, 80)).unwrap());
    let mut stream = world.connect(server(V4, 80)).unwrap();
    listener.accept().unwrap().0.write_all(b"kernel").unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    assert_eq!(said, "kernel");
}

#[test]
fn after_kill_9_the_interface_is_the_kernels_and_a_new_server_starts_at_once() {
    let Some(world) = World::up("after_kill_9_the_interface_is_the_kernels_and_a_new_server_starts_at_once") else {
        return;
    };
    for _ in 0..3 {
        let serve = world.serve("--listen 80=http");
        assert!(world.has_xdp());
        let open = world.connect(server(V4, 80)).unwrap();
        serve.process.signal(Signal::KILL);
        let ended = serve.ended();
        assert_eq!(ended.status.code(), None, "{ended:?}");
        assert!(!world.has_xdp(), "the program outlived its process");
        the_kernel_answers_on_port_80(&world);
        assert!(std::path::Path::new(&world.path("control.sock")).exists(), "no control socket was left behind");
        // The kernel knows nothing of the connection and says so when it is used.
        drop(open);
        let start = Instant::now();
        let serve = world.serve("--listen 80=http");
        let took = start.elapsed();
        assert!(took < Duration::from_secs(3), "starting anew took {took:?}");
        world.drive_all(&ClientsArgs { connections: 100, ..ClientsArgs::new(server(V4, 80)) });
        serve.settled();
        serve.end();
    }
}

/// After any regular end: nothing is left on the interface, or of the control socket.
fn assert_gone(world: &World) {
    assert!(!world.has_xdp());
    assert!(!std::path::Path::new(&world.path("control.sock")).exists());
    the_kernel_answers_on_port_80(world);
}

fn assert_summary_on_stdout(ended: &Ended, beginning: &str) {
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert!(ended.stdout.starts_with(beginning), "{}", ended.stdout);
    assert!(ended.stdout.ends_with("balanced: every frame and flow is accounted for\n"), "{}", ended.stdout);
    assert!(ended.stderr.lines().all(|line| line.starts_with("handfast: ")), "{}", ended.stderr);
}

#[test]
fn sigterm_and_sigint_end_it_with_a_summary_and_status_0() {
    let Some(world) = World::up("sigterm_and_sigint_end_it_with_a_summary_and_status_0") else { return };
    for signal in [Signal::TERM, Signal::INT] {
        let serve = world.serve("--listen 80=discard");
        world.drive_all(&ClientsArgs { connections: 50, ..ClientsArgs::new(server(V6, 80)) });
        let start = Instant::now();
        serve.process.signal(signal);
        let ended = serve.ended();
        assert!(start.elapsed() < Duration::from_secs(1), "{signal:?} took {:?}", start.elapsed());
        assert_summary_on_stdout(&ended, "stopped by a signal after ");
        let opened = ended.stdout.lines().find_map(|line| line.trim().strip_prefix("passive_opens "));
        assert_eq!(opened.map(str::trim), Some("50"), "{}", ended.stdout);
        assert_gone(&world);
    }
}

#[test]
fn a_signal_ends_it_amid_open_connections_and_they_are_counted() {
    let Some(world) = World::up("a_signal_ends_it_amid_open_connections_and_they_are_counted") else { return };
    let serve = world.serve("--listen 80=http --json");
    let _open: Vec<_> = (0..5).map(|_| world.connect(server(V4, 80)).unwrap()).collect();
    serve.stats_when("five connections", |stats| stats.total.flows == 5);
    let ended = serve.end();
    let summary = summary(&ended);
    assert_eq!(summary.ended_by, EndedBy::Signal);
    assert_eq!((summary.stats.total.flows, summary.stats.ledgers.balanced()), (5, true));
    assert_gone(&world);
}

#[test]
fn a_duration_ends_it_and_json_is_all_that_it_prints() {
    let Some(world) = World::up("a_duration_ends_it_and_json_is_all_that_it_prints") else { return };
    let start = Instant::now();
    let serve = world.serve("--listen 80=discard --duration 2s --json");
    let report = world.drive_all(&ClientsArgs { connections: 500, ..ClientsArgs::new(server(V4, 80)) });
    let ended = serve.ended();
    let took = start.elapsed();
    assert!((2.0..4.0).contains(&took.as_secs_f64()), "{took:?}");
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    let summary = summary(&ended);
    assert_eq!(summary.ended_by, EndedBy::Duration);
    assert!((2.0..2.5).contains(&summary.stats.uptime_s), "{}", summary.stats.uptime_s);
    assert_eq!(summary.stats.total.engine.get("closed"), Some(report.connections.completed));
    assert_clean(&summary.stats);
    assert_gone(&world);
}

#[test]
fn the_output_is_the_same_without_a_reader_of_its_log() {
    let Some(world) = World::up("the_output_is_the_same_without_a_reader_of_its_log") else { return };
    let mut command = world.serve_command("--listen 80=http --duration 300ms");
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null());
    let output = command.output().unwrap();
    assert!(output.status.success());
    assert!(text(&output.stdout).starts_with("stopped at the end of its duration after 0.3s\n"));
    wait_for("the interface without a program", || !world.has_xdp());
}
