//! How much, how fast, how long: each way to limit a run, seen from both ends.

use super::*;
use crate::world::{V4, V6};

#[test]
fn as_many_connections_as_asked_for_are_made_and_both_ends_count_them() {
    let Some(world) = World::up("as_many_connections_as_asked_for_are_made_and_both_ends_count_them") else { return };
    let serve = world.serve("--listen 7000=discard");
    let report = blast_all(&world, &format!("--target {V4}:7000 --source {SOURCE} --connections 50k"));
    assert_eq!(report.connections.attempted, 50_000);
    assert_eq!((report.latency_us.handshake.count, report.latency_us.total.count), (50_000, 50_000));
    assert!(report.latency_us.total.p50 >= report.latency_us.handshake.p50, "{report}");
    let stats = serve.settled();
    assert_eq!((stats.total.engine.get("established"), stats.total.engine.get("closed")), (Some(50_000), Some(50_000)));
    serve.end();
}

#[test]
fn a_rate_is_held_within_one_percent() {
    let Some(world) = World::up("a_rate_is_held_within_one_percent") else { return };
    let serve = world.serve("--listen 7000=discard");
    let report = blast_all(&world, &format!("--target {V4}:7000 --rate 2k --duration 4s"));
    assert!((1_980.0..=2_020.0).contains(&report.connections_per_second), "{report}");
    assert_eq!(report.connections.attempted, 8_000);
    assert_eq!(report.series.last().unwrap().completed, 8_000, "{report}");
    assert!(report.series.len() >= 4, "{report}");
    serve.settled();
    serve.end();
}

#[test]
fn fifty_thousand_are_held_open_exactly_seen_from_both_ends() {
    let Some(world) = World::up("fifty_thousand_are_held_open_exactly_seen_from_both_ends") else { return };
    let serve = world.serve("--listen 7000=discard --frames 16384");
    let args = format!("--target {V4}:7000 --source {SOURCE} --concurrency 50k --ramp 3s --duration 1m");
    let run = start_blast(&world, &args);
    serve.stats_when("50,000 connections", |stats| stats.total.states.get("ESTABLISHED") == Some(50_000));
    std::thread::sleep(std::time::Duration::from_secs(1));
    let stats = serve.stats();
    assert_eq!((stats.total.states.get("ESTABLISHED"), stats.total.flows), (Some(50_000), 50_000));
    let report = end_blast(run);
    assert_eq!(report.connections.completed, 50_000, "{report}");
    assert_eq!(report.generator.most_in_progress, 50_000, "{report}");
    assert_eq!(report.series.iter().map(|sample| sample.open).max(), Some(50_000), "{report}");
    assert_eq!(
        report.generator.limits.get("fin_retransmissions"),
        None,
        "they are not closed faster than it goes: {report}"
    );
    assert_eq!(serve.settled().total.engine.get("closed"), Some(50_000));
    serve.end();
}

#[test]
fn rate_and_concurrency_are_held_together_seen_from_both_ends() {
    let Some(world) = World::up("rate_and_concurrency_are_held_together_seen_from_both_ends") else { return };
    let serve = world.serve("--listen 7000=discard");
    let args = format!("--target {V4}:7000 --source {SOURCE} --rate 2k --concurrency 1k --duration 5s");
    let mut run = start_blast(&world, &args);
    serve.stats_when("1,000 connections", |stats| stats.total.states.get("ESTABLISHED") >= Some(1_000));
    for _ in 0..10 {
        std::thread::sleep(std::time::Duration::from_millis(200));
        let stats = serve.stats();
        let open = stats.total.states.get("ESTABLISHED").unwrap();
        // The server's page is up to 100 ms old and made in the middle of things; both ends have some of them on the way.
        assert!((900..=1_100).contains(&open), "{open} are open");
    }
    let report = finished(&mut run);
    assert!((1_980.0..=2_020.0).contains(&report.connections_per_second), "{report}");
    let steady = &report.series[1..4];
    assert!(steady.iter().all(|sample| sample.open == 1_000), "{steady:?}");
    assert_eq!(serve.settled().total.engine.get("closed"), Some(report.connections.completed));
    serve.end();
}

#[test]
fn two_queues_share_a_run() {
    let Some(world) = World::up_with("two_queues_share_a_run", |lab| lab.queues = 2) else { return };
    let serve = world.serve("--listen 7000=discard --cores 0-1");
    let args = format!("--target {V4}:7000 --source {SOURCE} --rate 2k --duration 2s --cores 0-1");
    let report = blast_all(&world, &args);
    assert_eq!((report.connections.attempted, report.generator.workers), (4_000, 2), "{report}");
    let stats = serve.settled();
    let of_queue = |queue: usize| stats.workers[queue].figures.engine.get("established").unwrap();
    assert_eq!((of_queue(0), of_queue(1)), (2_000, 2_000), "each worker has its own queue");
    serve.end();
}

#[test]
fn connections_go_over_ipv6_and_end_in_every_way() {
    let Some(world) = World::up("connections_go_over_ipv6_and_end_in_every_way") else { return };
    let serve = world.serve("--listen 7000=discard --listen 7001=close --time-wait 100ms");
    let few = "--connections 2k";
    blast_all(&world, &format!("--target [{V6}]:7000 {few}"));
    blast_all(&world, &format!("--target [{V6}]:7001 --close server {few}"));
    let before = counted(&serve, "reset_by_peer");
    let report = blast_all(&world, &format!("--target [{V6}]:7000 --close reset {few}"));
    assert_eq!(report.latency_us.teardown.count, 0);
    let stats = serve.settled();
    assert_eq!(stats.total.engine.get("reset_by_peer").unwrap() - before, 2_000);
    assert_eq!(stats.total.engine.get("established"), Some(6_000));
    serve.end();
}

#[test]
fn the_highest_rate_without_loss_is_found_below_a_bound() {
    let Some(world) = World::up("the_highest_rate_without_loss_is_found_below_a_bound") else { return };
    let serve = world.serve("--listen 7000=discard");
    let args = format!("--target {V4}:7000 --source {SOURCE} --search --rate 3k --duration 300ms");
    let output = blast(&world, &args);
    let report = report(&output);
    let search = report.search.as_ref().unwrap();
    assert!(output.status.success() && search.rate > 0.0 && search.rate <= 3_000.0, "{report}");
    assert!(search.steps.iter().any(|step| step.passed && step.rate.to_bits() == search.rate.to_bits()));
    serve.settled();
    serve.end();
}
