//! Limits that are reached, and what a server refuses on purpose.

use crate::wire::{ACK, Crafted, Hand, SYN};
use crate::world::{V4, World, server};
use crate::{named_first, segment, send, shows};

#[test]
fn a_table_or_limit_that_is_reached_is_named() {
    let Some(world) = World::up("a_table_or_limit_that_is_reached_is_named") else { return };
    let dropping = "--syn-cookies never --half-open-full drop";
    shows(&world, &format!("--flows 4 {dropping}"), "flow_table_full", |_| send(&world, 40, SYN, |_| {}));
    for policy in [dropping, "--syn-cookies never --half-open-full evict-oldest"] {
        let args = format!("--half-open-limit 4 {policy}");
        shows(&world, &args, "half_open_limit", |_| send(&world, 40, SYN, |_| {}));
    }
    shows(&world, "--syn-cookies always", "cookies_on", |_| send(&world, 40, SYN, |_| {}));
    shows(&world, "--syn-xdp always", "syns_answered_by_steering", |_| send(&world, 40, SYN, |_| {}));
    shows(&world, "--syn-rate 4", "syn_rate", |_| send(&world, 40, SYN, |_| {}));
    shows(&world, "--deny 198.18.9.0/24", "source_denied", |_| send(&world, 40, SYN, |_| {}));
    let config = world.file("limits.toml", b"[tcp]\nresets-per-second = 1\nchallenges-per-second = 1\n");
    shows(&world, &format!("--config {config}"), "reset_limit", |_| send(&world, 40, ACK, |_| {}));
    shows(&world, &format!("--config {config}"), "challenge_limit", |serve| {
        // A SYN within an open connection is challenged (RFC 5961 4); the client's kernel ignores the challenge.
        let client = world.connect(server(V4, 80)).unwrap();
        serve.stats_when("an open connection", |stats| stats.total.states.get("ESTABLISHED") == Some(1));
        let syn = Crafted::new(client.local_addr().unwrap(), server(V4, 80), SYN).bytes();
        Hand::new(&world).send_all(&vec![syn; 20]);
        serve.stats_when("challenges beyond the limit", |stats| stats.total.drops.get("challenge_limited") > Some(0));
    });
}

#[test]
fn a_server_that_drains_and_connections_that_it_does_not_know_are_told_apart() {
    let Some(world) = World::up("a_server_that_drains_and_connections_that_it_does_not_know_are_told_apart") else {
        return;
    };
    shows(&world, "", "unknown_connections", |_| send(&world, 20, ACK, |_| {}));
    let serve = world.serve("--listen 80=discard");
    let held = world.connect(server(V4, 80)).unwrap();
    serve.stats_when("an open connection", |stats| stats.total.states.get("ESTABLISHED") == Some(1));
    serve.ask(&["drain", "--timeout", "1ms"]);
    Hand::new(&world).send(&segment(0, SYN).bytes());
    named_first(&serve, "draining");
    drop(held);
    assert!(serve.ended().status.success());
}
