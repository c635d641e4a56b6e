//! What a worker's capture has, against what the worker counted: every frame once, with the verdict that was counted for it, and the frames of
//! every connection that failed. Over memory, on a virtual clock; files and tshark are in tests/serve.

#[path = "common/peers.rs"]
mod peers;

use handfast::stats::counters::Counters;
use handfast::stats::ledger::{flows_unaccounted, frames_unaccounted};
use handfast::tcp::effects::End;
use handfast::verdict::{DropReason, Verdict};
use handfast::worker::capture::filter::{Filter, Term, What};
use handfast::worker::capture::queue::{Consumer, pair};
use handfast::worker::capture::{Book, CaptureCounters, Glance, Note, Recorder, RecorderConfig, Way};
use peers::{Cable, Conduct, Random, Setup, hasty};
use std::collections::HashMap;

const MILLI: u64 = 1_000_000;

/// Connections of every kind with noise in between, more of them than there is room for, under a recorder with this filter that remembers so
/// many frames. Returns what it handed over, and what was counted.
fn captured(filter: Option<Filter>, remember: usize) -> (Vec<(Note, Vec<u8>)>, Counters, CaptureCounters) {
    let (producer, mut consumer) = pair(4_096, 64);
    let config = RecorderConfig { filter, remember, frame_bytes: 64, key: [1, 2], queue: producer };
    let mut cable = Cable::tapped(&Setup { flows: 100, tcp: hasty(), ..Setup::default() }, Recorder::new(config));
    let mut random = Random::new(1);
    let mut found = Vec::new();
    for round in 0_usize..10_000 {
        if round < 2_000 && round.is_multiple_of(4) {
            cable.open(Conduct::ALL[round / 4 % Conduct::ALL.len()]);
        }
        if round < 2_000 && round.is_multiple_of(3) {
            cable.send_noise(&mut random);
        }
        cable.turn(MILLI);
        take(&mut consumer, &mut found);
    }
    cable.mailbox.stop();
    cable.worker.run();
    take(&mut consumer, &mut found);
    let report = cable.mailbox.report().expect("published at its end");
    assert_eq!(report.flows, 0, "every connection has come to its end");
    assert_eq!((frames_unaccounted(&report.counters), flows_unaccounted(&report.counters, 0)), (0, 0));
    assert_eq!(report.capture.missed, 0);
    (found, report.counters, report.capture)
}

fn take(consumer: &mut Consumer, found: &mut Vec<(Note, Vec<u8>)>) {
    let mut bytes = Vec::new();
    while let Some(note) = consumer.pop(&mut bytes) {
        found.push((note, bytes.clone()));
    }
}

#[test]
fn every_frame_is_there_with_the_verdict_that_was_counted() {
    let (found, counters, capture) = captured(Some(Filter::default()), 0);
    assert_eq!(capture.captured, found.len() as u64);
    let (received, sent): (Vec<&Note>, Vec<&Note>) =
        found.iter().map(|(note, _)| note).partition(|note| note.way == Way::In);
    let judged = |verdict: fn(&Verdict) -> bool| {
        received.iter().filter(|note| note.verdict.as_ref().is_some_and(verdict)).count() as u64
    };
    assert_eq!(received.len() as u64, counters.received);
    assert_eq!(judged(|verdict| matches!(verdict, Verdict::Transmit { .. })), counters.transmitted_in_place);
    assert_eq!(judged(|verdict| *verdict == Verdict::Accept), counters.accepted);
    for (reason, count) in counters.drops() {
        let noted = received.iter().filter(|note| note.verdict == Some(Verdict::Drop(reason))).count() as u64;
        assert_eq!(noted, count, "{}", reason.name());
    }
    assert_eq!(sent.len() as u64, counters.transmitted_in_place + counters.emitted);
    assert!(sent.iter().all(|note| note.verdict.is_none()));
    assert!(counters.dropped[DropReason::BadTcpChecksum.index()] > 0 && counters.emitted > 0, "{counters:?}");
    assert!(found.iter().all(|(note, bytes)| bytes.len() == (note.len as usize).min(64)));
    assert!(found.is_sorted_by_key(|(note, _)| note.nanos));
}

#[test]
fn a_filter_by_verdict_sees_the_verdict_of_each_frame() {
    let dropped = Filter::new([vec![Term { what: What::Dropped(None), not: false }]]);
    let (found, counters, _) = captured(Some(dropped), 0);
    assert_eq!(found.len() as u64, counters.dropped_total());
    assert!(found.iter().all(|(note, _)| matches!(note.verdict, Some(Verdict::Drop(_)))));
}

#[test]
fn the_frames_of_every_failed_connection_are_there_up_to_its_end() {
    let (found, counters, capture) = captured(None, 1 << 16);
    assert!(found.iter().all(|(note, _)| note.book == Book::Failed));
    let mut ends: HashMap<&str, u64> = HashMap::new();
    // The frames of one connection come one after another, and the last of them says how it failed.
    for frames in found.split_inclusive(|(note, _)| note.end.is_some()) {
        let (last, _) = frames.last().expect("a piece has an end");
        let end = last.end.expect("no frames are left behind the last end");
        assert!(end.is_failure());
        *ends.entry(end.name()).or_default() += 1;
        let tuples: Vec<_> =
            frames.iter().map(|(note, bytes)| Glance::at(bytes, note.way).expect("a segment").tuple).collect();
        assert!(tuples.iter().all(|tuple| *tuple == tuples[0]), "frames of several connections: {tuples:?}");
        if end == End::ResetByPeer {
            let (note, bytes) = frames.last().expect("a piece has an end");
            let segment = Glance::at(bytes, note.way).expect("a segment");
            assert_eq!((note.way, format!("{:?}", segment.control).contains("RST")), (Way::In, true));
        }
    }
    let counted = [
        ("reset_by_peer", counters.reset_by_peer),
        ("half_open_timeout", counters.half_open_timeouts),
        ("half_open_reset", counters.half_open_resets),
        ("half_open_evicted", counters.half_open_evicted),
        ("retransmission_timeout", counters.retransmission_timeouts),
        ("idle_timeout", counters.idle_timeouts),
        ("fin_wait_2_timeout", counters.fin_wait_2_timeouts),
        ("aborted", counters.aborted),
    ];
    let counted: HashMap<&str, u64> = counted.into_iter().filter(|(_, count)| *count > 0).collect();
    assert_eq!(ends, counted);
    assert!(ends.len() >= 5, "{ends:?}");
    assert_eq!((capture.failures_captured, capture.failures_forgotten), (ends.values().sum(), 0));
    assert_eq!(capture.captured_of_failed, found.len() as u64);
}

#[test]
fn a_connection_whose_frames_were_overwritten_is_counted_as_forgotten() {
    let (_, _, capture) = captured(None, 8);
    assert!(capture.failures_forgotten > 0 && capture.failures_captured > 0, "{capture:?}");
}
