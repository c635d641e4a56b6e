//! Reports for programs: one JSON object on one line.

use serde::Serialize;

/// `report` as one line of JSON without the line feed.
///
/// # Panics
///
/// If `report` cannot be JSON (a map whose keys are not text): our own bug, no report is like that.
pub fn line<T: Serialize>(report: &T) -> String {
    serde_json::to_string(report).expect("every report can be written as JSON")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::report::{EndedBy, Stats, Summary, tests::example};
    use serde_json::Value;

    fn keys(value: &Value) -> Vec<&str> {
        value.as_object().unwrap().keys().map(String::as_str).collect()
    }

    #[test]
    fn keys_keep_their_names_and_order() {
        let json: Value = serde_json::from_str(&line(&example())).unwrap();
        let top = [
            "version",
            "interface",
            "uptime_s",
            "mode",
            "listeners",
            "workers",
            "total",
            "interface_counters",
            "steering",
            "syn_xdp",
            "capture",
            "ledgers",
            "identities",
            "setting",
            "draining",
        ];
        assert_eq!(keys(&json), top);
        assert_eq!(keys(&json["mode"]), ["xdp", "bind"]);
        assert_eq!(keys(&json["ledgers"]), ["frames_unaccounted", "flows_unaccounted", "umem_frames_unaccounted"]);
        let figures = [
            "engine",
            "drops",
            "port",
            "ledger",
            "xdp_statistics",
            "capture",
            "states",
            "flows",
            "flows_capacity",
            "half_open",
            "half_open_limit",
            "timers",
            "turns",
            "sleeps",
            "emit_budget_exhausted",
            "busy_ns",
            "late_ns",
            "late_turns",
            "longest_gap_ns",
            "age_ns",
        ];
        assert_eq!(keys(&json["total"]), figures);
        assert_eq!(keys(&json["workers"][0])[..2], ["queue", "core"]);
        assert_eq!(keys(&json["workers"][0])[2..], figures);
        assert_eq!(keys(&json["total"]["engine"])[..3], ["received", "transmitted_in_place", "accepted"]);
        assert_eq!(keys(&json["total"]["ledger"]), ["total", "fill", "in_hand", "tx_pending", "tx", "free"]);
        assert_eq!(json["listeners"][0]["addr"], Value::Null);
        assert_eq!(
            keys(&json["listeners"][0]),
            ["addr", "port", "service", "connections", "opened", "half_open", "states"]
        );
        let identity = ["name", "queue", "left", "right", "difference", "tolerance"];
        assert_eq!(keys(&json["identities"][0]), identity);
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        let stats = example();
        assert_eq!(serde_json::from_str::<Stats>(&line(&stats)).unwrap(), stats);
        let summary = Summary { ended_by: EndedBy::Duration, stats };
        let text = line(&summary);
        assert!(text.starts_with("{\"ended_by\":\"duration\",\"version\":") && !text.contains('\n'));
        assert_eq!(serde_json::from_str::<Summary>(&text).unwrap(), summary);
    }
}
