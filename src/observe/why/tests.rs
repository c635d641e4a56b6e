//! Every rule against reports in which only its cause shows, against reports in which nothing is wrong, and against one another.

use super::*;
use crate::observe::report::{Figures, Setting, Values, WorkerReport};
use std::collections::BTreeSet;

/// What grew: a group, a name, and by how much.
type Growth<'a> = &'a [(&'static str, &'static str, u64)];

/// A server of two queues that has served for a minute: 1,000 connections a second, evenly, without a loss.
fn healthy(seconds: u64) -> Stats {
    let frames = 6_000 * seconds;
    let values = |pairs: &[(&'static str, u64)]| pairs.iter().copied().collect::<Values>();
    let figures = Figures {
        engine: values(&[
            ("received", frames / 2),
            ("established", 500 * seconds),
            ("syns_received", 500 * seconds),
            ("closed", 500 * seconds),
        ]),
        port: values(&[("rx_frames", frames / 2), ("tx_frames", frames / 3), ("tx_kicks", frames / 20)]),
        flows: 100,
        flows_capacity: 1_000,
        busy_ns: 100_000_000 * seconds,
        turns: 10_000 * seconds,
        ..Figures::default()
    };
    let worker = |queue| WorkerReport { queue, core: Some(queue), figures: figures.clone() };
    let mut stats = Stats {
        interface: "eth0".into(),
        uptime_s: f64::from(u32::try_from(seconds).unwrap()),
        workers: vec![worker(0), worker(1)],
        interface_counters: values(&[("rx_packets", frames)]),
        steering: values(&[("seen", frames), ("redirected", frames)]),
        setting: Setting { rx_queues: 2, mtu: 1500, partial_checksums: true, veth: true, ..Setting::default() },
        ..Stats::default()
    };
    total_of(&mut stats);
    stats
}

/// Adds the workers up.
fn total_of(stats: &mut Stats) {
    stats.total = Figures::default();
    for worker in stats.workers.clone() {
        stats.total.add(&worker.figures);
    }
}

/// The first report, and one ten seconds later in which this grew besides, on the first queue.
fn pair(growth: Growth<'_>) -> (Stats, Stats) {
    let (before, mut after) = (healthy(60), healthy(70));
    for (group, name, count) in growth {
        let more: Values = [(*name, *count)].into_iter().collect();
        let figures = &mut after.workers[0].figures;
        match *group {
            "engine" => figures.engine.add(&more),
            "drops" => figures.drops.add(&more),
            "port" => figures.port.add(&more),
            "socket" => figures.xdp_statistics.add(&more),
            "steering" => after.steering.add(&more),
            "interface" => after.interface_counters.add(&more),
            "worker" => match *name {
                "late_ns" => figures.late_ns += count,
                "busy_ns" => figures.busy_ns += count,
                other => panic!("no figure {other}"),
            },
            other => panic!("no group {other}"),
        }
    }
    total_of(&mut after);
    (before, after)
}

fn causes(before: &Stats, after: &Stats) -> Vec<String> {
    diagnose(Some(before), after).findings.into_iter().map(|finding| finding.cause).collect()
}

/// What only grows where that cause is.
const SHOWN_BY: &[(&str, Growth<'static>)] = &[
    ("queue_without_socket", &[("steering", "pass_no_socket", 50)]),
    ("not_listened_to", &[("steering", "pass_not_an_endpoint", 50)]),
    ("wrong_mac_address", &[("steering", "pass_not_for_us", 50)]),
    ("too_many_vlan_tags", &[("steering", "pass_too_many_tags", 50)]),
    ("fragments", &[("steering", "drop_fragment", 50)]),
    ("source_denied", &[("steering", "drop_denied", 50)]),
    ("syn_rate", &[("steering", "drop_syn_rate", 50)]),
    ("syns_answered_by_steering", &[("steering", "tx_cookie", 50)]),
    ("malformed_frames", &[("steering", "drop_bad_tcp_header", 50), ("drops", "bad_address", 3)]),
    ("interface_errors", &[("interface", "rx_errors", 5)]),
    ("corrupted_segments", &[("drops", "bad_tcp_checksum", 50)]),
    ("frames_too_long", &[("socket", "rx_dropped", 50)]),
    (
        "fill_ring_starved",
        &[("socket", "rx_dropped", 50), ("socket", "rx_fill_ring_empty_descs", 9), ("worker", "late_ns", 1_000_000)],
    ),
    ("queue_imbalance", &[("port", "rx_frames", 200_000)]),
    ("worker_without_its_core", &[("worker", "late_ns", 300_000_000)]),
    ("worker_busy", &[("worker", "busy_ns", 8_900_000_000)]),
    ("sending_fails", &[("port", "tx_kicks_failed", 3)]),
    ("frames_short", &[("engine", "frame_shortage", 50), ("port", "no_free_frame", 50)]),
    ("flow_table_full", &[("drops", "flow_table_full", 50)]),
    ("half_open_limit", &[("drops", "half_open_full", 50)]),
    ("cookies_on", &[("engine", "cookies_sent", 50)]),
    ("reset_limit", &[("drops", "reset_limited", 50)]),
    ("challenge_limit", &[("drops", "challenge_limited", 50)]),
    ("unknown_connections", &[("engine", "resets_sent", 50)]),
    ("syn_acks_unanswered", &[("engine", "syn_ack_retransmissions", 50)]),
    ("path_loses", &[("engine", "data_retransmissions", 5_000)]),
    ("peers_vanish", &[("engine", "idle_timeouts", 5)]),
    ("peers_do_not_read", &[("engine", "window_probes", 50)]),
    ("peers_reset", &[("engine", "reset_by_peer", 50)]),
    ("old_segments", &[("engine", "paws_rejected", 50)]),
];

#[test]
fn each_cause_is_found_where_only_it_shows() {
    for (cause, growth) in SHOWN_BY {
        let (before, after) = pair(growth);
        assert_eq!(causes(&before, &after), [*cause], "{growth:?}");
    }
}

#[test]
fn of_a_server_that_is_well_nothing_is_said() {
    let (before, after) = pair(&[]);
    let diagnosis = diagnose(Some(&before), &after);
    assert_eq!(diagnosis.findings, []);
    assert_eq!((diagnosis.frames_seen, diagnosis.established, diagnosis.over_s), (60_000, 10_000, 10.0));
    assert_eq!(diagnose(None, &Stats::default()).findings, []);
    assert_eq!(causes(&after, &before), [""; 0], "the wrong order");
}

#[test]
fn causes_that_no_counter_shows_follow_from_gauges_and_clocks() {
    let changed = |change: fn(&mut Stats)| {
        let (mut before, mut after) = pair(&[("engine", "resets_sent", 10)]);
        before.setting.since_boot_s = 1_000.0;
        before.setting.time_of_day_s = 1e9;
        after.setting.since_boot_s = 1_010.0;
        after.setting.time_of_day_s = 1e9 + 10.0;
        change(&mut after);
        causes(&before, &after)
    };
    assert_eq!(changed(|_| {}), ["unknown_connections"]);
    assert_eq!(changed(|after| after.draining = true), ["draining"]);
    assert_eq!(changed(|after| after.setting.control_late_ns = 300_000_000)[0], "server_stopped");
    assert_eq!(changed(|after| after.setting.time_of_day_s -= 3_600.0), ["unknown_connections", "clock_stepped"]);
    let suspended = changed(|after| {
        after.setting.since_boot_s += 60.0;
        after.setting.time_of_day_s += 60.0;
    });
    assert_eq!(suspended, ["machine_suspended", "unknown_connections"]);
    let broken = changed(|after| {
        after.identities = vec![crate::observe::identity::Identity {
            name: "program_to_rings".into(),
            difference: -3,
            ..Default::default()
        }];
    });
    assert_eq!(broken, ["books_out_of_balance", "unknown_connections"]);
}

#[test]
fn the_same_counter_means_another_thing_where_partial_checksums_are_refused() {
    let (before, mut after) = pair(&[("drops", "bad_tcp_checksum", 50)]);
    after.setting.partial_checksums = false;
    assert_eq!(causes(&before, &after), ["partial_checksums_refused"]);
}

#[test]
fn what_hits_more_comes_first_and_a_stopped_server_is_not_blamed_on_its_cores() {
    let (before, mut after) = pair(&[
        ("worker", "late_ns", 400_000_000),
        ("steering", "pass_not_for_us", 5),
        ("drops", "flow_table_full", 4_000),
    ]);
    assert_eq!(causes(&before, &after), ["flow_table_full", "worker_without_its_core", "wrong_mac_address"]);
    after.setting.control_late_ns = 390_000_000;
    assert_eq!(causes(&before, &after), ["flow_table_full", "server_stopped", "wrong_mac_address"]);
}

#[test]
fn every_finding_says_what_by_which_numbers_and_what_to_do() {
    let mut found = BTreeSet::new();
    for (_, growth) in SHOWN_BY {
        let (before, after) = pair(growth);
        for finding in diagnose(Some(&before), &after).findings {
            assert!(finding.what.ends_with(['.']) && finding.what.len() > 20, "{finding:?}");
            assert!(
                !finding.evidence.is_empty() && finding.evidence.iter().all(|line| !line.is_empty()),
                "{finding:?}"
            );
            assert!(finding.remedy.len() > 20, "{finding:?}");
            assert!((0.0..=100.0).contains(&finding.score), "{finding:?}");
            found.insert(finding.cause);
        }
    }
    let names: BTreeSet<String> = RULES.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert!(found.is_subset(&names) && names.len() == RULES.len());
    let by_clock = [
        "books_out_of_balance",
        "server_stopped",
        "machine_suspended",
        "clock_stepped",
        "draining",
        "partial_checksums_refused",
    ];
    let missing: Vec<_> =
        names.iter().filter(|name| !found.contains(*name) && !by_clock.contains(&name.as_str())).collect();
    assert!(missing.is_empty(), "no case for {missing:?}");
}

#[test]
fn the_manual_explains_every_cause() {
    let manual = include_str!("../../../docs/operations.md");
    let missing: Vec<_> = RULES.iter().filter(|(name, _)| !manual.contains(&format!("| `{name}` |"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
