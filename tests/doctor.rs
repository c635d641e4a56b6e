//! `handfast doctor` on real interfaces: what it says of a lab in order and of broken ones, and that `serve` agrees.
#![cfg(feature = "xdp")]

mod common;

use common::root_or_skip;
use handfast::bench::lab::{CLIENT, Lab, LabConfig, SERVER};
use handfast::control::check::Check;
use handfast::observe::checkup::{Checkup, Row, Verdict};
use serde_json::Value;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

const HANDFAST: &str = env!("CARGO_BIN_EXE_handfast");

/// How long anything may take that has to happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// A lab with a folder, both gone with the value.
struct World {
    lab: Lab,
    folder: PathBuf,
}

impl World {
    /// A lab, or `None` if the test is to be skipped.
    fn up(test: &str, change: impl FnOnce(&mut LabConfig)) -> Option<Self> {
        static LABS: AtomicU32 = AtomicU32::new(0);
        if !root_or_skip(test) {
            return None;
        }
        let name = format!("hfdoc-{}-{}", std::process::id(), LABS.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(&name);
        fs::create_dir_all(&folder).unwrap();
        let mut config = LabConfig::named(&name);
        change(&mut config);
        // The guard comes first: a lab that came up halfway is removed as well.
        let world = Self { lab: Lab::named(&name).unwrap(), folder };
        Lab::up(&config).unwrap();
        Some(world)
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).to_str().unwrap().to_owned()
    }

    /// A command inside the namespace of the server.
    fn at_server(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.lab.server_namespace(), program]).args(args).stdin(Stdio::null());
        command.env_remove("RUST_LOG");
        command
    }

    /// Runs a command of iproute2 or ethtool in a namespace.
    fn change(&self, namespace: &str, program: &str, args: &[&str]) {
        let status = Command::new("ip").args(["netns", "exec", namespace, program]).args(args).status().unwrap();
        assert!(status.success(), "{program} {args:?}");
    }

    fn doctor(&self, args: &[&str]) -> Output {
        self.at_server(HANDFAST, &[&["doctor"], args].concat()).output().unwrap()
    }

    /// What doctor says about an interface of the server's namespace, and its exit status.
    fn examine(&self, interface: &str) -> (Checkup, Option<i32>) {
        let output = self.doctor(&["-i", interface, "--json"]);
        assert_eq!(text(&output.stdout).lines().count(), 1, "{}", text(&output.stdout));
        (serde_json::from_slice(&output.stdout).unwrap(), output.status.code())
    }

    fn serve(&self, interface: &str) -> Command {
        let control = self.path("control.sock");
        self.at_server(HANDFAST, &["serve", "-i", interface, "--listen", "80=http", "--control", &control])
    }

    /// Runs a server that has to fail, and returns what it says.
    fn serve_fails(&self, interface: &str) -> String {
        let output = self.serve(interface).args(["--duration", "100ms"]).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
        text(&output.stderr)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Err(error) = self.lab.down(true) {
            eprintln!("cannot clean up: {error}");
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A running server, ended with the value.
struct Server(Child);

impl Server {
    fn start(world: &World) -> Self {
        let log = world.path("serve.err");
        let mut command = world.serve(SERVER.interface);
        command.stdout(Stdio::null()).stderr(File::create(&log).unwrap());
        let mut server = Self(command.spawn().unwrap());
        let start = Instant::now();
        while !fs::read_to_string(&log).unwrap().contains("handfast: ready: ") {
            let ended = server.0.try_wait().unwrap();
            assert!(ended.is_none() && start.elapsed() < PATIENCE, "{}", fs::read_to_string(&log).unwrap());
            sleep(Duration::from_millis(10));
        }
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn row(report: &Checkup, check: Check) -> &Row {
    report.checks.iter().find(|row| row.check == check.name()).unwrap_or_else(|| panic!("no row {check}: {report:?}"))
}

fn problems(report: &Checkup) -> Vec<&str> {
    let problems = report.checks.iter().filter(|row| row.verdict == Verdict::Problem);
    problems.map(|row| row.check.as_str()).collect()
}

/// The names of a report about one interface. Programs look for them: one that is there never changes.
const OF_AN_INTERFACE: [&str; 29] = [
    "kernel",
    "privileges",
    "af-xdp",
    "program",
    "bpf-jit",
    "btf",
    "memory",
    "memory-lock",
    "huge-pages",
    "governor",
    "interface",
    "state",
    "carrier",
    "address",
    "mtu",
    "driver",
    "native",
    "queues",
    "cores",
    "rss",
    "irq-affinity",
    "checksums",
    "segmentation",
    "merging",
    "vlan-offload",
    "syn-answers",
    "xdp-program",
    "sockets",
    "control-socket",
];

fn names(report: &Checkup) -> Vec<&str> {
    report.checks.iter().map(|row| row.check.as_str()).collect()
}

#[test]
fn a_lab_in_order_can_be_served_and_every_check_has_its_row() {
    let Some(world) = World::up("a_lab_in_order_can_be_served", |config| config.queues = 2) else { return };
    let (report, status) = world.examine(SERVER.interface);
    assert_eq!((status, report.serves, problems(&report)), (Some(0), true, vec![]), "{report:#?}");
    assert_eq!(names(&report), OF_AN_INTERFACE);
    for check in [
        Check::Native,
        Check::Queues,
        Check::Checksums,
        Check::Segmentation,
        Check::Merging,
        Check::BpfJit,
        Check::SynAnswers,
    ] {
        assert_eq!(row(&report, check).verdict, Verdict::Ok, "{:?}", row(&report, check));
    }
    let checksums = &row(&report, Check::Checksums).found;
    assert!(checksums.starts_with(CLIENT.interface) && checksums.contains("partial"), "{checksums}");

    let output = world.serve(SERVER.interface).args(["--duration", "200ms"]).output().unwrap();
    assert!(output.status.success(), "doctor promised that serve starts: {}", text(&output.stderr));
    assert!(text(&output.stderr).contains("(native, copy) queues 0-1 "), "{}", text(&output.stderr));
}

#[test]
fn the_object_keeps_its_names() {
    let Some(world) = World::up("the_object_keeps_its_names", |_| {}) else { return };
    let value: Value = serde_json::from_slice(&world.doctor(&["-i", SERVER.interface, "--json"]).stdout).unwrap();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&value), ["version", "interface", "serves", "verdicts", "checks"]);
    assert_eq!(keys(&value["verdicts"]), ["ok", "warning", "problem", "unknown", "skipped"]);
    for row in value["checks"].as_array().unwrap() {
        assert_eq!(keys(row), ["check", "interface", "verdict", "found", "why", "remedy"]);
    }
}

#[test]
fn an_interface_that_is_down_is_a_problem_as_it_is_to_serve() {
    let Some(world) = World::up("an_interface_that_is_down_is_a_problem", |_| {}) else { return };
    world.change(&world.lab.server_namespace(), "ip", &["link", "set", SERVER.interface, "down"]);
    let (report, status) = world.examine(SERVER.interface);
    assert_eq!((status, problems(&report)), (Some(1), vec!["state"]), "{report:#?}");
    assert_eq!(row(&report, Check::State).remedy.as_deref(), Some("ip link set hf-server up"));
    assert_eq!(row(&report, Check::Carrier).verdict, Verdict::Skipped);
    assert!(world.serve_fails(SERVER.interface).contains("interface hf-server: is down; ip link set hf-server up"));

    let output = world.doctor(&["-i", SERVER.interface]);
    let page = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1));
    assert!(page.contains("mend: ip link set hf-server up\n"), "{page}");
    assert!(page.contains("\nserve would fail on hf-server: "), "{page}");
    assert!(text(&output.stderr).starts_with("handfast: hf-server cannot be served"), "{}", text(&output.stderr));
}

#[test]
fn a_running_server_is_named_where_a_second_one_would_fail() {
    let Some(world) = World::up("a_running_server_is_named", |_| {}) else { return };
    let server = Server::start(&world);
    let (report, status) = world.examine(SERVER.interface);
    assert_eq!((status, problems(&report)), (Some(1), vec!["xdp-program"]), "{report:#?}");
    let found = row(&report, Check::XdpProgram);
    assert!(found.found.contains("has an XDP program attached already"), "{found:?}");
    let who = format!("held by process {} ({HANDFAST} serve -i hf-server ", server.0.id());
    assert!(found.found.contains(who[..who.len().min(60)].trim()), "{found:?}");
    let remedy = found.remedy.as_deref().unwrap();
    assert!(remedy.starts_with(&format!("kill {}, or bpftool link detach id ", server.0.id())), "{remedy}");
    assert_eq!(row(&report, Check::Sockets).verdict, Verdict::Unknown);
    assert!(world.serve_fails(SERVER.interface).contains("has an XDP program attached already"));
    drop(server);
    let (report, status) = world.examine(SERVER.interface);
    assert_eq!((status, problems(&report)), (Some(0), vec![]), "{report:#?}");
}

#[test]
fn an_unknown_interface_and_the_loopback_interface_cannot_be_served() {
    let Some(world) = World::up("an_unknown_interface_cannot_be_served", |_| {}) else { return };
    let (report, status) = world.examine("hfdoc-none");
    assert_eq!((status, problems(&report)), (Some(1), vec!["interface"]), "{report:#?}");
    assert_eq!(row(&report, Check::Interface).remedy.as_deref(), Some("there are: lo, hf-server"));
    assert_eq!(names(&report), OF_AN_INTERFACE, "what is not known is skipped, and stays in the list");
    assert!(world.serve_fails("hfdoc-none").contains("does not exist in this network namespace"));

    let (report, status) = world.examine("lo");
    assert_eq!((status, problems(&report)), (Some(1), vec!["address"]), "{report:#?}");
    assert!(world.serve_fails("lo").contains("loopback"));
}

#[test]
fn a_peer_that_does_not_fit_is_found_in_its_namespace_and_mended_there() {
    let Some(world) = World::up("a_peer_that_does_not_fit_is_found", |config| config.queues = 2) else { return };
    let client = world.lab.client_namespace();
    world.change(&client, "ip", &["link", "set", CLIENT.interface, "mtu", "3507"]);
    let (report, status) = world.examine(SERVER.interface);
    assert_eq!((status, problems(&report)), (Some(0), vec![]), "generic mode serves, too: {report:#?}");
    let native = row(&report, Check::Native);
    assert_eq!(native.verdict, Verdict::Warning, "{native:?}");
    assert_eq!(native.remedy, Some(format!("ip netns exec {client} ip link set hf-client mtu 3506")));
    let unsplit = row(&report, Check::Segmentation);
    assert_eq!(unsplit.remedy, Some(format!("ip netns exec {client} ethtool -K hf-client tso off gso off")));
    assert_eq!(row(&report, Check::Merging).remedy.as_deref(), Some("ethtool -K hf-server gro off"));

    // What the report says mends it.
    for check in [Check::Segmentation, Check::Merging, Check::Native] {
        let remedy = row(&report, check).remedy.clone().unwrap();
        let words: Vec<&str> = remedy.split_whitespace().collect();
        world.change(&world.lab.server_namespace(), words[0], &words[1..]);
        let (after, _) = world.examine(SERVER.interface);
        assert_eq!(row(&after, check).verdict, Verdict::Ok, "{remedy}: {:?}", row(&after, check));
    }

    world.change(&world.lab.server_namespace(), "ethtool", &["-L", SERVER.interface, "rx", "1"]);
    let (report, _) = world.examine(SERVER.interface);
    assert!(row(&report, Check::Native).found.contains("sends on 2 queues, and 1 receive"), "{report:#?}");
}

#[test]
fn a_peer_that_does_not_poll_is_found_and_mended() {
    let Some(world) = World::up("a_peer_that_does_not_poll_is_found", |_| {}) else { return };
    let client = world.lab.client_namespace();
    world.change(&client, "ethtool", &["-K", CLIENT.interface, "gro", "off"]);
    let (report, status) = world.examine(SERVER.interface);
    assert_eq!((status, problems(&report)), (Some(0), vec![]), "workers answer, too: {report:#?}");
    let answers = row(&report, Check::SynAnswers);
    assert_eq!(answers.verdict, Verdict::Warning, "{answers:?}");
    assert!(answers.found.starts_with("hf-client has neither receive offload nor an XDP program"), "{answers:?}");
    let remedy = answers.remedy.clone().unwrap();
    let words: Vec<&str> = remedy.split_whitespace().collect();
    world.change(&world.lab.server_namespace(), words[0], &words[1..]);
    let (after, _) = world.examine(SERVER.interface);
    assert_eq!(row(&after, Check::SynAnswers).verdict, Verdict::Ok, "{remedy}: {after:#?}");
}

#[test]
fn without_an_interface_each_of_the_namespace_is_named() {
    let Some(world) = World::up("without_an_interface_each_is_named", |_| {}) else { return };
    let survey = || -> (Checkup, Option<i32>) {
        let output = world.doctor(&["--json"]);
        (serde_json::from_slice(&output.stdout).unwrap(), output.status.code())
    };
    let (report, status) = survey();
    assert_eq!((status, &report.interface), (Some(0), &None), "{report:#?}");
    let interfaces: Vec<_> =
        report.checks.iter().filter_map(|row| Some((row.interface.as_deref()?, row.verdict))).collect();
    assert_eq!(interfaces, [("lo", Verdict::Skipped), ("hf-server", Verdict::Ok)], "{report:#?}");
    assert_eq!(row(&report, Check::Interfaces).found, "could be served: hf-server");

    world.change(&world.lab.server_namespace(), "ip", &["link", "set", SERVER.interface, "down"]);
    let (report, status) = survey();
    assert_eq!((status, problems(&report)), (Some(1), vec!["interfaces"]), "{report:#?}");
}

#[test]
fn without_ethtool_what_it_would_say_is_unknown_and_its_package_named() {
    let Some(world) = World::up("without_ethtool_what_it_would_say_is_unknown", |_| {}) else { return };
    // A mount namespace in which the program is not there; nothing outside sees it.
    let hide = format!(
        "for tool in /usr/sbin/ethtool /sbin/ethtool; do [ -e $tool ] && mount --bind /dev/null $tool; done; \
         exec {HANDFAST} doctor -i {} --json",
        SERVER.interface
    );
    let output = world.at_server("unshare", &["--mount", "sh", "-c", &hide]).output().unwrap();
    let report: Checkup = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{report:#?}");
    for check in [Check::Merging, Check::VlanOffload, Check::Native, Check::Checksums] {
        let found = row(&report, check);
        assert_eq!(found.verdict, Verdict::Unknown, "{found:?}");
        assert!(found.found.contains("scripts/setup"), "{found:?}");
    }
}

#[test]
fn wrong_usage_exits_with_2_and_prints_no_report() {
    for args in [&["doctor", "-i", "a/b"][..], &["doctor", "--listen", "80=http"], &["doctor", "hf0"]] {
        let output = Command::new(HANDFAST).args(args).output().unwrap();
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(2), String::new()), "{args:?}");
    }
}

#[test]
fn operations_explain_every_check() {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md")).unwrap();
    for check in Check::ALL {
        assert!(page.contains(&format!("| `{check}` |")), "docs/operations.md says nothing of the check `{check}`");
    }
}
