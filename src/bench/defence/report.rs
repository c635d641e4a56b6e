//! The result of `handfast bench flood`: field names are the JSON's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::bench::compare::machine::Machine;
use crate::bench::compare::wire::WireReport;
use crate::blast::report::float;

/// The name of the reflector among the peaks.
pub const REFLECTOR: &str = "XDP_TX reflector";

/// Everything.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DefenceReport {
    /// Version of this program.
    pub version: String,
    /// When it began, in UTC.
    pub date: String,
    /// The machine.
    pub machine: Machine,
    /// The wire.
    pub wire: WireReport,
    /// How often each contender had its turn: figures are those of the median run, ratios medians of each run's own.
    pub runs: u32,
    /// How long honest connections were started at each step, in seconds.
    pub duration_s: f64,
    /// Honest connections a second.
    pub honest_rate: u64,
    /// How long a handshake was waited for, in seconds.
    pub honest_timeout_s: f64,
    /// The contenders, in the order of their turns.
    pub contenders: Vec<DefenderReport>,
    /// SYNs answered at full flood, the fastest last; empty without a step `max`.
    pub peaks: Vec<Peak>,
    /// Who pays for what, and what else is to be known.
    pub notes: Vec<String>,
}

/// A contender.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DefenderReport {
    /// Its name.
    pub name: String,
    /// What it is.
    pub about: String,
    /// The kernel's settings for it.
    pub settings: Vec<String>,
    /// The commands that repeat it by hand.
    pub server_command: String,
    /// The honest connections of its last step.
    pub honest_command: String,
    /// The flood of its last step.
    pub flood_command: String,
    /// Every step, in the order of the command line.
    pub steps: Vec<StepReport>,
    /// What came behind.
    pub after: After,
}

/// A step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StepReport {
    /// The flood that was asked for: a rate, or `max`.
    pub flood: String,
    /// Frames of the flood, all of the step.
    pub flood_sent: u64,
    /// Those answered, each once.
    pub flood_answered: u64,
    /// Frames of the flood a second, while honest connections were started.
    pub flood_per_second: f64,
    /// Those answered a second.
    pub answered_per_second: f64,
    /// The same, the least and the most of all runs.
    pub answered_spread: [f64; 2],
    /// Honest connections completed, in percent, the least and the most of all runs.
    pub completed_percent_spread: [f64; 2],
    /// The honest connections.
    pub honest: Honest,
    /// How busy the server's core was, in percent of it.
    pub server_core_percent: f64,
    /// How busy the generators' core was, in percent of it.
    pub generator_core_percent: f64,
}

/// Honest connections: started = completed + failed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Honest {
    /// Their first SYN was sent.
    pub started: u64,
    /// They went to their end.
    pub completed: u64,
    /// They did not.
    pub failed: u64,
    /// The same, by reason.
    pub failed_by: BTreeMap<String, u64>,
    /// Completed of started, in percent.
    pub completed_percent: f64,
    /// SYNs that were sent again.
    pub syn_retransmissions: u64,
    /// From the intended start to the established connection, over retransmissions, in microseconds: median and 99th
    /// percentile of those that came to be established.
    pub handshake_us: [f64; 2],
}

/// What came behind the last step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct After {
    /// Seconds from the end of the flood to the start of the first second of ordinary service; `None` if none came.
    pub ordinary_after_s: Option<f64>,
    /// Half-open connections that the server kept when the flood ended.
    pub half_open_at_end: Option<u64>,
    /// Half-open connections behind the time-out.
    pub half_open_later: Option<u64>,
    /// When that was asked, in seconds from the end of the flood.
    pub half_open_later_s: f64,
    /// Memory of the server's process before the first step and after the last, in KiB (VmRSS). What the kernel keeps for its
    /// listener is not in it.
    pub rss_kib: [u64; 2],
}

/// SYNs answered at full flood.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Peak {
    /// The contender, or [`REFLECTOR`].
    pub name: String,
    /// SYNs of the flood a second.
    pub sent_per_second: f64,
    /// Those answered a second.
    pub answered_per_second: f64,
    /// Over the kernel's with cookies for every SYN.
    pub over_kernel_cookies: Option<f64>,
    /// Over the reflector's.
    pub over_reflector: Option<f64>,
    /// The same, the least and the most of all runs.
    pub over_reflector_spread: Option<[f64; 2]>,
}

/// Percent of `whole`; all of it if there is nothing.
pub(super) fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 100.0 } else { float(part) / float(whole) * 100.0 }
}

/// The peaks with their ratios, the fastest last.
pub(super) fn peaks(mut peaks: Vec<Peak>, kernel_cookies: &str) -> Vec<Peak> {
    let of = |peaks: &[Peak], name: &str| {
        let found = peaks.iter().find(|peak| peak.name == name);
        found.map(|peak| peak.answered_per_second).filter(|rate| *rate > 0.0)
    };
    let (kernel, reflector) = (of(&peaks, kernel_cookies), of(&peaks, REFLECTOR));
    for peak in &mut peaks {
        peak.over_kernel_cookies = kernel.map(|kernel| peak.answered_per_second / kernel);
        peak.over_reflector = reflector.map(|reflector| peak.answered_per_second / reflector);
    }
    peaks.sort_by(|a, b| a.answered_per_second.total_cmp(&b.answered_per_second));
    peaks
}

/// How busy the server's core is at most without a flood, in percent, if nobody else uses it.
const QUIET_CORE_PERCENT: f64 = 30.0;

/// What is to be known about the contenders' figures: where others had the server's core.
pub(super) fn remarks(contenders: &[DefenderReport]) -> Vec<String> {
    let is_disturbed = |contender: &&DefenderReport| {
        contender.steps.iter().any(|step| step.flood == "0" && step.server_core_percent > QUIET_CORE_PERCENT)
    };
    let disturbed: Vec<&str> = contenders.iter().filter(is_disturbed).map(|one| one.name.as_str()).collect();
    if disturbed.is_empty() {
        return Vec::new();
    }
    vec![format!(
        "Other programs had the server's core while there was no flood: {}. Their figures say little; measure again",
        disturbed.join(", ")
    )]
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn step(flood: &str, rate: f64, completed: u64, p99: f64) -> StepReport {
        StepReport {
            flood: flood.into(),
            flood_sent: 1_000,
            flood_answered: 900,
            flood_per_second: rate,
            answered_per_second: rate * 0.9,
            answered_spread: [rate * 0.8, rate],
            completed_percent_spread: [percent(completed, 1_000), 100.0],
            honest: Honest {
                started: 1_000,
                completed,
                failed: 1_000 - completed,
                failed_by: BTreeMap::new(),
                completed_percent: percent(completed, 1_000),
                syn_retransmissions: 3,
                handshake_us: [p99 / 3.0, p99],
            },
            server_core_percent: 40.0,
            generator_core_percent: 99.0,
        }
    }

    /// Two contenders with three steps each.
    pub fn example() -> DefenceReport {
        let contender = |name: &str, worst: u64| DefenderReport {
            name: name.into(),
            about: "what it is".into(),
            settings: vec!["net.ipv4.tcp_syncookies=2".into()],
            server_command: "handfast lab accept".into(),
            honest_command: "handfast blast".into(),
            flood_command: "handfast flood".into(),
            steps: vec![
                step("0", 0.0, 1_000, 80.0),
                step("10k", 10_000.0, 990, 1_003_000.0),
                step("max", 400_000.0, worst, 3_004_000.0),
            ],
            after: After {
                ordinary_after_s: Some(0.4),
                half_open_at_end: Some(65_536),
                half_open_later: Some(0),
                half_open_later_s: 9.0,
                rss_kib: [10_000, 10_040],
            },
        };
        let peak = |name: &str, rate| Peak {
            name: name.into(),
            sent_per_second: 5e5,
            answered_per_second: rate,
            ..Peak::default()
        };
        DefenceReport {
            version: "0.1.0".into(),
            date: "2026-01-01T00:00:00Z".into(),
            runs: 3,
            duration_s: 1.0,
            honest_rate: 1_000,
            honest_timeout_s: 4.0,
            contenders: vec![contender("kernel cookies", 400), contender("handfast tables", 0)],
            peaks: super::super::runs::peaks(&[peaks(
                vec![peak(REFLECTOR, 4e5), peak("kernel cookies", 1e5), peak("handfast tables", 2e4)],
                "kernel cookies",
            )]),
            notes: vec!["something to know".into()],
            ..DefenceReport::default()
        }
    }

    #[test]
    fn peaks_have_their_ratios_and_the_fastest_is_last() {
        let peaks = example().peaks;
        let names: Vec<_> = peaks.iter().map(|peak| peak.name.as_str()).collect();
        assert_eq!(names, ["handfast tables", "kernel cookies", REFLECTOR]);
        assert_eq!((peaks[0].over_kernel_cookies, peaks[2].over_kernel_cookies), (Some(0.2), Some(4.0)));
        assert_eq!((peaks[0].over_reflector, peaks[2].over_reflector), (Some(0.05), Some(1.0)));
        assert_eq!(super::peaks(vec![Peak::default()], "kernel cookies")[0].over_kernel_cookies, None);
    }

    #[test]
    fn a_core_that_is_busy_without_a_flood_is_remarked() {
        let mut contenders = example().contenders;
        contenders.iter_mut().for_each(|one| one.steps[0].server_core_percent = 3.0);
        assert_eq!(remarks(&contenders), [""; 0]);
        contenders[1].steps[0].server_core_percent = 99.0;
        assert!(remarks(&contenders)[0].contains("no flood: handfast tables."), "{:?}", remarks(&contenders));
    }

    #[test]
    fn of_nothing_everything_is_completed() {
        assert!((percent(0, 0) - 100.0).abs() < 1e-9 && (percent(1, 4) - 25.0).abs() < 1e-9);
    }

    #[test]
    fn the_result_reads_back_from_its_json() {
        let text = serde_json::to_string(&example()).unwrap();
        assert_eq!(serde_json::from_str::<DefenceReport>(&text).unwrap(), example());
    }
}
