//! A report made from a sheet with known cycles, and what its renderings say of it.

use super::*;
use crate::profile::sheet::Between;
use crate::time::Now;
use serde_json::Value;
use std::collections::BTreeMap;

/// A worker whose clock counts nanoseconds: 80 turns of 10 frames, 10 of them timed stage by stage.
fn profile() -> Profile {
    let mut profile = Profile::new(8);
    let sheet = &mut profile.sheet;
    sheet.stages = [10, 100, 200, 1_000, 300, 2_000, 700, 400, 500, 4_750];
    sheet.detailed = Turns { turns: 10, frames: 100, cycles: 10_000 };
    sheet.whole = Turns { turns: 70, frames: 700, cycles: 63_000 };
    sheet.polls = Between { times: 5, cycles: 2_000 };
    sheet.loops = Between { times: 80, cycles: 1_000 };
    sheet.sleeps = Between { times: 2, cycles: 20_000 };
    sheet.publications = Between { times: 3, cycles: 4_000 };
    sheet.batches = [0, 0, 0, 0, 80, 0, 0, 0];
    for _ in 0..80 {
        sheet.turn_lengths.record(1_000);
    }
    sheet.set_period((0, Now(0)), (100_000, Now(100_000)));
    profile.port =
        PortCounters { rx_frames: 800, tx_frames: 600, tx_kicks: 60, tx_kicks_again: 1, ..PortCounters::default() };
    profile
}

fn report() -> ProfileReport {
    let mut slow = profile();
    // Two cycles of the clock, one nanosecond.
    slow.sheet.set_period((0, Now(0)), (100_000, Now(50_000)));
    ProfileReport::of("eth0", 5.0, 8, &[(0, 1, Box::new(profile())), (3, 2, Box::new(slow))])
}

fn close(value: Option<f64>, expected: f64) -> bool {
    value.is_some_and(|value| (value - expected).abs() < 2e-6 * expected.abs().max(1.0))
}

#[test]
fn stages_are_given_for_a_frame_and_add_up_to_the_turn() {
    let one = Profiled::of(&[&profile()]);
    let part = |name: &str| one.stages.iter().find(|part| part.name == name).unwrap();
    assert!(close(part("kick").ns_per_frame, 47.5) && close(part("tcp").ns_per_frame, 20.0), "{one:?}");
    assert!(close(part("unattributed").ns_per_frame, 0.4), "{one:?}");
    assert!(close(Some(one.attributed_percent), 99.6), "{one:?}");
    let sum: f64 = one.stages.iter().map(|part| part.ns).sum();
    assert!(close(Some(sum), one.turn.ns), "{sum} and {:?}", one.turn);
    let percent: f64 = one.stages.iter().map(|part| part.percent).sum();
    assert!(close(Some(percent), 100.0), "{percent}");
    assert!(close(one.ns_per_frame, 100.0) && close(one.whole_ns_per_frame, 90.0));
    assert!(close(Some(one.sampled_percent), 12.5));
    assert_eq!((one.turns.detailed, one.turns.whole, one.turns.empty), (10, 70, 5));
    assert!(close(one.kernel.frames_per_kick, 10.0) && close(one.kernel.per_frame, 65.0 / 800.0), "{:?}", one.kernel);
    let period: f64 = one.period.iter().map(|part| part.percent).sum();
    assert!(close(Some(period), 100.0), "{:?}", one.period);
}

#[test]
fn readings_of_the_clock_are_taken_out_of_the_stages_and_named() {
    let mut profile = profile();
    // Ten cycles a reading; the mailbox cannot have more taken out than it has.
    profile.sheet.price = 10 * Sheet::PRICE_OF;
    profile.sheet.readings = [10, 10, 0, 50, 0, 0, 0, 0, 0, 0];
    let one = Profiled::of(&[&profile]);
    let ns = |name: &str| one.stages.iter().find(|part| part.name == name).unwrap().ns;
    assert!(close(Some(one.clock_read_ns), 10.0));
    for (name, expected) in
        [("mailbox", 0.0), ("receive", 0.0), ("parse", 500.0), ("profiling", 610.0), ("tcp", 2_000.0)]
    {
        assert!(close(Some(ns(name)), expected), "{name}: {}", ns(name));
    }
    assert!(close(one.ns_per_frame, 93.9), "{:?}", one.ns_per_frame);
    assert!(close(Some(one.attributed_percent), 99.6), "they are part of what is known");
}

#[test]
fn queues_stand_beside_their_sum_and_a_frame_beside_what_links_have() {
    let report = report();
    assert_eq!(report.workers.iter().map(|worker| (worker.queue, worker.core)).collect::<Vec<_>>(), [(0, 1), (3, 2)]);
    assert!(close(report.workers[1].profiled.ns_per_frame, 50.0));
    assert!(close(report.total.ns_per_frame, 75.0), "{:?}", report.total.ns_per_frame);
    assert_eq!(report.total.frames, Frames { received: 1_600, sent: 1_200, emitted: 0 });
    let budget = |link: &str| report.budgets.iter().find(|budget| budget.link == link).unwrap();
    assert!(close(budget("1GbE").times, 75.0 / 672.0) && close(budget("100GbE").times, 75.0 / 6.72));
    let json: Value = serde_json::from_str(&crate::observe::json::line(&report)).unwrap();
    assert_eq!(serde_json::from_value::<ProfileReport>(json).unwrap(), report);
}

#[test]
fn a_server_without_traffic_has_a_profile_without_figures_for_a_frame() {
    let mut idle = Profile::new(8);
    idle.sheet.sleeps = Between { times: 50, cycles: 1_000_000 };
    idle.sheet.set_period((0, Now(0)), (1_000_000, Now(1_000_000)));
    let report = ProfileReport::of("eth0", 1.0, 8, &[(0, 0, Box::new(idle))]);
    assert_eq!((report.total.ns_per_frame, report.total.kernel.per_frame), (None, None));
    let json = crate::observe::json::line(&report);
    assert_eq!(serde_json::from_str::<ProfileReport>(&json).unwrap(), report);
    assert!(text::page(&report).contains("No frame was received in a turn"), "{}", text::page(&report));
    assert_eq!(folded::folded(&report), "worker 0;idle;sleep 1000000\n");
    assert!(page::page(&report).contains("No frame was received"));
}

#[test]
fn the_text_names_every_stage_and_its_time() {
    let page = text::page(&report());
    for part in ["queue 0 on core 1", "queue 3 on core 2", "all queues", "unattributed", "profiling", "idle: sleep"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    for stage in Stage::ALL {
        assert_eq!(page.lines().filter(|line| line.split(' ').next() == Some(stage.name())).count(), 3, "{page}");
    }
    assert!(page.contains("kick                    47.5            48     47.50 %"), "{page}");
    assert!(page.contains("1GbE      672.00 ns, this is 0.11 times as much"), "{page}");
    assert!(page.contains("frames a turn: 8-15: 100 %"), "{page}");
}

#[test]
fn folded_stacks_add_up_to_the_period_of_each_worker() {
    let stacks = folded::folded(&report());
    let mut sums: BTreeMap<&str, f64> = BTreeMap::new();
    for line in stacks.lines() {
        let (stack, ns) = line.rsplit_once(' ').unwrap();
        *sums.entry(stack.split(';').next().unwrap()).or_default() += float(ns.parse().unwrap());
    }
    assert_eq!(sums.keys().copied().collect::<Vec<_>>(), ["worker 0", "worker 3"]);
    // Each line is rounded.
    assert!((sums["worker 0"] - 100_000.0).abs() < 20.0 && (sums["worker 3"] - 50_000.0).abs() < 20.0, "{sums:?}");
    assert!(stacks.contains("worker 0;turn;engine;parse 7300\n"), "{stacks}");
    assert!(stacks.contains("worker 0;turn;kick 34675\n") && stacks.contains("worker 0;idle;poll 2000\n"), "{stacks}");
}

#[test]
fn the_page_has_the_jsons_figures_and_asks_nobody() {
    let report = report();
    let html = page::page(&report);
    let json: Value = serde_json::from_str(&crate::observe::json::line(&report)).unwrap();
    let mut compared = 0;
    for data in html.split("<data value=\"").skip(1) {
        let (exact, rest) = data.split_once("\" data-json=\"").unwrap();
        let (pointer, _) = rest.split_once('"').unwrap();
        let found = json.pointer(pointer).unwrap_or_else(|| panic!("{pointer} is not in the JSON"));
        assert_eq!(found.as_f64().unwrap().to_string(), exact, "{pointer}");
        compared += 1;
    }
    assert!(compared > 80, "{compared}");
    assert!(!html.contains("http:") && !html.contains("https:") && !html.contains("src="), "it is one file");
    for id in ["stages", "budgets", "period", "batches", "times", "queue-0", "queue-3"] {
        assert!(html.contains(&format!("<section id=\"{id}\"")), "{id}");
    }
}
