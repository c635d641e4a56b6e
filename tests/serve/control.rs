//! What is asked of a running server and changed in it: stats, flows, reload and drain, also under load.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use handfast::bench::clients::{ClientsArgs, Service};
use handfast::observe::report::{Flows, Reloaded};
use rustix::process::Signal;

use crate::wire::Capture;
use crate::world::{Finally, Serve, V4, V6, World, assert_no_loss, http_exchange, server, text};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n";

fn flows(serve: &Serve<'_>, args: &[&str]) -> Flows {
    let output = serve.ask(&[&["flows", "--json"], args].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

pub fn reload(serve: &Serve<'_>, args: &[&str]) -> Reloaded {
    let output = serve.ask(&[&["reload", "--json"], args].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn flows_are_listed_with_their_ends_state_and_service() {
    let Some(world) = World::up("flows_are_listed_with_their_ends_state_and_service") else { return };
    let serve = world.serve("--listen 80=http --listen 7001=close");
    let mut http = world.connect(server(V6, 80)).unwrap();
    http_exchange(&mut http, REQUEST);
    let close = world.connect(server(V4, 7001)).unwrap();
    serve.stats_when("a flow in FIN-WAIT-2", |stats| stats.total.states.get("FIN-WAIT-2") == Some(1));

    let all = flows(&serve, &[]);
    assert_eq!((all.matching, all.flows.len()), (2, 2));
    let of = |service: &str| all.flows.iter().find(|flow| flow.service == service).unwrap();
    let (web, closing) = (of("http"), of("close"));
    assert_eq!(web.local, "[2001:2::1]:80");
    assert_eq!(web.remote, http.local_addr().unwrap().to_string());
    assert_eq!((web.state.as_str(), web.queued, web.retries), ("ESTABLISHED", 0, 0));
    assert_eq!((closing.state.as_str(), &closing.remote), ("FIN-WAIT-2", &close.local_addr().unwrap().to_string()));
    assert!(closing.due_ms > 50_000 && closing.due_ms <= 60_000, "{closing:?}");

    let chosen = flows(&serve, &["--state", "fin-wait-2"]);
    assert_eq!((chosen.matching, chosen.flows.len(), chosen.flows[0].service.as_str()), (1, 1, "close"));
    let limited = flows(&serve, &["--limit", "1"]);
    assert_eq!((limited.matching, limited.flows.len()), (2, 1));
    let page = text(&serve.ask(&["flows"]).stdout);
    assert!(page.starts_with("queue  state") && page.ends_with("2 of 2 flows\n"), "{page}");
    let page = text(&serve.ask(&["stats"]).stdout);
    assert!(page.starts_with("handfast ") && page.contains("\n  FIN-WAIT-2   1\n"), "{page}");
}

#[test]
fn a_listener_is_added_and_one_removed_while_its_connection_goes_on() {
    let Some(world) = World::up("a_listener_is_added_and_one_removed_while_its_connection_goes_on") else { return };
    let serve = world.serve("--listen 80=http --listen 81=discard");
    let mut open = world.connect(server(V4, 80)).unwrap();
    http_exchange(&mut open, REQUEST);
    assert_eq!(world.connect(server(V4, 82)).unwrap_err().kind(), ErrorKind::ConnectionRefused);

    let answer = reload(&serve, &["--listen", "81=discard", "--listen", "82=http", "--listen", "[2001:2::1]:83=close"]);
    assert_eq!(answer.added, ["82=http", "[2001:2::1]:83=close"]);
    assert_eq!((answer.removed, answer.unchanged), (vec!["80=http".to_owned()], vec!["81=discard".to_owned()]));

    let capture = Capture::start(&world);
    // The connection of the removed listener is served on.
    http_exchange(&mut open, REQUEST);
    // New ones to it are refused with RST, by handfast: the kernel has not seen a SYN for it.
    assert_eq!(world.connect(server(V4, 80)).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    let refused = serve.stats_when("a RST", |stats| stats.total.engine.get("resets_sent") == Some(1));
    assert_eq!(refused.listeners.len(), 3);
    // The new ones take connections.
    http_exchange(&mut world.connect(server(V6, 82)).unwrap(), REQUEST);
    let mut rest = Vec::new();
    assert_eq!(world.connect(server(V6, 83)).unwrap().read_to_end(&mut rest).unwrap(), 0);
    assert_eq!(world.connect(server(V4, 83)).unwrap_err().kind(), ErrorKind::ConnectionRefused, "not its address");
    // It ends cleanly: our FIN is answered with one, not with RST.
    http_exchange(&mut open, REQUEST);
    let port = open.local_addr().unwrap().port();
    open.shutdown(Shutdown::Write).unwrap();
    assert_eq!(open.read_to_end(&mut rest).unwrap(), 0);
    let captured = capture.stop();
    assert_eq!(captured.count(&format!("tcp.port == {port} && tcp.flags.reset == 1")), 0);
    // With its last connection the listener is gone: its port is the kernel's again.
    let redirected = || serve.stats().steering.get("redirected").unwrap();
    serve.stats_when("no flow of the removed listener", |stats| stats.total.states.get("ESTABLISHED") == Some(0));
    thread::sleep(Duration::from_millis(500));
    let before = redirected();
    assert_eq!(world.connect(server(V4, 80)).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    assert_eq!(redirected(), before, "the port of a listener that is gone is still steered");
    assert_no_loss(&serve.stats());
}

#[test]
fn limits_change_by_the_file_and_a_wrong_file_changes_nothing() {
    let Some(world) = World::up("limits_change_by_the_file_and_a_wrong_file_changes_nothing") else { return };
    let text_of =
        |limit: u32| format!("listen = [\"80=http\"]\nflows = {}\n[tcp]\nhalf-open-limit = {limit}\n", 1000 + limit);
    let file = world.file("serve.toml", text_of(10).as_bytes());
    let serve = world.serve(&format!("--config {file}"));
    assert_eq!(serve.stats().total.half_open_limit, 10);
    world.file("serve.toml", text_of(20).as_bytes());
    let answer = reload(&serve, &[]);
    assert_eq!((answer.limits, answer.needs_restart), (vec!["half-open-limit".to_owned()], vec!["flows".to_owned()]));
    let stats = serve.stats();
    assert_eq!((stats.total.half_open_limit, stats.total.flows_capacity), (20, 1010));
    world.file("serve.toml", b"listen = [\"80=http\"]\n[tcp]\nhalf-open-limit = 0\ntime-wait = \"x\"\n");
    let output = serve.ask(&["reload"]);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("half-open-limit") && message.contains("time-wait"), "{message}");
    assert_eq!(serve.stats().total.half_open_limit, 20);
    http_exchange(&mut world.connect(server(V4, 80)).unwrap(), REQUEST);
}

#[test]
fn ten_reloads_under_load_lose_nothing() {
    let Some(world) = World::up("ten_reloads_under_load_lose_nothing") else { return };
    let serve = world.serve("--listen 80=http --listen 7000=discard --time-wait 500ms");
    let done = AtomicBool::new(false);
    let rounds = |service, port| {
        let mut completed = 0;
        while !done.load(Ordering::Relaxed) {
            let args = ClientsArgs { connections: 1_000, service, ..ClientsArgs::new(server(V4, port)) };
            completed += world.drive_all(&args).connections.completed;
        }
        completed
    };
    let completed = thread::scope(|scope| {
        let clients = [(Service::Http, 80), (Service::Discard, 7000)]
            .map(|(service, port)| scope.spawn(move || rounds(service, port)));
        let stop = Finally(&done);
        for i in 0..10 {
            thread::sleep(Duration::from_millis(150));
            // Each changes something: a listener comes or goes, or has another service under the same port.
            let (third, fourth) = (format!("{}=close", 8000 + i % 2), format!("9000={}", ["http", "close"][i % 2]));
            let args = ["--listen", "80=http", "--listen", "7000=discard", "--listen", &third, "--listen", &fourth];
            let answer = reload(&serve, &args);
            assert_eq!(answer.unchanged, ["80=http", "7000=discard"]);
            assert!(!answer.added.is_empty() || !answer.changed.is_empty(), "{answer:?}");
        }
        drop(stop);
        clients.into_iter().map(|client| client.join().unwrap()).sum::<u64>()
    });
    let stats = serve.settled();
    assert_eq!(stats.total.engine.get("established"), Some(completed));
    assert_eq!(stats.total.engine.get("resets_sent"), Some(0));
    let passed = stats.steering.get("pass_no_socket");
    assert_eq!(passed, Some(0), "frames of served connections reached the kernel");
}

#[test]
fn a_drain_lets_open_connections_end_refuses_new_ones_and_ends_the_server() {
    let Some(world) = World::up("a_drain_lets_open_connections_end_refuses_new_ones_and_ends_the_server") else {
        return;
    };
    let serve = world.serve("--listen 80=http");
    let mut open = world.connect(server(V4, 80)).unwrap();
    http_exchange(&mut open, REQUEST);
    let impatient = serve.ask(&["drain", "--timeout", "100ms"]);
    assert_eq!(impatient.status.code(), Some(1), "{}", text(&impatient.stderr));
    assert_eq!(text(&impatient.stdout), "not drained: 1 flows are left\n");
    assert!(serve.stats().draining);
    assert_eq!(world.connect(server(V6, 80)).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    thread::scope(|scope| {
        let drain = scope.spawn(|| serve.ask(&["drain", "--timeout", "10s"]));
        thread::sleep(Duration::from_millis(300));
        http_exchange(&mut open, REQUEST);
        open.write_all(REQUEST).unwrap();
        open.shutdown(Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        open.read_to_end(&mut rest).unwrap();
        assert!(text(&rest).ends_with("Hello from handfast.\n"));
        let patient = drain.join().unwrap();
        assert_eq!((patient.status.code(), text(&patient.stdout)), (Some(0), "drained: no flow is left\n".to_owned()));
    });
    let start = Instant::now();
    let ended = serve.ended();
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert!(ended.stdout.starts_with("drained after "), "{}", ended.stdout);
    assert!(!world.has_xdp());
}

#[test]
fn a_signal_ends_a_drain_that_waits() {
    let Some(world) = World::up("a_signal_ends_a_drain_that_waits") else { return };
    let serve = world.serve("--listen 80=http");
    let _open = world.connect(server(V4, 80)).unwrap();
    serve.stats_when("a connection", |stats| stats.total.states.get("ESTABLISHED") == Some(1));
    thread::scope(|scope| {
        let drain = scope.spawn(|| serve.ask(&["drain", "--timeout", "60s"]));
        serve.stats_when("draining", |stats| stats.draining);
        serve.process.signal(Signal::INT);
        let drained = drain.join().unwrap();
        assert_eq!(drained.status.code(), Some(1), "{}", text(&drained.stderr));
    });
    assert_eq!(serve.ended().status.code(), Some(0));
}
