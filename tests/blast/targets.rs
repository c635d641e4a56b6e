//! What a generator is good for: servers that are not ours.

use super::*;
use crate::world::{V4, V6, wait_for};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

/// Reads until the peer closes.
fn discard(mut stream: TcpStream) {
    let mut buffer = [0; 4_096];
    while stream.read(&mut buffer).is_ok_and(|n| n > 0) {}
}

/// Runs `work` while the kernel accepts on the port 7000 of the server's end; returns how many it accepted, too.
fn with_kernel_listener<T>(world: &World, address: &str, work: impl FnOnce() -> T) -> (T, u64) {
    let (done, accepted) = (AtomicBool::new(false), AtomicU64::new(0));
    let listener = world.in_server(|| {
        std::fs::write("/proc/sys/net/core/somaxconn", "65535").unwrap();
        TcpListener::bind((address, 7000)).unwrap()
    });
    listener.set_nonblocking(true).unwrap();
    thread::scope(|scope| {
        let accept = || {
            while !done.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        accepted.fetch_add(1, Ordering::Relaxed);
                        stream.set_nonblocking(false).unwrap();
                        discard(stream);
                    }
                    Err(_) => thread::yield_now(),
                }
            }
        };
        scope.spawn(accept);
        let stop = crate::world::Finally(&done);
        let result = work();
        drop(stop);
        (result, accepted.load(Ordering::Relaxed))
    })
}

#[test]
fn a_kernel_listener_accepts_what_is_opened_and_sees_it_close() {
    let Some(world) = World::up("a_kernel_listener_accepts_what_is_opened_and_sees_it_close") else { return };
    for (address, args) in [
        (V4, format!("--target {V4}:7000 --source {SOURCE} --connections 5k --concurrency 64")),
        (V6, format!("--target [{V6}]:7000 --rate 1k --duration 2s")),
    ] {
        let (report, accepted) = with_kernel_listener(&world, address, || blast_all(&world, &args));
        assert_eq!(accepted, report.connections.completed, "{report}");
        assert!(report.connections.completed >= 2_000, "{report}");
    }
}

/// Starts nginx on port 80 of the server's end, its files in the world's folder; one process, so that none outlives the test.
fn nginx(world: &World) -> Process {
    let body = "handfast reads this page to its end.\n".repeat(200);
    world.file("index.html", body.as_bytes());
    let folder = world.path("");
    let config = format!(
        "daemon off; master_process off; user root; pid {folder}nginx.pid; error_log {folder}nginx.log;\n\
         events {{ worker_connections 4096; }}\n\
         http {{ access_log off; client_body_temp_path {folder}a; proxy_temp_path {folder}b; fastcgi_temp_path {folder}c;\n\
         uwsgi_temp_path {folder}d; scgi_temp_path {folder}e;\n\
         server {{ listen 80 backlog=4096; listen [::]:80 backlog=4096; root {folder}; }} }}\n"
    );
    let config = world.file("nginx.conf", config.as_bytes());
    let mut command = world.at_server("nginx", &["-c", &config]);
    let process =
        Process(command.stderr(Stdio::null()).spawn().expect("nginx starts; scripts/setup --test installs it"));
    let target = world::server(V4, 80);
    wait_for("nginx", || world.connect(target).is_ok());
    process
}

#[test]
fn nginx_answers_the_requests_of_all_connections() {
    let Some(world) = World::up("nginx_answers_the_requests_of_all_connections") else { return };
    let _nginx = nginx(&world);
    // A person's own check that the page is what it is taken for.
    let mut stream = world.connect(world::server(V4, 80)).unwrap();
    let (head, body) = world::http_exchange(&mut stream, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(head.contains("nginx") && body.len() == 7_400, "{head}");
    drop(stream);

    let at = format!("--target {V4}:80 --source {SOURCE} --concurrency 50");
    let mut command = blast_command(&world, &format!("{at} --connections 3k"));
    let output = command.args(["--request", "GET /"]).output().unwrap();
    let report = report(&output);
    assert!(output.status.success(), "{report}{}", text(&output.stderr));
    assert_eq!((report.connections.completed, report.connections.failed_total()), (3_000, 0), "{report}");
    assert_eq!(report.latency_us.first_byte.as_ref().unwrap().count, 3_000, "{report}");

    let mut command = blast_command(&world, &format!("{at} --connections 1k --close server"));
    let output = command.args(["--request", r"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));

    let mut command = blast_command(&world, &format!("{at} --connections 100"));
    let output = command.args(["--request", "GET /nothing-here"]).output().unwrap();
    let report = super::report(&output);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(report.connections.failed.get("wrong_answer"), Some(&100), "404 is not the answer hoped for: {report}");
}

#[test]
fn a_target_that_goes_away_leaves_failures_with_reasons_and_a_result() {
    let Some(world) = World::up("a_target_that_goes_away_leaves_failures_with_reasons_and_a_result") else { return };
    let serve = world.serve("--listen 7000=discard");
    let args = format!("--target {V4}:7000 --rate 1k --hold 500ms --duration 3s --timeout 1s");
    let mut command = blast_command(&world, &args);
    let run = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    serve.stats_when("some connections", |stats| stats.total.engine.get("established") > Some(500));
    drop(serve);
    let output = run.wait_with_output().unwrap();
    let report = report(&output);
    assert_eq!(output.status.code(), Some(1), "{report}");
    let failed = &report.connections.failed;
    // The kernel of the server's end answers RST from then on: to SYNs, and to what was open.
    assert!(failed.contains_key("refused") && failed.contains_key("reset"), "{report}");
    assert!(report.connections.completed > 0, "{report}");
    assert!(
        text(&output.stderr).contains("connections to 198.18.0.1:7000 failed (refused"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn other_traffic_of_the_interface_stays_with_the_kernel() {
    let Some(world) = World::up("other_traffic_of_the_interface_stays_with_the_kernel") else { return };
    let serve = world.serve("--listen 7000=discard --listen 7001=discard");
    let run = start_blast(&world, &format!("--target {V4}:7000 --concurrency 100 --duration 1m"));
    serve.stats_when("connections", |stats| stats.total.states.get("ESTABLISHED") == Some(100));
    // Another port of the same target, from the same address and any port.
    for _ in 0..20 {
        let mut stream = world.connect(world::server(V4, 7001)).unwrap();
        stream.write_all(b"over the kernel's own TCP").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0);
    }
    world::run(&mut world.at_client("ping", &["-c", "1", "-W", "2", V4]));
    end_blast(run);
    serve.settled();
    serve.end();
}
