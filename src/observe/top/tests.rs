//! The view's state and its picture, in sizes from one cell to a wall.

use super::draw::draw;
use super::*;
use crate::observe::report::FlowRow;
use crate::observe::report::tests::example;
use ratatui::Terminal;
use ratatui::backend::TestBackend;

/// A report that many seconds after the example, in which that many more connections were opened.
fn later(seconds: f64, connections: u64) -> Stats {
    let mut stats = example();
    stats.uptime_s += seconds;
    let more: Values = [("established", connections), ("passive_opens", connections)].into_iter().collect();
    let frames: Values = [("rx_frames", connections * 4), ("tx_frames", connections * 2)].into_iter().collect();
    let drops: Values = [("bad_tcp_checksum", connections / 10)].into_iter().collect();
    stats.total.engine.add(&more);
    stats.total.port.add(&frames);
    stats.total.drops.add(&drops);
    for worker in &mut stats.workers {
        worker.figures.busy_ns += 500_000_000;
        worker.figures.port.add(&frames);
    }
    stats
}

/// A view that has seen a second.
fn seen() -> Top {
    let mut top = Top::of("hf-server");
    top.take(example());
    top.take(later(1.0, 1_000));
    top
}

/// The picture as lines of text.
fn picture(top: &Top, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(top, frame)).unwrap();
    let buffer = terminal.backend().buffer().clone();
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    (0..height).map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn rates_are_what_grew_by_the_time_between_two_reports() {
    let mut top = seen();
    let rates = top.rates();
    assert_eq!((rates.established, rates.rx_frames, rates.tx_frames, rates.lost), (1_000.0, 4_000.0, 2_000.0, 100.0));
    top.take(later(3.0, 2_000));
    assert_eq!((top.rates().established, top.samples.len()), (500.0, 2));
    top.take(example());
    assert_eq!((top.rates(), top.samples.len()), (Rates::default(), 0), "another server");
    for second in 0..300 {
        top.take(later(f64::from(second) + 1.0, 10));
    }
    assert_eq!(top.samples.len(), SAMPLES);
}

#[test]
fn keys_change_the_view_and_end_it() {
    let mut top = seen();
    let tabs: Vec<Tab> = (0..6)
        .map(|_| {
            assert_eq!(top.press(Key::Next), Then::Stay);
            top.tab
        })
        .collect();
    assert_eq!(tabs, [Tab::Queues, Tab::Drops, Tab::Listeners, Tab::Talkers, Tab::Overview, Tab::Queues]);
    top.press(Key::Previous);
    top.press(Key::Previous);
    assert_eq!(top.tab, Tab::Talkers);
    top.press(Key::Char('3'));
    top.press(Key::Char('9'));
    assert_eq!(top.tab, Tab::Drops);
    top.press(Key::Char('p'));
    top.take(later(9.0, 9_000));
    assert_eq!((top.samples.len(), top.paused), (1, true), "a paused view takes nothing");
    top.press(Key::Char('?'));
    assert!(top.help);
    assert_eq!((top.press(Key::Escape), top.help), (Then::Stay, false), "Escape ends the help first");
    assert_eq!(top.press(Key::Escape), Then::Quit);
    assert_eq!(top.press(Key::Char('q')), Then::Quit);
}

#[test]
fn the_overview_shows_rates_states_and_keys_at_80_by_24() {
    let picture = picture(&seen(), 80, 24);
    for part in [
        "handfast top hf-server (native, copy) up 84.5 s",
        "Overview | Queues | Drops | Listeners | Talkers",
        "connections/s 1k  opened/s 1k  flows 4/200  half-open 2/20",
        "packets/s in 4k  out 2k  lost/s 100  busy 50 %",
        "connections/s, most 1k in 1 s",
        "█",
        "SYN-RECEIVED 2  ESTABLISHED 2",
        " q quit  p pause  tab view  1-5 views  ? help",
    ] {
        assert!(picture.contains(part), "no {part:?} in\n{picture}");
    }
    assert!(picture.lines().all(|line| line.chars().count() <= 80));
}

#[test]
fn each_view_shows_its_own() {
    let mut top = seen();
    let flow = |remote: &str| FlowRow { remote: remote.into(), queued: 5, ..FlowRow::default() };
    let flows = vec![flow("10.0.0.9:1"), flow("[2001:db8::7]:2"), flow("10.0.0.9:3")];
    top.take_flows(Flows { matching: 1_200, flows });
    for (tab, parts) in [
        (Tab::Queues, &["queue core busy", "0     0    50 %", "1     1    50 %", "2/100", "4k"][..]),
        (Tab::Drops, &["bad_tcp_checksum", "100", "102", "redirected"][..]),
        (Tab::Listeners, &["80", "http", "[::1]:7000", "discard"][..]),
        (Tab::Talkers, &["of 1,200 connections, 3 were looked at", "10.0.0.9", "[2001:db8::7]", "10"][..]),
    ] {
        top.tab = tab;
        let picture = picture(&top, 80, 24);
        for part in parts {
            assert!(picture.contains(part), "{tab:?}: no {part:?} in\n{picture}");
        }
    }
    let talkers = picture(&top, 80, 24);
    assert!(talkers.find("10.0.0.9").unwrap() < talkers.find("[2001").unwrap(), "the most connections first");
}

#[test]
fn what_is_not_as_usual_is_said_on_the_first_line() {
    let mut top = Top::of("eth7");
    assert!(picture(&top, 80, 24).starts_with("handfast top eth7\n"));
    assert!(picture(&top, 80, 24).contains("waiting for the first report"));
    top = seen();
    top.press(Key::Char('p'));
    assert!(picture(&top, 80, 24).lines().next().unwrap().ends_with("PAUSED"));
    top.lose("no server answers at /run/handfast/eth7.sock");
    assert!(picture(&top, 80, 24).starts_with("NO ANSWER, trying again: no server answers at /run"));
    top.take(later(2.0, 1));
    assert!(!picture(&top, 80, 24).contains("NO ANSWER"));
    top.press(Key::Char('?'));
    assert!(picture(&top, 80, 24).contains("Esc, Ctrl-C   end"));
}

#[test]
fn no_size_makes_it_panic() {
    let mut top = seen();
    for (help, trouble) in [(false, None), (true, Some("gone".to_owned()))] {
        (top.help, top.trouble) = (help, trouble);
        for tab in Tab::ALL {
            top.tab = tab;
            for (width, height) in [(1, 1), (5, 3), (19, 5), (20, 6), (21, 7), (40, 10), (79, 23), (80, 24), (300, 90)]
            {
                picture(&top, width, height);
            }
        }
    }
    assert!(picture(&top, 19, 5).starts_with("handfast top: too"));
    picture(&Top::of(""), 30, 8);
}
