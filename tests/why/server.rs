//! What goes wrong at the server itself: its cores, its memory, its way out.

use std::process::Stdio;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::wire::{RST, SYN};
use crate::world::{Process, World, run};
use crate::{named_first, send, shows};

/// How long something stands still.
const STILL: Duration = Duration::from_millis(400);

#[test]
fn a_core_that_is_taken_and_a_server_that_is_stopped_are_told_apart() {
    let Some(world) = World::up("a_core_that_is_taken_and_a_server_that_is_stopped_are_told_apart") else { return };
    shows(&world, "--cores 0", "worker_without_its_core", |_| {
        // Of all that runs on a core, a real-time process comes first; this one counts for some tenths of a second, and would keep
        // whoever should end it from its core.
        let count = "i=0; while [ $i -lt 500000 ]; do i=$((i+1)); done";
        let args = ["-f", "50", "taskset", "-c", "0", "sh", "-c", count];
        let mut command = world.at_server("chrt", &args);
        let mut busy = Process(command.stdout(Stdio::null()).spawn().unwrap());
        busy.wait();
    });
    shows(&world, "", "server_stopped", |serve| {
        serve.process.signal(Signal::STOP);
        thread::sleep(STILL);
        serve.process.signal(Signal::CONT);
    });
    // More than packet memory holds arrives while nobody takes it out.
    shows(&world, "--frames 256", "fill_ring_starved", |serve| {
        serve.process.signal(Signal::STOP);
        send(&world, 2_000, RST, |_| {});
        serve.process.signal(Signal::CONT);
    });
}

#[test]
fn an_interface_that_went_down_is_named() {
    let Some(world) = World::up("an_interface_that_went_down_is_named") else { return };
    let config = world.file("fast.toml", b"[tcp]\nrto-initial = \"200ms\"\n");
    let serve = world.serve(&format!("--listen 80=discard --config {config}"));
    // Its SYN-ACK will be sent again.
    send(&world, 1, SYN, |_| {});
    serve.stats_when("a half-open connection", |stats| stats.total.half_open == 1);
    run(&mut world.at_server("ip", &["link", "set", "dev", "hf-server", "down"]));
    named_first(&serve, "sending_fails");
    serve.end();
}
