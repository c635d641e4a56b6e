//! A diagnosis for people.

use super::Diagnosis;
use crate::observe::text::grouped;
use std::fmt::Write as _;

/// The causes, likeliest first, each with its evidence and remedy; or that nothing is wrong.
pub fn page(diagnosis: &Diagnosis) -> String {
    let Diagnosis { interface, over_s, frames_seen, established, findings } = diagnosis;
    let mut page = format!(
        "handfast why: {interface}, the last {over_s:.1} s: {} frames arrived, {} connections were established\n",
        grouped(*frames_seen),
        grouped(*established)
    );
    if findings.is_empty() {
        let nothing = match frames_seen {
            0 => {
                "\nNothing is wrong here, but nothing arrived either: if somebody sends, it goes to another interface, address or VLAN.\n"
            }
            _ => "\nNothing is wrong: whatever arrived was answered, on time.\n",
        };
        page.push_str(nothing);
    }
    for (i, finding) in findings.iter().enumerate() {
        let _ = write!(page, "\n{}. {} ({}, {:.0} of 100)\n", i + 1, finding.what, finding.cause, finding.score);
        let _ = writeln!(page, "   seen in: {}", finding.evidence.join(", "));
        let _ = writeln!(page, "   do:      {}", finding.remedy);
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::why::Finding;

    #[test]
    fn causes_are_numbered_with_what_speaks_for_them_and_what_to_do() {
        let finding = Finding {
            cause: "flow_table_full".into(),
            score: 95.0,
            what: "The flow table is full.".into(),
            evidence: vec!["flow_table_full +12".into(), "4 of 4 flows".into()],
            remedy: "serve with --flows 8".into(),
        };
        let diagnosis = Diagnosis {
            interface: "eth0".into(),
            over_s: 10.04,
            frames_seen: 1_200,
            established: 4,
            findings: vec![finding],
        };
        let expected = "\
handfast why: eth0, the last 10.0 s: 1,200 frames arrived, 4 connections were established

1. The flow table is full. (flow_table_full, 95 of 100)
   seen in: flow_table_full +12, 4 of 4 flows
   do:      serve with --flows 8
";
        assert_eq!(page(&diagnosis), expected);
        let fine = Diagnosis { findings: Vec::new(), ..diagnosis };
        assert!(page(&fine).ends_with("Nothing is wrong: whatever arrived was answered, on time.\n"));
        assert!(page(&Diagnosis { frames_seen: 0, ..fine }).contains("nothing arrived either"));
    }
}
