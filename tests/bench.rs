//! The comparison and its contenders, end to end: real namespaces, real programs, each lab with a name of its own.
#![cfg(feature = "xdp")]

mod common;

use std::io::ErrorKind;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use common::root_or_skip;
use handfast::bench::clients::{ClientsArgs, drive};
use handfast::bench::compare::report::BenchReport;
use handfast::bench::lab::{Lab, LabConfig};
use handfast::bench::netns::inside;
use handfast::blast::report::BlastReport;
use handfast::flood::report::FloodReport;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const HANDFAST: &str = env!("CARGO_BIN_EXE_handfast");
const TARGET: &str = "198.18.0.1:7000";

/// A lab that is removed at the end of its test, also when the test fails.
struct TestLab(Lab);

impl TestLab {
    fn up(test: &str) -> Self {
        Self::up_with(test, false)
    }

    /// A lab whose kernels leave no checksum to others, if `no_offload` is set.
    fn up_with(test: &str, no_offload: bool) -> Self {
        let name = name(test);
        // The guard comes first: a lab that came up halfway is removed as well.
        let guard = Self(Lab::named(&name).unwrap());
        Lab::up(&LabConfig { no_offload, ..LabConfig::named(&name) }).unwrap();
        guard
    }
}

impl Drop for TestLab {
    fn drop(&mut self) {
        if let Err(error) = self.0.down(true) {
            eprintln!("cannot clean up: {error}");
        }
    }
}

fn name(test: &str) -> String {
    format!("hfbch-{test}-{}", std::process::id())
}

fn handfast(namespace: &str, args: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace, HANDFAST]).args(args.split_whitespace()).env_remove("RUST_LOG");
    command
}

/// A server that is killed with the value.
struct Server(Child);

impl Server {
    /// Starts it and waits until it is ready, which it says in the file `said`.
    fn start(lab: &Lab, args: &str, said: &Path) -> Self {
        let mut command = handfast(&lab.server_namespace(), args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(fs::File::create(said).unwrap());
        let server = Self(command.spawn().unwrap());
        let start = Instant::now();
        while !fs::read_to_string(said).unwrap().contains("handfast: ready:") {
            assert!(start.elapsed() < Duration::from_secs(20), "{}", fs::read_to_string(said).unwrap());
            thread::sleep(Duration::from_millis(10));
        }
        server
    }

    /// Ends it as Ctrl-C does, and returns its result.
    fn end(mut self) -> Value {
        kill_process(Pid::from_child(&self.0), Signal::INT).unwrap();
        let out = self.0.stdout.take().unwrap();
        let result = serde_json::from_reader(out).unwrap();
        assert!(self.0.wait().unwrap().success());
        result
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn said(test: &str) -> std::path::PathBuf {
    std::env::temp_dir().join(format!("{}.err", name(test)))
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_comparison_measures_every_contender_and_leaves_nothing() {
    if !root_or_skip("a_comparison_measures_every_contender_and_leaves_nothing") {
        return;
    }
    let name = name("compare");
    let args = format!("bench --duration 300ms --runs 1 --engine afxdp --name {name} --json -");
    let output = Command::new(HANDFAST).args(args.split(' ')).env_remove("RUST_LOG").output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let report: BenchReport = serde_json::from_slice(&output.stdout).unwrap();
    let names: Vec<_> = report.contenders.iter().map(|contender| contender.name.as_str()).collect();
    assert_eq!(names, ["kernel", "handfast discard", "handfast close", "ceiling"]);
    for contender in &report.contenders {
        let measured = &contender.measured;
        assert!(measured.connections_per_second > 0.0 && measured.min > 0.0, "{contender:?}");
        assert_eq!((measured.runs.len(), measured.mismatches, measured.failed), (1, 0, 0), "{contender:?}");
        assert!(measured.server_cpu_us_per_connection.is_some(), "{contender:?}");
        assert!(measured.server_command.contains("ip netns exec"), "{contender:?}");
    }
    assert_eq!(report.ratios.len(), 5);
    let ceilings: Vec<_> = report.packet_ceilings.iter().map(|ceiling| ceiling.name.as_str()).collect();
    assert_eq!(ceilings, ["tx", "rx", "turn_around"], "{:?}", report.notes);
    assert!(report.packet_ceilings.iter().all(|ceiling| ceiling.mpps > 0.0), "{:?}", report.packet_ceilings);
    assert_nothing_left(&name);
}

#[test]
fn other_flags_another_build_and_one_queue_of_two_take_part_beside() {
    if !root_or_skip("other_flags_another_build_and_one_queue_of_two_take_part_beside") {
        return;
    }
    let name = name("beside");
    let output = Command::new(HANDFAST)
        .args(["bench", "--duration", "300ms", "--runs", "1", "--no-packets", "--name", &name, "--json", "-"])
        .args(["--contenders", "discard", "--queues", "2", "--against", HANDFAST])
        .args(["--with", "small=--frames 1024 / --frames 2048"])
        .env_remove("RUST_LOG")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let report: BenchReport = serde_json::from_slice(&output.stdout).unwrap();
    let of = |name: &str| {
        let found = report.contenders.iter().find(|contender| contender.name == name);
        &found.unwrap_or_else(|| panic!("no {name}: {:?}", report.contenders)).measured
    };
    for contender in &report.contenders {
        let measured = &contender.measured;
        assert!(measured.connections_per_second > 0.0, "{contender:?}");
        assert_eq!((measured.mismatches, measured.failed), (0, 0), "{contender:?}");
    }
    let (small, one) = (of("small"), of("one queue"));
    assert!(small.server_command.contains("--frames 1024"), "{}", small.server_command);
    assert!(small.generator_command.contains("--frames 2048"), "{}", small.generator_command);
    assert!(one.server_command.contains("--queues 0") && one.generator_command.contains("--queues 0"));
    let ratios: Vec<_> = report.ratios.iter().map(|ratio| ratio.name.as_str()).collect();
    let expected = ["discard over before, discard", "discard over one queue", "small over handfast discard"];
    assert_eq!(ratios.len(), 3);
    assert!(ratios.iter().zip(expected).all(|(ratio, expected)| ratio.ends_with(expected)), "{ratios:?}");
    assert_nothing_left(&name);
}

fn assert_nothing_left(name: &str) {
    let left = Command::new("ip").args(["netns", "list"]).output().unwrap();
    assert!(!text(&left).contains(name), "{}", text(&left));
}

#[test]
fn an_interrupted_comparison_leaves_nothing_either() {
    if !root_or_skip("an_interrupted_comparison_leaves_nothing_either") {
        return;
    }
    let name = name("interrupt");
    let args = format!("bench --duration 60s --runs 1 --engine afxdp --name {name}");
    let mut command = Command::new(HANDFAST);
    command.args(args.split(' ')).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let start = Instant::now();
    // Until a generator runs.
    while generators(&name) == 0 {
        assert!(start.elapsed() < Duration::from_secs(30), "no generator was started");
        thread::sleep(Duration::from_millis(20));
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("interrupted"), "{}", text(&output));
    assert_nothing_left(&name);
}

/// How many processes run in the client's namespace.
fn generators(name: &str) -> usize {
    let pids = Command::new("ip").args(["netns", "pids", &format!("{name}-client")]).output().unwrap();
    if pids.status.success() { String::from_utf8_lossy(&pids.stdout).lines().count() } else { 0 }
}

#[test]
fn a_lab_that_is_there_already_is_left_alone() {
    if !root_or_skip("a_lab_that_is_there_already_is_left_alone") {
        return;
    }
    let lab = TestLab::up("there");
    let args = format!("bench --duration 300ms --runs 1 --name {}", name("there"));
    let output = Command::new(HANDFAST).args(args.split(' ')).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("is there already"), "{}", text(&output));
    assert!(lab.0.show().unwrap().up);
}

#[test]
fn the_kernels_listener_completes_every_client() {
    if !root_or_skip("the_kernels_listener_completes_every_client") {
        return;
    }
    let lab = TestLab::up("accept");
    let server = Server::start(&lab.0, &format!("lab accept --listen {TARGET} --cores 0 --json"), &said("accept"));
    let args = ClientsArgs { connections: 500, bytes: 5_000, ..ClientsArgs::new(TARGET.parse().unwrap()) };
    let report = inside(&lab.0.client_namespace(), || drive(&args, &mut |_| {}).unwrap()).unwrap();
    assert_eq!((report.connections.completed, report.failed_total()), (500, 0), "{report}");
    let counted = server.end();
    assert_eq!((&counted["accepted"], &counted["closed"], &counted["open"]), (&500.into(), &500.into(), &0.into()));
    assert_eq!(counted["bytes"], 500 * 5_000);
}

#[test]
fn the_ceiling_completes_every_connection_of_the_generator() {
    if !root_or_skip("the_ceiling_completes_every_connection_of_the_generator") {
        return;
    }
    let lab = TestLab::up("reflect");
    for mode in ["native", "generic"] {
        let server = format!("lab reflect -i hf-server --port 7000 --cores 0 --xdp-mode {mode} --json");
        let server = Server::start(&lab.0, &server, &said("reflect"));
        let blast = format!(
            "blast -i hf-client --target {TARGET} --source 198.18.1.0/24 --connections 2000 --xdp-mode {mode} --json -"
        );
        let output = handfast(&lab.0.client_namespace(), &blast).output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        let report: BlastReport = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((report.connections.completed, report.connections.failed_total()), (2_000, 0), "{report}");
        let counted = server.end();
        assert_eq!((&counted["fins"], &counted["xdp"]), (&2_000.into(), &mode.into()), "{counted}");
    }
}

#[test]
fn the_reflector_answers_every_syn_and_nothing_else() {
    if !root_or_skip("the_reflector_answers_every_syn_and_nothing_else") {
        return;
    }
    let lab = TestLab::up_with("answer", true);
    for mode in ["native", "generic"] {
        let server = format!("lab packets answer -i hf-server --port 7000 --xdp-mode {mode} --json");
        let server = Server::start(&lab.0, &server, &said("answer"));
        let flood = |more: &str| -> FloodReport {
            let line = format!("flood -i hf-client --target {TARGET} --rate 2k --duration 500ms --json {more}");
            let output = handfast(&lab.0.client_namespace(), &line).output().unwrap();
            assert!(output.status.success(), "{}", text(&output));
            serde_json::from_slice(&output.stdout).unwrap()
        };
        let syns = flood("--options");
        assert_eq!((syns.answered, syns.replies.syn_ack, syns.lost), (1_000, 1_000, 0), "{mode}: {syns}");
        // The kernel has nobody listen there.
        let acks = flood("--kind ack");
        assert_eq!((acks.replies.rst, acks.replies.syn_ack), (1_000, 0), "{mode}: {acks}");
        // The kernel takes an answer whose checksum is right, and its ACK is then reset by the server's kernel. In native mode the
        // answer waits where no program is at this end.
        if mode == "generic" {
            let connect = || TcpStream::connect_timeout(&TARGET.parse().unwrap(), Duration::from_secs(5)).map(drop);
            let outcome = inside(&lab.0.client_namespace(), connect).unwrap();
            let was_established = outcome.as_ref().err().is_none_or(|error| error.kind() == ErrorKind::ConnectionReset);
            assert!(was_established, "{outcome:?}");
        }
        let counted = server.end();
        assert!(counted["answered"].as_u64() >= Some(1_000), "{counted}");
    }
}
