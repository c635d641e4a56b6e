//! The built program as people and scripts see it: exit status, standard output, standard error. What a running server
//! answers is stood in for by a handler of this test.
#![cfg(feature = "xdp")]

mod common;

use handfast::control::protocol::{
    DrainRequest, ErrorCode, FlowsRequest, ProfileRequest, Refusal, ReloadRequest, WhyRequest,
};
use handfast::control::settings::{KEYS, Table};
use handfast::control::socket::{Handler, Server};
use handfast::observe::profile::ProfileReport;
use handfast::observe::report::{Drained, FlowRow, Flows, Past, Reloaded, Stats};
use handfast::observe::why::Diagnosis;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

fn handfast(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_handfast"));
    command.args(args).env_remove("RUST_LOG").output().expect("the program can be started")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A folder of one test, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("hfcf-cli-{test}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, content: &str) -> String {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Fails with 2 and lists exactly these problems by their beginnings, in this order, and prints no result.
fn lists(output: &Output, beginnings: &[&str]) {
    let text = stderr(output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert_eq!(stdout(output), "");
    let problems: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("  ")).collect();
    assert_eq!(problems.len(), beginnings.len(), "{text}");
    for (problem, beginning) in problems.iter().zip(beginnings) {
        assert!(problem.starts_with(beginning), "{problem:?} does not begin with {beginning:?}");
    }
}

#[test]
fn wrong_values_are_all_listed_and_exit_with_2() {
    let line = "serve -i a/b --listen 80=ftp --listen 0=http --queues 3-1 --cores 1,1 --flows 0 --frames 1000 --xdp-mode fast \
                --bind maybe --duration 10 --idle-timeout 25d --window-bytes 2G";
    let args: Vec<_> = line.split_whitespace().collect();
    lists(
        &handfast(&args),
        &[
            "--interface a/b: must be an interface name",
            "--listen 80=ftp: service \"ftp\" must be one of",
            "--listen 0=http: port \"0\" must be",
            "--queues 3-1: has a range that runs backwards",
            "--cores 1,1: names 1 twice",
            "--flows 0: must be from 1",
            "--frames 1000: must be a power of two",
            "--xdp-mode fast: must be one of auto, native, generic",
            "--bind maybe: must be one of auto, copy, zerocopy",
            "--duration 10: must be a duration",
            "--idle-timeout 25d: must be at least 0 and less than 24d",
            "--window-bytes 2G: must be from 1 to 1073741824",
        ],
    );
}

#[test]
fn a_file_with_several_mistakes_lists_each_with_its_line_beside_those_of_the_flags() {
    let folder = Folder::new("file");
    let text = "interface = \"eth0\"\nlisten = [\"80=http\",\n  \"80=close\", \"x\"]\nflwos = 3\nflows = true\n\n[tcp]\n\
                time-wait = \"0\"\nkeepalive = \"3h\"\n";
    let file = folder.file("hf.toml", text);
    let body = folder.path("no-such-body");
    let output = handfast(&["serve", "--config", &file, "--frames", "7"]);
    lists(
        &output,
        &[
            &format!("{file}:4: flwos: no such key"),
            &format!("{file}:5: flows = true: must be a whole number"),
            &format!("{file}:3: listen = x: must be [ADDR:]PORT=SERVICE"),
            "--frames 7: must be",
            &format!("{file}:8: time-wait = 0: must be at least 1ms"),
            "listeners 80=http and 80=close: one address and port",
            "keepalive 3h, idle-timeout 2h: the connection is reset before it is probed",
        ],
    );
    let good = folder.file("good.toml", "interface = \"eth0\"\nlisten = [\"80=http\"]\n");
    let output = handfast(&["serve", "--config", &good, "--listen", &format!("80=http:{body}")]);
    lists(&output, &[&format!("listener 80=http:{body}: cannot read {body}: No such file")]);
    let output = handfast(&["serve", "--config", &folder.path("none.toml"), "-i", "eth0", "--listen", "80=http"]);
    lists(&output, &[&format!("configuration file {}: cannot be read", folder.path("none.toml"))]);
}

#[test]
fn wrong_usage_exits_with_2() {
    for args in
        [&["serve", "--no-such-flag"][..], &[], &["dance"], &["stats"], &["flows", "-i", "a", "--state", "OPEN"]]
    {
        let output = handfast(args);
        assert_eq!((output.status.code(), stdout(&output)), (Some(2), String::new()), "{args:?}: {}", stderr(&output));
    }
    lists(&handfast(&["serve"]), &["no interface to serve on: give -i IFACE", "nothing to listen on: give --listen"]);
}

#[test]
fn a_missing_interface_exits_with_1_and_names_those_there_are() {
    let output = handfast(&["serve", "-i", "hfcf-none", "--listen", "80=http"]);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert_eq!(stdout(&output), "");
    let message = "  interface hfcf-none: does not exist in this network namespace; there are: lo";
    assert_eq!(text.lines().filter(|line| line.starts_with(message)).count(), 1, "{text}");
}

#[test]
fn the_help_of_serve_mentions_every_flag() {
    let output = handfast(&["serve", "--help"]);
    assert_eq!(output.status.code(), Some(0));
    let help = stdout(&output);
    for key in KEYS.iter().filter(|key| key.flag) {
        assert!(help.contains(&format!("--{}", key.name)), "--{} is not in the help", key.name);
    }
    for text in ["-i, --interface <IFACE>", "--config <FILE>", "Examples:", "Exit status:", "[default: 262144]"] {
        assert!(help.contains(text), "{text} is not in the help");
    }
    let all = stdout(&handfast(&["--help"]));
    for command in ["serve", "stats", "flows", "reload", "drain", "why", "top", "doctor"] {
        assert!(all.contains(command), "{command} is not in the help");
        assert_eq!(handfast(&[command, "--help"]).status.code(), Some(0));
    }
    assert_eq!(stdout(&handfast(&["--version"])), format!("handfast {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn without_a_server_the_socket_and_the_remedy_are_named() {
    for command in ["stats", "flows", "reload", "drain", "why"] {
        let output = handfast(&[command, "--control", "/nonexistent/hf.sock"]);
        let text = stderr(&output);
        assert_eq!((output.status.code(), stdout(&output)), (Some(1), String::new()), "{text}");
        assert!(text.starts_with("handfast: no server answers at /nonexistent/hf.sock: No such file"), "{text}");
        assert!(text.contains("handfast serve -i IFACE"), "{text}");
    }
    let output = handfast(&["stats", "-i", "hfcf-none"]);
    assert!(stderr(&output).contains("/run/handfast/hfcf-none.sock"), "{}", stderr(&output));
}

/// Answers with what it was asked, as far as that fits.
struct Fake;

impl Handler for Fake {
    fn stats(&self) -> Result<Stats, Refusal> {
        Ok(Stats { version: "9.9.9".into(), interface: "fake0".into(), ..Stats::default() })
    }

    fn history(&self) -> Result<Past, Refusal> {
        Ok(Past::default())
    }

    fn flows(&self, request: &FlowsRequest) -> Result<Flows, Refusal> {
        let state = request.state.clone().unwrap_or_else(|| "ESTABLISHED".into());
        Ok(Flows { matching: request.limit.into(), flows: vec![FlowRow { state, ..FlowRow::default() }] })
    }

    fn reload(&self, request: &ReloadRequest) -> Result<Reloaded, Refusal> {
        match &request.config {
            Some(path) => Err(Refusal::new(ErrorCode::Refused, format!("asked for {}", path.display()))),
            None => Ok(Reloaded { added: request.listen.clone(), ..Reloaded::default() }),
        }
    }

    fn drain(&self, request: &DrainRequest) -> Result<Drained, Refusal> {
        Ok(Drained { remaining: if request.timeout_ms < 1_000 { 5 } else { 0 } })
    }

    fn why(&self, request: &WhyRequest) -> Result<Diagnosis, Refusal> {
        Ok(Diagnosis { interface: "fake0".into(), frames_seen: request.seconds, ..Diagnosis::default() })
    }

    fn profile(&self, request: &ProfileRequest, _: &dyn Fn() -> bool) -> Result<ProfileReport, Refusal> {
        let ProfileRequest { duration_ms, every } = *request;
        let duration_s = Duration::from_millis(duration_ms).as_secs_f64();
        Ok(ProfileReport { interface: "fake0".into(), duration_s, every, ..ProfileReport::default() })
    }
}

#[test]
fn profile_writes_what_a_server_answers_where_it_is_asked_to() {
    let folder = Folder::new("profile");
    let socket = folder.path("hf.sock");
    let _server = Server::start(Path::new(&socket), Arc::new(Fake)).unwrap();
    let ask = |args: &[&str]| handfast(&[&["profile", "--control", &socket], args].concat());
    let [json, html, stacks] = ["p.json", "p.html", "p.folded"].map(|name| folder.path(name));
    let page = stdout(&ask(&["--duration", "1500ms", "--json", &json, "--html", &html, "--folded", &stacks]));
    assert!(page.contains(" on fake0, profiled for 1.5 s; one of 8 turns timed"), "{page}");
    let written: Value = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
    assert_eq!((&written["duration_s"], &written["every"]), (&1.5.into(), &8.into()));
    assert!(fs::read_to_string(&html).unwrap().starts_with("<!DOCTYPE html>"));
    assert_eq!(fs::read_to_string(&stacks).unwrap(), "", "the fake has no workers");
    let printed = stdout(&ask(&["--every", "1", "--json", "-"]));
    assert_eq!(serde_json::from_str::<Value>(&printed).unwrap()["every"], 1);

    for (args, status, said) in [
        (["--duration", "50ms"], 2, "must be from 100ms to 10m"),
        (["--duration", "5"], 2, "must be a duration"),
        (["--every", "0"], 2, "0 is not in 1..=10000"),
        (["--html", "/nonexistent/p.html"], 1, "writing the profile to /nonexistent/p.html: No such file"),
        (["--folded", "/proc/p.folded"], 1, "writing the profile to /proc/p.folded: "),
    ] {
        let output = ask(&args);
        assert_eq!(output.status.code(), Some(status), "{args:?}: {output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(said), "{args:?}: {output:?}");
        assert!(output.stdout.is_empty());
    }
    let nobody = handfast(&["profile", "--control", "/nonexistent/hf.sock", "--html", &folder.path("not.html")]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("no server answers at /nonexistent/hf.sock"));
    assert!(!Path::new(&folder.path("not.html")).exists(), "a file of no profile is not left behind");
}

#[test]
fn commands_print_what_a_running_server_answers() {
    let folder = Folder::new("server");
    let socket = folder.path("hf.sock");
    let _server = Server::start(Path::new(&socket), Arc::new(Fake)).unwrap();
    let ask = |args: &[&str]| handfast(&[args, &["--control", &socket]].concat());
    let json = |args: &[&str]| -> Value { serde_json::from_str(&stdout(&ask(&[args, &["--json"]].concat()))).unwrap() };

    assert!(stdout(&ask(&["stats"])).starts_with("handfast 9.9.9 on fake0"));
    assert_eq!(json(&["stats"])["interface"], "fake0");
    assert!(stdout(&ask(&["flows"])).ends_with("1 of 100 flows\n"));
    let flows = json(&["flows", "--limit", "7", "--state", "time-wait"]);
    assert_eq!((&flows["matching"], &flows["flows"][0]["state"]), (&Value::from(7), &Value::from("TIME-WAIT")));
    assert_eq!(stdout(&ask(&["drain"])), "drained: no flow is left\n");
    assert!(stdout(&ask(&["why"])).contains("Nothing is wrong: whatever arrived was answered"));
    assert_eq!(json(&["why", "--last", "1m"])["frames_seen"], 60);
    assert_eq!(ask(&["why", "--last", "61s"]).status.code(), Some(2));

    let here = std::env::current_dir().unwrap();
    let reloaded = json(&["reload", "--listen", "80=http:body", "--listen", "81=close"]);
    assert_eq!(reloaded["added"][0], format!("80=http:{}/body", here.display()), "the server has another folder");
    assert_eq!(reloaded["added"][1], "81=close");
}

#[test]
fn what_a_server_refuses_or_does_not_finish_exits_with_1() {
    let folder = Folder::new("refused");
    let socket = folder.path("hf.sock");
    let _server = Server::start(Path::new(&socket), Arc::new(Fake)).unwrap();
    let output = handfast(&["reload", "--config", "/a/b.toml", "--control", &socket]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stderr(&output), "handfast: the server refused: asked for /a/b.toml\n");
    let output = handfast(&["drain", "--timeout", "500ms", "--control", &socket]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stdout(&output), "not drained: 5 flows are left\n");
}

#[test]
fn every_setting_can_come_from_the_file() {
    let folder = Folder::new("keys");
    let mut file = String::from("bogus = 1\n");
    for table in Table::ALL {
        file += &table.name().map_or_else(String::new, |name| format!("[{name}]\n"));
        for key in KEYS.iter().filter(|key| key.table == table) {
            // A table in place of a value is wrong for every key, and must be complained about under the key's name.
            file += &format!("{} = {{}}\n", key.name);
        }
    }
    let text = stderr(&handfast(&["serve", "--config", &folder.file("hf.toml", &file)]));
    for key in KEYS {
        assert!(text.contains(&format!(": {} = {{}}: must be", key.name)), "{}: {text}", key.name);
    }
}

/// A network namespace with one end of a veth pair of two queues.
struct Namespace(&'static str);

impl Namespace {
    fn new(name: &'static str) -> Self {
        ip(&["netns", "add", name]);
        let namespace = Self(name);
        let queues = ["numrxqueues", "2", "numtxqueues", "2"];
        let pair = ["-n", name, "link", "add", "hfcf0"];
        ip(&[&pair[..], &queues, &["type", "veth", "peer", "name", "hfcf1"], &queues].concat());
        namespace
    }

    fn handfast(&self, args: &[&str]) -> Output {
        let program = ["netns", "exec", self.0, env!("CARGO_BIN_EXE_handfast")];
        Command::new("ip").args(program).args(args).env_remove("RUST_LOG").output().unwrap()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        ip(&["netns", "delete", self.0]);
    }
}

fn ip(args: &[&str]) {
    let output = Command::new("ip").args(args).output().expect("ip can be started");
    assert!(output.status.success(), "ip {args:?}: {}", stderr(&output));
}

#[test]
fn an_interface_that_is_not_fit_is_refused_with_every_reason_before_anything_is_touched() {
    if !common::root_or_skip("an_interface_that_is_not_fit_is_refused") {
        return;
    }
    let namespace = Namespace::new("hfcf-preflight");
    let control = std::env::temp_dir().join(format!("hfcf-{}.sock", std::process::id()));
    let output = namespace.handfast(&[
        "serve",
        "-i",
        "hfcf0",
        "--listen",
        "80=http",
        "--queues",
        "0-3",
        "--bind",
        "zerocopy",
        "--flows",
        "1G",
        "--control",
        control.to_str().unwrap(),
    ]);
    let text = stderr(&output);
    assert_eq!((output.status.code(), stdout(&output)), (Some(1), String::new()), "{text}");
    let need = handfast::engine::Engine::memory_bytes(250_000_000) * 4 * 10 / (1024 * 1024);
    let memory = format!("  flows 1000000000 and frames 4096: need {}.{} MiB for flows", need / 10, need % 10);
    for problem in [
        memory.as_str(),
        "  interface hfcf0: is down; ip link set hfcf0 up",
        "  interface hfcf0: is a veth, which has no zero-copy",
        "  queues 2-3: interface hfcf0 has 2 receive queues",
    ] {
        assert!(text.contains(problem), "{problem} is not in:\n{text}");
    }
    assert!(!control.exists());
}
