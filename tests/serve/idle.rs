//! What a server costs when nothing is to be done, and that others get on beside one at work.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use handfast::bench::clients::ClientsArgs;

use crate::world::{Serve, V4, World, run, server};

/// Units of CPU time in a second, as the kernel shows them to programs.
const USER_HZ: u64 = 100;

/// User and system time that a process has used so far.
fn cpu_time(serve: &Serve<'_>) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", serve.process.0.id())).unwrap();
    // Fields 14 and 15 of the whole; the name in field 2 ends with the last parenthesis (proc_pid_stat(5)).
    let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 2..].split(' ').collect();
    let ticks = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 1_000 / USER_HZ)
}

/// The share of one core that the server uses over two seconds, in percent.
fn load_percent(serve: &Serve<'_>) -> f64 {
    let (start, before) = (Instant::now(), cpu_time(serve));
    thread::sleep(Duration::from_secs(2));
    (cpu_time(serve) - before).as_secs_f64() / start.elapsed().as_secs_f64() * 100.0
}

#[test]
fn a_server_without_traffic_sleeps() {
    let Some(world) = World::up_with("a_server_without_traffic_sleeps", |config| config.queues = 2) else { return };
    let serve = world.serve("--listen 80=http");
    let load = load_percent(&serve);
    assert!(load < 10.0, "{load:.1} % of a core without any traffic");
    // Open connections that say nothing cost nothing either.
    let _open: Vec<_> = (0..100).map(|_| world.connect(server(V4, 80)).unwrap()).collect();
    let load_with = load_percent(&serve);
    assert!(load_with < 10.0, "{load_with:.1} % of a core with 100 silent connections");
    let stats = serve.stats();
    assert!(stats.total.sleeps > 0 && stats.total.turns > stats.total.sleeps, "{:?}", stats.total);
    println!("{load:.1} % idle, {load_with:.1} % with 100 silent connections");
}

#[test]
fn beside_clients_at_work_the_kernel_and_the_control_socket_answer() {
    let Some(world) = World::up("beside_clients_at_work_the_kernel_and_the_control_socket_answer") else { return };
    let serve = world.serve("--listen 7000=discard");
    thread::scope(|scope| {
        let args = ClientsArgs { connections: 30_000, ..ClientsArgs::new(server(V4, 7000)) };
        let world = &world;
        let clients = scope.spawn(move || world.drive_all(&args));
        while !clients.is_finished() {
            let ping = run(&mut world.at_client("ping", &["-c", "5", "-i", "0.01", "-W", "2", V4]));
            assert!(ping.contains("5 received"), "{ping}");
            let start = Instant::now();
            serve.stats();
            assert!(start.elapsed() < Duration::from_secs(1), "stats took {:?}", start.elapsed());
        }
        clients.join().unwrap();
    });
    serve.settled();
}
