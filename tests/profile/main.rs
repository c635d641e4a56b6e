//! `handfast profile` against a real server on a veth pair: what it reports adds up and is the same in every form, timing is
//! off afterwards whatever ended it, and each way in which there is no profile is said.
//!
//! The labs and processes are those of the server's tests (tests/serve/world.rs). Not here: how a sheet is booked and what a report
//! says of one (src/profile, src/observe/profile), and what being timed costs (scripts/observed).
#![cfg(feature = "xdp")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../serve/world.rs"]
mod world;

use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use handfast::observe::number::fixed;
use handfast::observe::profile::{Part, ProfileReport, Profiled};
use handfast::profile::Stage;
use rustix::process::Signal;
use world::{HANDFAST, Process, Serve, V4, World, text, wait_for};

/// What the names of this program's labs start with.
const LAB: &str = "hfpr";

/// A load in the background, for longer than a test needs it.
fn load(world: &World) -> Process {
    let target = format!("{V4}:80");
    let args = ["blast", "-i", "hf-client", "--target", &target, "--rate", "20k", "--duration", "60s"];
    let mut command =
        world.at_client(HANDFAST, &[&args[..], &["--source", "198.18.1.0/24", "--engine", "xdp"]].concat());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    Process(command.spawn().unwrap())
}

/// A profile in the background.
fn profiling(world: &World, duration: &str) -> Process {
    let mut command = Command::new(HANDFAST);
    command.args(["profile", "--control", &world.path("control.sock"), "--duration", duration]);
    let child: Child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    Process(child)
}

/// What a profile in the background said at its end: standard output and standard error, and its exit status.
fn said(mut process: Process) -> (String, String, Option<i32>) {
    let status = process.wait();
    let read = |from: &mut dyn std::io::Read| {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).unwrap();
        text(&bytes)
    };
    let stdout = read(process.0.stdout.as_mut().unwrap());
    (stdout, read(process.0.stderr.as_mut().unwrap()), status.code())
}

/// A short profile, which the server refuses while another one is under way.
fn is_refused(serve: &Serve<'_>) -> bool {
    let output = serve.ask(&["profile", "--duration", "100ms", "--json", "-"]);
    let refused = text(&output.stderr).contains("somebody else is profiling this server now");
    assert_eq!(output.status.code(), Some(i32::from(refused)), "{output:?}");
    refused
}

fn part<'a>(parts: &'a [Part], name: &str) -> &'a Part {
    parts.iter().find(|part| part.name == name).unwrap_or_else(|| panic!("no part {name}: {parts:?}"))
}

/// The stages add up to the turns, and the turns and what lies between them to the period.
fn adds_up(profiled: &Profiled) {
    assert!((95.0..=100.01).contains(&profiled.attributed_percent), "{profiled:#?}");
    let named = profiled.stages.iter().filter(|part| part.name != "unattributed");
    let named: f64 = named.map(|part| part.ns).sum();
    assert!(named >= 0.95 * profiled.turn.ns, "{named} ns of {} are named", profiled.turn.ns);
    let period: f64 = profiled.period.iter().map(|part| part.percent).sum();
    assert!((99.9..=100.1).contains(&period), "{profiled:#?}");
    for stage in Stage::ALL {
        part(&profiled.stages, stage.name());
    }
}

/// The table has the report's figures.
fn is_the_same(page: &str, report: &ProfileReport) {
    let worker = &report.workers[0].profiled;
    for part in worker.stages.iter().chain(&worker.period).chain([&worker.turn]) {
        let name = part.name.replace('_', ": ");
        let is_row =
            |line: &&str| line.strip_prefix(&name).is_some_and(|rest| rest.starts_with("  ")) && line.ends_with(" %");
        let row = page.lines().find(is_row);
        let row = row.unwrap_or_else(|| panic!("no row {name}: {page}"));
        let figures: Vec<_> = row[name.len()..].split_whitespace().collect();
        let expected = [
            fixed(part.ns_per_frame.unwrap_or(f64::NAN), 1),
            fixed(part.cycles_per_frame.unwrap_or(f64::NAN), 0),
            fixed(part.percent, 2),
            "%".to_owned(),
        ];
        assert_eq!(figures, expected, "{row}");
    }
}

#[test]
fn a_profile_under_load_adds_up_and_is_the_same_in_every_form() {
    let Some(world) = World::up("a_profile_under_load_adds_up_and_is_the_same_in_every_form") else { return };
    let serve = world.serve("--listen 80=discard --flows 100k");
    let load = load(&world);
    serve.stats_when("a load", |stats| stats.total.port.get("rx_frames").unwrap() > 5_000);
    let [json, html, stacks] = ["p.json", "p.html", "p.folded"].map(|name| world.path(name));
    for every in ["1", "8"] {
        let output = serve.ask(&[
            "profile",
            "--duration",
            "1s",
            "--every",
            every,
            "--json",
            &json,
            "--html",
            &html,
            "--folded",
            &stacks,
        ]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let report: ProfileReport = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
        assert_eq!((report.interface.as_str(), report.every.to_string().as_str()), ("hf-server", every));
        let one = &report.workers[0].profiled;
        adds_up(one);
        adds_up(&report.total);
        is_the_same(&text(&output.stdout), &report);

        assert!(one.frames.received > 5_000 && one.frames.sent > 2_000, "{one:#?}");
        let sampled = if every == "1" { 99.9..=100.0 } else { 0.1..=60.0 };
        assert!(sampled.contains(&one.sampled_percent), "{one:#?}");
        // It begins and ends between the turns that a worker gets round to: a sleep earlier or later.
        assert!((0.9..2.0).contains(&one.period_s), "{one:#?}");
        for stage in ["receive", "parse", "lookup", "tcp", "reply", "transmit", "kick"] {
            assert!(part(&one.stages, stage).ns > 0.0, "{stage}: {one:#?}");
        }
        let busy = one.turns.detailed + one.turns.whole;
        assert_eq!(one.batches.iter().map(|batch| batch.turns).sum::<u64>(), busy);
        assert_eq!(one.turn_us.count, busy);
        assert!(one.completion_lag_us.count > 0 && one.kernel.kicks > 0, "{one:#?}");
        assert!(one.kernel.per_frame.is_some_and(|calls| calls > 0.0), "{one:#?}");
        assert!((0.01..100.0).contains(&one.clock_ghz) && one.clock_read_ns > 0.0, "{one:#?}");

        folded_stacks_add_up(&fs::read_to_string(&stacks).unwrap(), one);
        let page = fs::read_to_string(&html).unwrap();
        let (_, embedded) = page.split_once("id=\"report\">").unwrap();
        let (embedded, _) = embedded.split_once("</script>").unwrap();
        assert_eq!(serde_json::from_str::<ProfileReport>(embedded).unwrap(), report);
        assert!(page.contains("Content-Security-Policy") && page.contains("<svg"));
        assert!(!page.contains("http:") && !page.contains("https:") && !page.contains(" src="), "it is one file");
    }
    drop(load);
    assert!(!is_refused(&serve), "timing is off");
    serve.end();
}

/// Every line is a stack of this worker with whole nanoseconds, and all of them are its period.
fn folded_stacks_add_up(stacks: &str, worker: &Profiled) {
    let mut sum = 0.0;
    for line in stacks.lines() {
        let (stack, ns) = line.rsplit_once(' ').unwrap();
        assert!(stack.starts_with("worker 0;") && stack.split(';').all(|frame| !frame.is_empty()), "{line}");
        sum += f64::from(u32::try_from(ns.parse::<u64>().unwrap() / 1_000).unwrap());
    }
    // In microseconds, each line rounded down.
    assert!((sum / 1e6 / worker.period_s - 1.0).abs() < 0.001, "{sum} us of {} s", worker.period_s);
    assert!(stacks.contains("worker 0;turn;engine;parse ") && stacks.contains("worker 0;turn;kick "), "{stacks}");
}

#[test]
fn one_profiles_at_a_time_and_who_leaves_leaves_nothing_on() {
    let Some(world) = World::up("one_profiles_at_a_time_and_who_leaves_leaves_nothing_on") else { return };
    let serve = world.serve("--listen 80=discard");
    let first = profiling(&world, "10m");
    wait_for("a profile under way", || is_refused(&serve));
    // As Ctrl-C does.
    first.signal(Signal::INT);
    let began = Instant::now();
    let (stdout, _, status) = said(first);
    assert_eq!((stdout.as_str(), status), ("", None), "it ended by the signal");
    // The next one waits for the one that was left to be given up.
    assert!(!is_refused(&serve), "{:?} after it had left", began.elapsed());
    let killed = profiling(&world, "10m");
    wait_for("another profile under way", || is_refused(&serve));
    drop(killed);
    assert!(!is_refused(&serve));
    serve.end();
}

#[test]
fn a_server_that_ends_says_so_to_who_profiles_it() {
    let Some(world) = World::up("a_server_that_ends_says_so_to_who_profiles_it") else { return };
    let serve = world.serve("--listen 80=discard --duration 2s");
    let profile = profiling(&world, "1m");
    let (stdout, stderr, status) = said(profile);
    assert_eq!((stdout.as_str(), status), ("", Some(1)), "{stderr}");
    assert!(stderr.contains("it ended") && stderr.contains("into the 60 s that were to be profiled"), "{stderr}");
    let ended = serve.ended();
    assert!(ended.status.success(), "{ended:?}");

    // And one that is killed, in no words of its own.
    let mut serve = world.serve("--listen 80=discard");
    let profile = profiling(&world, "1m");
    thread::sleep(Duration::from_millis(300));
    serve.process.signal(Signal::KILL);
    serve.process.wait();
    let (_, stderr, status) = said(profile);
    assert_eq!(status, Some(1), "{stderr}");
    assert!(stderr.contains("did not answer"), "{stderr}");
}
