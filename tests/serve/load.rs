//! Very many connections: one after another, and open at the same time. None fails, and nothing is left over.

use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use handfast::bench::clients::{ClientsArgs, Service};
use serde_json::Value;

use crate::world::{Finally, HANDFAST, Process, V4, World, server, text};

/// Client processes that hold connections: an unprivileged limit of open files is often 20,000.
const HOLDERS: usize = 3;

#[test]
fn two_hundred_thousand_connections_one_after_another_leave_nothing_behind() {
    let Some(world) = World::up("two_hundred_thousand_connections_one_after_another_leave_nothing_behind") else {
        return;
    };
    let serve = world.serve("--listen 7000=discard");
    let sources = ["198.18.0.2", "198.18.1.1", "198.18.1.2", "198.18.1.3"];
    let args = ClientsArgs {
        connections: 200_000,
        concurrency: 32,
        source: sources.map(|source| source.parse().unwrap()).to_vec(),
        ..ClientsArgs::new(server(V4, 7000))
    };
    let report = world.drive_all(&args);
    println!("{report}");
    let stats = serve.settled();
    let engine = |name| stats.total.engine.get(name).unwrap();
    assert_eq!((engine("passive_opens"), engine("established"), engine("closed")), (200_000, 200_000, 200_000));
    assert_eq!(engine("bytes_received"), 200_000 * 64);
    assert_eq!((engine("resets_sent"), engine("data_retransmissions")), (0, 0));
    assert_eq!(stats.steering.get("redirected"), Some(engine("received")), "a frame was lost before the worker");
}

#[test]
fn a_server_that_starts_under_load_is_ready_for_the_first_frame() {
    let Some(world) = World::up("a_server_that_starts_under_load_is_ready_for_the_first_frame") else { return };
    for _ in 0..5 {
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            // Refused by the kernel until the server steers the port.
            let clients = scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    world.drive(&ClientsArgs { connections: 200, ..ClientsArgs::new(server(V4, 7000)) });
                }
            });
            let stop = Finally(&done);
            let serve = world.serve("--listen 7000=discard");
            serve.stats_when("connections", |stats| stats.total.engine.get("closed") > Some(200));
            drop(stop);
            clients.join().unwrap();
            serve.settled();
            serve.end();
        });
    }
}

#[test]
fn fifty_thousand_connections_are_held_at_once_and_all_end_well() {
    let Some(world) = World::up("fifty_thousand_connections_are_held_at_once_and_all_end_well") else { return };
    // More packet memory than by default: three processes of clients take both cores from the worker at times.
    let serve = world.serve("--listen 7000=discard --frames 32768");
    let shares = [16_667, 16_667, 16_666];
    let target = server(V4, 7000).to_string();
    let mut holders: Vec<Process> = (0..HOLDERS)
        .map(|i| {
            let (share, source) = (shares[i].to_string(), format!("198.18.1.{}", i + 1));
            let args = ["lab", "clients", "--json", "--target", &target, "--hold", &share, "--source", &source];
            let mut command = world.at_client(HANDFAST, &args);
            command.args(["--hold-time", "10s", "--concurrency", "256"]).stdout(Stdio::piped()).stderr(Stdio::null());
            Process(command.spawn().unwrap())
        })
        .collect();
    let held = serve.stats_when("50,000 connections", |stats| stats.total.states.get("ESTABLISHED") == Some(50_000));
    assert_eq!((held.total.flows, held.total.timers), (50_000, 50_000));
    assert!(held.ledgers.balanced(), "{:?}", held.ledgers);
    // In the midst of them, others come and go.
    let others = ClientsArgs { service: Service::Discard, connections: 2_000, ..ClientsArgs::new(server(V4, 7000)) };
    world.drive_all(&others);
    for holder in &mut holders {
        assert!(holder.wait().success());
        let mut printed = String::new();
        std::io::Read::read_to_string(holder.0.stdout.as_mut().unwrap(), &mut printed).unwrap();
        let report: Value = serde_json::from_str(&printed).unwrap();
        assert_eq!(report["hold"]["held"], report["hold"]["alive"], "{printed}");
        assert_eq!(report["connections"]["completed"], report["connections"]["attempted"], "{printed}");
    }
    let stats = serve.settled();
    assert_eq!(stats.total.engine.get("closed"), Some(52_000));
    let ended = serve.end();
    assert!(ended.stdout.contains("balanced: every frame and flow is accounted for"), "{}", ended.stdout);
}

#[test]
fn connections_that_the_server_closes_first_wait_out_their_time_wait_and_are_gone() {
    let Some(world) = World::up("connections_that_the_server_closes_first_wait_out_their_time_wait_and_are_gone")
    else {
        return;
    };
    let serve = world.serve("--listen 7001=close --time-wait 1s");
    let args = ClientsArgs { service: Service::Close, connections: 20_000, ..ClientsArgs::new(server(V4, 7001)) };
    world.drive_all(&args);
    assert!(serve.stats().total.states.get("TIME-WAIT") > Some(0));
    let stats = serve.settled();
    let engine = |name| stats.total.engine.get(name).unwrap();
    assert_eq!(engine("time_wait_expired") + engine("time_wait_reused"), 20_000);
    let page = text(&serve.ask(&["stats"]).stdout);
    assert!(!page.contains("TIME-WAIT"), "{page}");
}
