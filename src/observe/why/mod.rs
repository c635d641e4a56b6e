//! `handfast why`: what two reports of a server, some seconds apart, say about why connections fail or are slow.
//!
//! Each rule is a pure function from a [`Window`] to a finding, if it has one: a cause in plain words, the numbers that speak for it,
//! and what to do. Rules know nothing of one another; their scores put the likeliest cause first. They lie by where a cause
//! shows: [`way_in`] (interface, steering, rings), [`worker`] (time, tables, sending), [`peers`] (what the other ends do).
//!
//! What is not here: where reports come from, and changing anything. That a machine could be set up better, before there is
//! harm, is doctor's.

pub mod page;
pub mod peers;
pub mod way_in;
pub mod window;
pub mod worker;

pub use window::Window;

use super::report::Stats;
use serde::{Deserialize, Serialize};

/// One cause.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Its name; never changes.
    pub cause: String,
    /// How likely it is what hurts, and how much: from 0 to 100.
    pub score: f64,
    /// What is wrong, in a sentence.
    pub what: String,
    /// The numbers that speak for it.
    pub evidence: Vec<String>,
    /// What to do, a command where there is one.
    pub remedy: String,
}

/// What was found out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// The interface served.
    pub interface: String,
    /// How many seconds were looked at.
    pub over_s: f64,
    /// Frames that the steering program saw in that time.
    pub frames_seen: u64,
    /// Connections that reached ESTABLISHED in that time.
    pub established: u64,
    /// The causes, likeliest first; none if nothing is wrong.
    pub findings: Vec<Finding>,
}

/// A rule.
pub type Rule = fn(&Window<'_>) -> Option<Finding>;

/// Every rule, under the name of the cause that it finds.
pub const RULES: &[(&str, Rule)] = &[
    ("queue_without_socket", way_in::queue_without_socket),
    ("not_listened_to", way_in::not_listened_to),
    ("wrong_mac_address", way_in::wrong_mac_address),
    ("too_many_vlan_tags", way_in::too_many_vlan_tags),
    ("fragments", way_in::fragments),
    ("source_denied", way_in::source_denied),
    ("syn_rate", way_in::syn_rate),
    ("syns_answered_by_steering", way_in::syns_answered_by_steering),
    ("malformed_frames", way_in::malformed_frames),
    ("interface_errors", way_in::interface_errors),
    ("partial_checksums_refused", way_in::partial_checksums_refused),
    ("corrupted_segments", way_in::corrupted_segments),
    ("frames_too_long", way_in::frames_too_long),
    ("fill_ring_starved", way_in::fill_ring_starved),
    ("queue_imbalance", way_in::queue_imbalance),
    ("books_out_of_balance", way_in::books_out_of_balance),
    ("worker_without_its_core", worker::worker_without_its_core),
    ("server_stopped", worker::server_stopped),
    ("machine_suspended", worker::machine_suspended),
    ("clock_stepped", worker::clock_stepped),
    ("worker_busy", worker::worker_busy),
    ("sending_fails", worker::sending_fails),
    ("frames_short", worker::frames_short),
    ("flow_table_full", worker::flow_table_full),
    ("half_open_limit", worker::half_open_limit),
    ("cookies_on", worker::cookies_on),
    ("reset_limit", worker::reset_limit),
    ("challenge_limit", worker::challenge_limit),
    ("draining", worker::draining),
    ("unknown_connections", peers::unknown_connections),
    ("syn_acks_unanswered", peers::syn_acks_unanswered),
    ("path_loses", peers::path_loses),
    ("peers_vanish", peers::peers_vanish),
    ("peers_do_not_read", peers::peers_do_not_read),
    ("peers_reset", peers::peers_reset),
    ("old_segments", peers::old_segments),
];

/// What the time between two reports shows; without an earlier one, since the start.
pub fn diagnose(before: Option<&Stats>, after: &Stats) -> Diagnosis {
    let start = Stats::default();
    let window = Window::new(before.unwrap_or(&start), after);
    let mut findings: Vec<Finding> = RULES.iter().filter_map(|(_, rule)| rule(&window)).collect();
    // Stable: of equal scores the rule that stands first counts first.
    findings.sort_by(|a, b| b.score.total_cmp(&a.score));
    Diagnosis {
        interface: after.interface.clone(),
        over_s: window.seconds(),
        frames_seen: window.steering("seen"),
        established: window.engine("established"),
        findings,
    }
}

#[cfg(test)]
mod tests;
