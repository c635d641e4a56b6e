//! What the other ends do, or the path to them.

use std::io::Write as _;
use std::time::Duration;

use handfast::observe::report::{FlowRow, Flows, Stats};
use rustix::net::sockopt::set_socket_linger;

use crate::wire::{ACK, Crafted, Hand, PSH, SYN};
use crate::world::{Serve, V4, World, server};
use crate::{named_first, send, shows};

/// The server's one connection.
fn only_flow(serve: &Serve<'_>) -> FlowRow {
    let output = serve.ask(&["flows", "--json"]);
    let mut flows: Flows = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(flows.flows.len(), 1, "{flows:?}");
    flows.flows.remove(0)
}

#[test]
fn peers_that_do_not_answer_vanish_or_reset_are_named() {
    let Some(world) = World::up("peers_that_do_not_answer_vanish_or_reset_are_named") else { return };
    let config = world.file("fast.toml", b"[tcp]\nrto-initial = \"200ms\"\n");
    shows(&world, &format!("--config {config}"), "syn_acks_unanswered", |_| send(&world, 20, SYN, |_| {}));
    shows(&world, "--idle-timeout 200ms", "peers_vanish", |serve| {
        let silent = world.connect(server(V4, 80)).unwrap();
        serve.stats_when("the end of a silent connection", |stats| stats.total.engine.get("idle_timeouts") == Some(1));
        drop(silent);
    });
    shows(&world, "", "peers_reset", |_| {
        for _ in 0..20 {
            let client = world.connect(server(V4, 80)).unwrap();
            // Closing is a RST then.
            set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
        }
    });
}

/// Opens a connection and sends segments on it by hand, whose text begins 1,000 bytes beyond what is awaited.
fn send_beyond_a_gap(world: &World, serve: &Serve<'_>) {
    let client = world.connect(server(V4, 80)).unwrap();
    serve.stats_when("an open connection", |stats| stats.total.states.get("ESTABLISHED") == Some(1));
    let flow = only_flow(serve);
    let mut segment = Crafted::new(client.local_addr().unwrap(), server(V4, 80), ACK | PSH);
    (segment.seq, segment.ack, segment.payload) = (flow.rcv_nxt.wrapping_add(1_000), flow.snd_nxt, vec![7; 10]);
    Hand::new(world).send_all(&vec![segment.bytes(); 20]);
    let answered = |stats: &Stats| {
        stats.total.engine.get("duplicate_acks") > Some(0) || stats.total.drops.get("missing_timestamp") > Some(0)
    };
    serve.stats_when("segments beyond a gap", answered);
}

#[test]
fn a_path_that_loses_and_segments_without_their_timestamps_are_told_apart() {
    let Some(world) = World::up("a_path_that_loses_and_segments_without_their_timestamps_are_told_apart") else {
        return;
    };
    let config = world.file("plain.toml", b"[tcp]\ntimestamps = false\n");
    shows(&world, &format!("--config {config}"), "path_loses", |serve| send_beyond_a_gap(&world, serve));
    // The client's kernel has negotiated timestamps; segments made by hand have none.
    shows(&world, "", "old_segments", |serve| send_beyond_a_gap(&world, serve));
}

#[test]
fn a_peer_that_does_not_read_is_named() {
    let Some(world) = World::up("a_peer_that_does_not_read_is_named") else { return };
    let body = world.file("body.bin", &vec![b'x'; 8 << 20]);
    let serve = world.serve(&format!("--listen 80=http:{body}"));
    let mut client = world.connect(server(V4, 80)).unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    serve.stats_when("a window probe", |stats| stats.total.engine.get("window_probes") > Some(0));
    named_first(&serve, "peers_do_not_read");
    drop(client);
    serve.end();
}
