//! `handfast blast` end to end: the built program on one end of a veth pair; `handfast serve`, the kernel's own TCP or nginx on
//! the other.
//!
//! The labs and processes are those of the server's tests (tests/serve/world.rs). Not here: the accounting of every mode,
//! which tests/generator.rs checks on a virtual clock.
#![cfg(feature = "xdp")]

#[path = "../common/browser.rs"]
mod browser;
#[path = "../common/mod.rs"]
mod common;
#[path = "../serve/world.rs"]
mod world;

mod load;
mod mistakes;
mod results;
mod targets;

use handfast::blast::report::BlastReport;
use rustix::process::Signal;
use std::process::{Command, Output, Stdio};
use world::{HANDFAST, Process, Serve, World, text};

/// What the names of this program's labs start with.
const LAB: &str = "hfbl";
/// The client's end, and addresses that its kernel answers for.
const FROM: &str = "hf-client";
const SOURCE: &str = "198.18.1.0/24";

/// The command line of `blast` on the client's end.
fn blast_command(world: &World, args: &str) -> Command {
    let mut command = world.at_client(HANDFAST, &["blast", "-i", FROM, "--json", "-"]);
    command.args(args.split_whitespace()).env_remove("RUST_LOG");
    command
}

/// A run, whatever comes of it.
fn blast(world: &World, args: &str) -> Output {
    blast_command(world, args).output().unwrap()
}

/// The result of a run: standard output must have it and nothing else.
fn report(output: &Output) -> BlastReport {
    let printed = text(&output.stdout);
    assert_eq!(printed.lines().count(), 1, "{printed}{}", text(&output.stderr));
    let report: BlastReport = serde_json::from_str(&printed).unwrap();
    let connections = &report.connections;
    assert_eq!(connections.attempted, connections.completed + connections.failed_total(), "{printed}");
    report
}

/// A run in which everything has to go well.
fn blast_all(world: &World, args: &str) -> BlastReport {
    let output = blast(world, args);
    let report = report(&output);
    assert!(output.status.success(), "{args}: {report}{}", text(&output.stderr));
    assert_eq!(report.connections.completed, report.connections.attempted, "{args}: {report}");
    report
}

/// A run in the background.
fn start_blast(world: &World, args: &str) -> Process {
    let mut command = blast_command(world, args);
    Process(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap())
}

/// The result of a run in the background, after it was asked to end.
fn end_blast(mut process: Process) -> BlastReport {
    process.signal(Signal::INT);
    finished(&mut process)
}

/// The result of a run in the background that ends by itself.
fn finished(process: &mut Process) -> BlastReport {
    let status = process.wait();
    let mut printed = String::new();
    std::io::Read::read_to_string(process.0.stdout.as_mut().unwrap(), &mut printed).unwrap();
    let report: BlastReport = serde_json::from_str(&printed).unwrap();
    assert!(status.success(), "{report}");
    report
}

/// What the server's engine has counted under a name.
fn counted(serve: &Serve<'_>, name: &str) -> u64 {
    serve.stats().total.engine.get(name).unwrap()
}
