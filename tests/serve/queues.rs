//! Several queues, each with a worker of its own; and a queue that nobody serves.

use std::io::ErrorKind;

use handfast::bench::clients::{ClientsArgs, Service};
use handfast::observe::report::Flows;

use crate::world::{V4, V6, World, server, text};

#[test]
fn two_workers_share_the_connections_and_no_flow_crosses_to_the_other() {
    let Some(world) = World::up_with("two_workers_share_the_connections_and_no_flow_crosses_to_the_other", |config| {
        config.queues = 2;
    }) else {
        return;
    };
    let serve = world.serve("--listen 80=http --listen 7000=discard --cores 0,1 --time-wait 500ms");
    assert!(serve.log().contains("queues 0-1 cores 0,1"), "{}", serve.log());
    for (address, service, port) in [(V4, Service::Discard, 7000), (V6, Service::Http, 80), (V4, Service::Http, 80)] {
        let args = ClientsArgs { connections: 10_000, service, threads: 2, ..ClientsArgs::new(server(address, port)) };
        world.drive_all(&args);
    }
    let held: Vec<_> = (0..200).map(|_| world.connect(server(V4, 7000)).unwrap()).collect();
    let stats = serve.stats_when("200 connections", |stats| stats.total.states.get("ESTABLISHED") == Some(200));
    let output = serve.ask(&["flows", "--json", "--limit", "1000", "--state", "ESTABLISHED"]);
    let listed: Flows = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(listed.flows.len(), 200);
    for worker in &stats.workers {
        let figures = &worker.figures;
        let on_it = listed.flows.iter().filter(|flow| flow.queue == worker.queue).count();
        assert_eq!(u64::try_from(on_it).ok(), figures.states.get("ESTABLISHED"));
        let opened = figures.engine.get("passive_opens").unwrap();
        assert!(opened > 5_000 && on_it > 20, "queue {} had {opened} connections", worker.queue);
        // A segment that had gone to the other worker would have met no connection there.
        assert_eq!(figures.engine.get("resets_sent"), Some(0), "queue {}", worker.queue);
        assert!(figures.drops.iter().all(|(_, dropped)| dropped == 0), "{:?}", figures.drops);
    }
    drop(held);
    let stats = serve.settled();
    let ends = ["closed", "time_wait_expired", "time_wait_reused"].map(|end| stats.total.engine.get(end).unwrap());
    assert_eq!(ends.iter().sum::<u64>(), 30_200);
    serve.end();
}

#[test]
fn a_queue_without_a_worker_is_the_kernels_and_a_warning_says_so() {
    let Some(world) = World::up_with("a_queue_without_a_worker_is_the_kernels_and_a_warning_says_so", |config| {
        config.queues = 2;
    }) else {
        return;
    };
    let serve = world.serve("--listen 80=discard --queues 0");
    let log = serve.log();
    assert!(log.contains("queues 1 of hf-server have no worker: the kernel refuses connections"), "{log}");
    let (mut served, mut refused) = (0, 0);
    for _ in 0..100 {
        match world.connect(server(V4, 80)) {
            Ok(_) => served += 1,
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(served > 10 && refused > 10, "{served} served, {refused} refused");
    let stats = serve.settled();
    assert_eq!(stats.total.engine.get("closed"), Some(served));
    assert_eq!(stats.steering.get("pass_no_socket"), Some(refused));
    let page = text(&serve.ask(&["stats"]).stdout);
    assert!(page.contains("pass_no_socket"), "{page}");
}
