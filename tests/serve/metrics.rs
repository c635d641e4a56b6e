//! The metrics of a running server: what another parser reads out of them is what `stats` says, and the books balance from
//! the interface to the last frame.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use handfast::bench::clients::{ClientsArgs, Service};
use handfast::observe::report::{Stats, Values};
use prometheus_parse::{Scrape, Value};

use crate::world::{PATIENCE, Serve, V4, V6, World, server, summary, text};

const METRICS: &str = "127.0.0.1:9464";

/// The answer to a GET: status line and body. Asked from the server's namespace.
fn get(world: &World, path: &str) -> (String, String) {
    world.in_server(|| {
        let address: SocketAddr = METRICS.parse().unwrap();
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {METRICS}\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.lines().next().unwrap().to_owned(), body.to_owned())
    })
}

fn scrape(world: &World) -> Scrape {
    let (status, body) = get(world, "/metrics");
    assert_eq!(status, "HTTP/1.1 200 OK");
    Scrape::parse(body.lines().map(|line| Ok(line.to_owned()))).unwrap()
}

/// The sum of the samples with these labels; there must be one.
fn value(scrape: &Scrape, name: &str, labels: &[(&str, &str)]) -> f64 {
    let fits = |sample: &&prometheus_parse::Sample| {
        sample.metric == name && labels.iter().all(|(label, value)| sample.labels.get(label) == Some(value))
    };
    let values: Vec<f64> = scrape
        .samples
        .iter()
        .filter(fits)
        .map(|sample| match sample.value {
            Value::Counter(value) | Value::Gauge(value) | Value::Untyped(value) => value,
            ref other => panic!("{name}: {other:?}"),
        })
        .collect();
    assert!(!values.is_empty(), "no sample of {name} {labels:?}");
    values.iter().sum()
}

/// Every value of a group is the metric that `name` makes of its name.
fn assert_same(scrape: &Scrape, group: &Values, sample: impl Fn(&str) -> (String, Vec<(&'static str, String)>)) {
    assert!(group.iter().count() > 3);
    for (known, count) in group.iter() {
        let (name, labels) = sample(known);
        let labels: Vec<(&str, &str)> = labels.iter().map(|(label, value)| (*label, value.as_str())).collect();
        #[expect(clippy::cast_precision_loss, reason = "counts of a test are small")]
        let expected = count as f64;
        assert_eq!(value(scrape, &name, &labels), expected, "{known}");
    }
}

/// Metrics and stats of a moment at which nothing changes: equal but for times and looks into rings.
fn compare(world: &World, serve: &Serve<'_>) {
    let metrics = scrape(world);
    let stats = serve.stats();
    let queue = ("queue", "0".to_owned());
    let total = &stats.total;
    let unit = |name: &str| name.strip_prefix("bytes_").map_or(name.to_owned(), |what| format!("{what}_bytes"));
    assert_same(&metrics, &total.engine, |name| (format!("handfast_engine_{}_total", unit(name)), vec![]));
    assert_same(&metrics, &total.drops, |reason| {
        ("handfast_dropped_frames_total".into(), vec![("reason", reason.to_owned())])
    });
    assert_same(&metrics, &total.ledger, |place| {
        ("handfast_umem_frames".into(), vec![("place", place.to_owned()), queue.clone()])
    });
    assert_same(&metrics, &total.states, |state| ("handfast_connections".into(), vec![("state", state.to_owned())]));
    #[expect(clippy::cast_precision_loss, reason = "counts of a test are small")]
    for (name, expected) in [
        ("handfast_flows_capacity", total.flows_capacity as f64),
        ("handfast_flows", total.flows as f64),
        ("handfast_port_receive_frames_total", total.port.get("rx_frames").unwrap() as f64),
        ("handfast_port_transmit_bytes_total", total.port.get("tx_bytes").unwrap() as f64),
    ] {
        assert_eq!(value(&metrics, name, &[]), expected, "{name}");
    }
    let redirected = value(&metrics, "handfast_steering_frames_total", &[("outcome", "redirected")]);
    assert!((redirected - value(&metrics, "handfast_engine_received_total", &[])).abs() < 0.5);
    let connections: u64 = stats.listeners.iter().map(|listener| listener.connections.unwrap()).sum();
    assert_eq!(connections, total.flows);
    assert_eq!(
        value(&metrics, "handfast_listener_opened_total", &[("listener", "7000"), ("service", "discard")]),
        1_000.0
    );
}

#[test]
fn what_another_parser_reads_in_the_metrics_is_what_stats_say() {
    let Some(world) = World::up("what_another_parser_reads_in_the_metrics_is_what_stats_say") else { return };
    let serve = world.serve(&format!("--listen 7000=discard --listen 80=http --time-wait 1s --metrics {METRICS}"));
    assert_eq!(get(&world, "/healthz"), ("HTTP/1.1 200 OK".to_owned(), "ok\n".to_owned()));
    for (address, service, port) in [(V4, Service::Discard, 7000), (V6, Service::Http, 80)] {
        let args = ClientsArgs { connections: 1_000, service, ..ClientsArgs::new(server(address, port)) };
        world.drive_all(&args);
    }
    let held: Vec<_> = (0..5).map(|_| world.connect(server(V4, 80)).unwrap()).collect();
    serve.stats_when("five connections", |stats| {
        stats.total.states.get("ESTABLISHED") == Some(5) && stats.total.flows == 5 && is_still(stats)
    });
    compare(&world, &serve);
    drop(held);
    serve.settled();
    let ended = serve.end();
    assert!(ended.stdout.contains("balanced"), "{}", ended.stdout);
}

/// True if no frame is under way at the server.
fn is_still(stats: &Stats) -> bool {
    let place = |name| stats.total.ledger.get(name).unwrap();
    place("tx") + place("tx_pending") + place("in_hand") == 0
}

#[test]
fn the_books_hold_while_frames_are_under_way_and_to_the_frame_at_the_end() {
    for mode in ["native", "generic"] {
        let Some(world) = World::up("the_books_hold_while_frames_are_under_way_and_to_the_frame_at_the_end") else {
            return;
        };
        let mut command = world.serve_command(&format!("--listen 7000=discard --json --xdp-mode {mode}"));
        command.env("RUST_LOG", "warn");
        let serve = Serve::start(&world, command);
        let looks = std::thread::scope(|scope| {
            let clients = scope.spawn(|| {
                world.drive_all(&ClientsArgs { connections: 20_000, ..ClientsArgs::new(server(V4, 7000)) });
            });
            let mut looks = 0;
            // The two sides are read one after another, and the tolerance estimates what happens between: a reader that lost its core
            // there sees more. What is only under way is there at the next look; what is missing stays missing.
            let mut in_a_row: HashMap<String, u32> = HashMap::new();
            while !clients.is_finished() {
                for identity in &serve.stats().identities {
                    let broken = in_a_row.entry(format!("{} {:?}", identity.name, identity.queue)).or_default();
                    *broken = if identity.holds() { 0 } else { *broken + 1 };
                    assert!(*broken < 3, "{mode}: {identity:?}");
                }
                looks += 1;
            }
            clients.join().unwrap();
            looks
        });
        assert!(looks > 5, "{looks} looks while frames were under way");
        serve.settled();
        let summary = summary(&serve.end());
        assert_eq!(summary.stats.identities.len(), 9);
        for identity in &summary.stats.identities {
            // At the edges a frame of the kernel's own (a group membership, say) may slip through.
            assert!(identity.holds() && identity.difference.abs() <= 2, "{mode}: {identity:?}");
            let inner = !["interface_to_program"].contains(&identity.name.as_str());
            assert!(!inner || (identity.difference, identity.tolerance) == (0, 0), "{mode}: {identity:?}");
        }
        assert!(summary.stats.identities[2].left >= 80_000, "{:?}", summary.stats.identities);
    }
}

#[test]
fn an_address_that_cannot_be_listened_on_is_named_with_its_remedy() {
    let Some(world) = World::up("an_address_that_cannot_be_listened_on_is_named_with_its_remedy") else { return };
    let _taken = world.in_server(|| std::net::TcpListener::bind(METRICS).unwrap());
    for (address, cause) in [(METRICS, "ss -ltnp"), ("192.0.2.1:9464", "no interface of this network namespace")] {
        let output = world.serve_to_the_end(&format!("--listen 80=http --metrics {address}"));
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert!(message.contains(&format!("serving metrics on {address}: cannot listen")), "{message}");
        assert!(message.contains(cause), "{message}");
        assert!(!world.has_xdp());
    }
}
