//! `handfast bench flood` end to end: a short run of the built program whose books have to balance. Speeds are not judged here.
#![cfg(feature = "xdp")]

#[path = "common/browser.rs"]
mod browser;
mod common;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use browser::{browser_or_skip, load};
use common::root_or_skip;
use handfast::bench::defence::contender::Defender;
use handfast::bench::defence::report::{DefenceReport, DefenderReport, REFLECTOR};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const HANDFAST: &str = env!("CARGO_BIN_EXE_handfast");

fn name(test: &str) -> String {
    format!("hfdef-{test}-{}", std::process::id())
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn assert_nothing_left(name: &str) {
    let left = Command::new("ip").args(["netns", "list"]).output().unwrap();
    assert!(!text(&left).contains(name), "{}", text(&left));
}

/// What holds for every contender, however fast it is.
fn assert_books(contender: &DefenderReport) {
    let floods: Vec<_> = contender.steps.iter().map(|step| step.flood.as_str()).collect();
    assert_eq!(floods, ["0", "2k", "max"]);
    for step in &contender.steps {
        let honest = &step.honest;
        assert_eq!(honest.started, honest.completed + honest.failed, "{contender:?}");
        assert_eq!(honest.failed, honest.failed_by.values().sum::<u64>(), "{contender:?}");
        assert!(step.flood_answered <= step.flood_sent, "{contender:?}");
        let [least, most] = step.completed_percent_spread;
        assert!(0.0 <= least && (least..=most).contains(&honest.completed_percent) && most <= 100.0, "{contender:?}");
        let [least, most] = step.answered_spread;
        assert!((least..=most).contains(&step.answered_per_second), "{contender:?}");
        // A machine that gave the generator no core for long starts fewer.
        assert!((1..=200).contains(&honest.started), "{contender:?}");
    }
    let [quiet, slow, full] = &contender.steps[..] else { unreachable!("three steps") };
    assert_eq!((quiet.flood_sent, quiet.flood_answered), (0, 0), "{contender:?}");
    assert_eq!(quiet.honest.failed, 0, "{contender:?}");
    assert!(quiet.honest.handshake_us[0] > 0.0, "{contender:?}");
    assert!(slow.flood_sent > 1_000 && full.flood_sent > slow.flood_sent, "{contender:?}");
    assert!(slow.flood_answered > 0 && full.flood_answered > 0, "{contender:?}");
    let after = &contender.after;
    assert!(after.half_open_at_end.is_some() && after.half_open_later_s >= 4.0, "{contender:?}");
    assert_eq!(after.half_open_later, Some(0), "they time out: {contender:?}");
    assert!(after.rss_kib.iter().all(|kib| *kib > 1_000), "{contender:?}");
    assert!(contender.server_command.contains("ip netns exec"), "{contender:?}");
    assert!(contender.honest_command.contains("blast -i hf-honest"), "{contender:?}");
    assert!(contender.flood_command.contains("flood -i hf-client"), "{contender:?}");
}

/// The values that a page's tables show, with the place of each in the JSON.
fn shown(page: &str) -> Vec<(String, f64)> {
    let value = |element: &str| {
        let attribute = |name: &str| Some(element.split_once(&format!("{name}=\""))?.1.split_once('"')?.0.to_owned());
        Some((attribute("data-json")?, attribute("value")?.parse().ok()?))
    };
    page.split("<data ").skip(1).filter_map(value).collect()
}

#[test]
fn every_contender_is_measured_at_every_step_and_nothing_is_left() {
    let test = "every_contender_is_measured_at_every_step_and_nothing_is_left";
    let Some(browser) = root_or_skip(test).then(|| browser_or_skip(test)).flatten() else { return };
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("defence");
    fs::create_dir_all(&folder).unwrap();
    let html = folder.join("flood.html");
    let name = name("all");
    let line =
        format!("bench flood --duration 1s --rate 200 --steps 0,2k,max --recovery 15s --name {name} --json - --html");
    let output = Command::new(HANDFAST).args(line.split(' ')).arg(&html).env_remove("RUST_LOG").output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    assert_nothing_left(&name);
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(printed.lines().count(), 1, "{printed}");
    let report: DefenceReport = serde_json::from_str(&printed).unwrap();
    assert_eq!(report.contenders.len(), Defender::ALL.len(), "{printed}");
    report.contenders.iter().for_each(assert_books);
    assert_eq!((report.runs, report.peaks.len()), (1, Defender::ALL.len() + 1), "{printed}");
    let reflector = report.peaks.iter().find(|peak| peak.name == REFLECTOR).unwrap();
    assert!(reflector.answered_per_second > 0.0 && reflector.over_kernel_cookies.is_some(), "{printed}");
    assert_eq!(reflector.over_reflector, Some(1.0));
    assert!(report.notes.iter().any(|note| note.contains("the sender's core")), "{:?}", report.notes);

    let written: Value = serde_json::from_str(&printed).unwrap();
    let seen = load(&browser, &html, &folder);
    assert!(seen.console.is_empty(), "{:?}", seen.console);
    let values = shown(&seen.dom);
    assert!(values.len() > 10 * 3 * Defender::ALL.len(), "{values:?}");
    for (at, value) in values {
        let expected =
            written.pointer(&at).and_then(Value::as_f64).unwrap_or_else(|| panic!("{at} is not in the JSON"));
        assert!((value - expected).abs() <= expected.abs() * 1e-12, "{at}: {value} is shown, and {expected} written");
    }
}

#[test]
fn several_runs_are_one_result_with_its_spread() {
    if !root_or_skip("several_runs_are_one_result_with_its_spread") {
        return;
    }
    let name = name("runs");
    let line = format!(
        "bench flood --runs 2 --duration 500ms --rate 200 --steps max --contenders xdp --recovery 5s --name {name} --json -"
    );
    let output = Command::new(HANDFAST).args(line.split(' ')).env_remove("RUST_LOG").output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    assert_nothing_left(&name);
    let told = String::from_utf8_lossy(&output.stderr).lines().filter(|line| line.starts_with("handfast XDP")).count();
    assert_eq!(told, 2, "each run is told: {}", text(&output));
    let report: DefenceReport = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((report.runs, report.contenders.len(), report.contenders[0].steps.len()), (2, 1, 1), "{report:?}");
    let step = &report.contenders[0].steps[0];
    assert!(step.answered_spread[0] < step.answered_spread[1], "no two runs are the same: {step:?}");
    assert!(step.answered_spread.contains(&step.answered_per_second), "{step:?}");
    for peak in &report.peaks {
        let ([least, most], ratio) = (peak.over_reflector_spread.unwrap(), peak.over_reflector.unwrap());
        assert!(0.0 < least && least <= ratio && ratio <= most, "{peak:?}");
    }
}

#[test]
fn an_interruption_ends_it_and_leaves_nothing() {
    if !root_or_skip("an_interruption_ends_it_and_leaves_nothing") {
        return;
    }
    let name = name("interrupt");
    let line = format!("bench flood --duration 60s --steps max --contenders kernel --name {name}");
    let mut command = Command::new(HANDFAST);
    command.args(line.split(' ')).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let client = format!("{name}-client");
    let start = Instant::now();
    let generators = || {
        let pids = Command::new("ip").args(["netns", "pids", &client]).output().unwrap();
        if pids.status.success() { String::from_utf8_lossy(&pids.stdout).lines().count() } else { 0 }
    };
    while generators() == 0 {
        assert!(start.elapsed() < Duration::from_secs(30), "no generator was started");
        thread::sleep(Duration::from_millis(20));
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("interrupted"), "{}", text(&output));
    assert_nothing_left(&name);
}
