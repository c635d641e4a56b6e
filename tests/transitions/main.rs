//! The transition table: every state x every class of segments, user calls and time-outs -> reply, next state, fate, and the
//! sentence of the RFC that decides. The reviewed page is tests/transitions/table.md; a difference fails the test.
//!
//! What is deliberately not here: sequences of more than one step (packet scripts), and what the engine adds to the pure
//! functions: tables, listeners, limits over all connections.

mod classes;
mod events;
mod rules;
mod starts;
mod table;
mod world;

use handfast::engine::active::OpenError;
use handfast::engine::listeners::{Endpoint, Listener, Listeners};
use handfast::engine::{Engine, EngineConfig, Secrets};
use handfast::service::{AnyService, Discard};
use handfast::tcp::syn_sent::ActiveOpen;
use handfast::time::Now;
use handfast::wire::ether::VlanTags;
use handfast::wire::parse::PartialChecksums;
use rules::Deviation;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn page() -> PathBuf {
    root().join("tests/transitions/table.md")
}

#[test]
fn every_cell_is_as_it_was_reviewed() {
    let now = table::render();
    if std::env::var_os("UPDATE_TRANSITIONS").is_some() {
        std::fs::write(page(), &now).expect("the page can be written");
        return;
    }
    let reviewed = std::fs::read_to_string(page()).unwrap_or_default();
    let difference = difference(&reviewed, &now);
    assert!(
        difference.is_empty(),
        "tests/transitions/table.md differs (-: as reviewed, +: now). If it is meant to: UPDATE_TRANSITIONS=1 cargo test --test transitions\n{difference}"
    );
}

/// Lines that only one of the texts has, each section of them under its heading.
fn difference(reviewed: &str, now: &str) -> String {
    let sections = |text: &str| -> Vec<(String, Vec<String>)> {
        let mut sections = vec![(String::new(), Vec::new())];
        for line in text.lines() {
            if line.starts_with('#') {
                sections.push((line.to_owned(), Vec::new()));
            }
            sections.last_mut().expect("never empty").1.push(line.to_owned());
        }
        sections
    };
    let (before, after) = (sections(reviewed), sections(now));
    let lines_of = |sections: &[(String, Vec<String>)], heading: &str| -> Vec<String> {
        sections.iter().filter(|(known, _)| known == heading).flat_map(|(_, lines)| lines.clone()).collect()
    };
    let mut headings: Vec<&String> = Vec::new();
    for (heading, _) in before.iter().chain(&after) {
        if !headings.contains(&heading) {
            headings.push(heading);
        }
    }
    let mut text = String::new();
    for heading in headings {
        let (old, new) = (lines_of(&before, heading), lines_of(&after, heading));
        let gone = old.iter().filter(|line| !new.contains(line)).map(|line| format!("- {line}\n"));
        let come = new.iter().filter(|line| !old.contains(line)).map(|line| format!("+ {line}\n"));
        let lines: String = gone.chain(come).collect();
        if !lines.is_empty() {
            text += &format!("{heading}\n{lines}");
        } else if old != new {
            text += &format!("{heading}\n  (the lines stand in another order)\n");
        }
    }
    text
}

#[test]
fn a_difference_is_shown_under_its_heading() {
    let reviewed = "# a\nx\n# b\ny\n";
    assert_eq!(difference(reviewed, reviewed), "");
    assert_eq!(difference(reviewed, "# a\nx\n# b\nz\n"), "# b\n- y\n+ z\n");
    assert_eq!(difference("", "# a\n"), "# a\n+ # a\n");
    assert_eq!(difference("# a\nx\ny\n", "# a\ny\nx\n"), "# a\n  (the lines stand in another order)\n");
}

/// OPEN where a connection exists is an error (RFC 9293 3.10.1), in whatever state that is: the flow table decides.
#[test]
fn an_open_of_a_four_tuple_that_has_a_connection_is_refused() {
    let config = EngineConfig {
        tcp: world::config(),
        flows: 2,
        burst: 1,
        mac: [2; 6],
        partial_checksums: PartialChecksums::Refuse,
        events: 0,
    };
    let secrets = Secrets { flow_hash: [1, 2], isn: [3; 16], timestamp_offset: 0 };
    let endpoint = Endpoint { addr: None, port: 80 };
    let listeners = Listeners::new(vec![Listener { endpoint, service: AnyService::Discard(Discard), open: true }]);
    let mut engine = Engine::new(config, &secrets, listeners, Now(0));
    let open = ActiveOpen { tuple: world::tuple(), peer_mac: world::PEER_MAC, tags: VlanTags::default(), service: 0 };
    let mut frame = [0; 128];
    assert!(engine.open(&open, Now(0), &mut frame).is_ok());
    assert_eq!(engine.open(&open, Now(0), &mut frame), Err(OpenError::InUse));
    assert_eq!((engine.flows(), engine.counters().active_opens), (1, 1));
}

/// Where docs/rfc.md is part of the tree, it has a row for each deviation.
#[test]
fn every_deviation_has_its_row_in_the_page_of_requirements() {
    let Ok(requirements) = std::fs::read_to_string(root().join("docs/rfc.md")) else { return };
    let missing: Vec<&str> = Deviation::ALL
        .iter()
        .map(|deviation| deviation.row())
        .filter(|row| !requirements.lines().any(|line| line.starts_with(&format!("| {row}"))))
        .collect();
    assert!(missing.is_empty(), "docs/rfc.md has no row that begins with:\n{}", missing.join("\n"));
}
