//! What a run shows in the end, for people (its text form) and programs (its JSON form). Field names and their order are the
//! JSON's, and stay.

use super::tally::{Phase, Reason, Tally};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

/// The result of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BlastReport {
    /// The program's version.
    pub version: String,
    /// Where connections were opened to.
    pub target: SocketAddr,
    /// From which interface.
    pub interface: String,
    /// `afxdp` or `xdp`.
    pub engine: String,
    /// What was asked for.
    pub plan: PlanReport,
    /// What became of the connections: attempted = completed + sum of failed.
    pub connections: Connections,
    /// Connections that completed, divided by [`BlastReport::duration_s`].
    pub connections_per_second: f64,
    /// Frames, divided by [`BlastReport::duration_s`].
    pub packets_per_second: Packets,
    /// Latencies by phase.
    pub latency_us: Latencies,
    /// How long connections were started, or to the end of the last one where starts wait for ends. In seconds.
    pub duration_s: f64,
    /// How the generator itself did.
    pub generator: GeneratorReport,
    /// One sample a second, and one at the end.
    pub series: Vec<Sample>,
    /// The highest rate without loss, if it was searched for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub search: Option<SearchReport>,
}

/// What was asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PlanReport {
    /// Connections a second; `null` without a schedule.
    pub rate: Option<u64>,
    /// Connections at once; `null` without a limit.
    pub concurrency: Option<u64>,
    /// Connections in all; `null` without a limit.
    pub connections: Option<u64>,
    /// How long connections are started, in seconds.
    pub duration_s: f64,
    /// How long the rate or the concurrency rises, in seconds.
    pub ramp_s: f64,
    /// How long each is held, in seconds; `null` for as long as the other limits have it.
    pub hold_s: Option<f64>,
    /// Who closes: `client`, `server` or `reset`.
    pub close: String,
    /// Bytes of the request; 0 without one.
    pub request_bytes: u64,
    /// Source addresses as a prefix.
    pub source: String,
    /// Source ports, first and last.
    pub ports: [u16; 2],
}

/// What became of the connections.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Connections {
    /// Their SYN was sent.
    pub attempted: u64,
    /// Their handshake was completed.
    pub established: u64,
    /// They went to their end as planned.
    pub completed: u64,
    /// They did not, by reason; reasons that never applied are left out.
    pub failed: BTreeMap<String, u64>,
}

/// Frames in each direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Packets {
    /// Received, a second.
    pub rx: f64,
    /// Sent, a second.
    pub tx: f64,
}

/// Latencies by phase; see [`Phase`] for where each begins and ends.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latencies {
    /// From the intended start to ESTABLISHED.
    pub handshake: Latency,
    /// From ESTABLISHED to the first byte of the answer; only with a request.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub first_byte: Option<Latency>,
    /// From the first FIN until both are acknowledged.
    pub teardown: Latency,
    /// From the intended start to the end, without the time of a hold.
    pub total: Latency,
}

/// One phase, in microseconds; all 0 if nothing was measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// How many were measured.
    pub count: u64,
    /// The median.
    pub p50: f64,
    /// 90 of 100 were at most this long.
    pub p90: f64,
    /// 99 of 100.
    pub p99: f64,
    /// 999 of 1,000.
    pub p999: f64,
    /// The longest.
    pub max: f64,
    /// The whole distribution: shares of the connections, each with the time that they took at most.
    pub percentiles: Vec<(f64, f64)>,
}

/// How the generator itself did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GeneratorReport {
    /// Workers, one a queue.
    pub workers: u64,
    /// `native, copy` and the like.
    pub mode: String,
    /// Share of the time in which a worker had something to do, in percent; the highest of all workers.
    pub busy_percent: f64,
    /// Starts more than a millisecond behind the schedule.
    pub late: u64,
    /// The most that a start was behind the schedule, in microseconds.
    pub most_late_us: f64,
    /// Connections in progress at once, at most.
    pub most_in_progress: u64,
    /// Limits that were reached, by name, and how often.
    pub limits: BTreeMap<String, u64>,
    /// What held the run back if it was not the target, in words; `null` if nothing did.
    pub bottleneck: Option<String>,
}

/// The run at one moment. Counts are since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Seconds since the start.
    pub t_s: f64,
    /// Connections attempted so far.
    pub attempted: u64,
    /// Connections established so far.
    pub established: u64,
    /// Connections completed so far.
    pub completed: u64,
    /// Connections failed so far.
    pub failed: u64,
    /// Connections established and not closing now.
    pub open: u64,
}

/// What a search for the highest rate without loss found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SearchReport {
    /// The highest rate at which nothing failed, connections a second; 0 if there was none.
    pub rate: f64,
    /// Each rate that was tried.
    pub steps: Vec<SearchStep>,
}

/// One rate that was tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SearchStep {
    /// The rate asked for, connections a second.
    pub rate: f64,
    /// Connections attempted a second.
    pub offered: f64,
    /// Connections completed a second.
    pub completed: f64,
    /// Connections that failed.
    pub failed: u64,
    /// True if nothing failed and the rate was held.
    pub passed: bool,
}

/// Nanoseconds as microseconds.
#[expect(clippy::cast_precision_loss, reason = "a latency is shorter than 104 days")]
pub fn micros(ns: u64) -> f64 {
    ns as f64 / 1e3
}

/// A count as a float.
#[expect(clippy::cast_precision_loss, reason = "2^53 connections take thousands of years")]
pub fn float(count: u64) -> f64 {
    count as f64
}

impl Latency {
    /// A histogram of nanoseconds.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let at = |share| micros(histogram.value_at_quantile(share));
        // Four steps in each halving of what is left: the scale on which a tail is looked at.
        let percentiles = histogram.iter_quantiles(4).map(|step| {
            let share = step.quantile_iterated_to();
            (share, at(share))
        });
        Self {
            count: histogram.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: micros(histogram.max()),
            percentiles: percentiles.collect(),
        }
    }
}

impl Latencies {
    /// The latencies of a tally; those of a first byte only if there was one.
    pub fn of(tally: &Tally) -> Self {
        let of = |phase: Phase| Latency::of(&tally.latency[phase.index()]);
        let first_byte = of(Phase::FirstByte);
        Self {
            handshake: of(Phase::Handshake),
            first_byte: (first_byte.count > 0).then_some(first_byte),
            teardown: of(Phase::Teardown),
            total: of(Phase::Total),
        }
    }
}

impl Connections {
    /// The connections of a tally.
    pub fn of(tally: &Tally) -> Self {
        let failed = Reason::ALL.iter().map(|reason| (reason.name().to_owned(), tally.failed[reason.index()]));
        Self {
            attempted: tally.attempted,
            established: tally.established,
            completed: tally.completed,
            failed: failed.filter(|(_, count)| *count > 0).collect(),
        }
    }

    /// All failures.
    pub fn failed_total(&self) -> u64 {
        self.failed.values().sum()
    }
}

/// What may be done about a failure.
pub fn hint(reason: &str) -> &'static str {
    match reason {
        "refused" => "nothing listens there, or its backlog is full",
        "reset" => "the target gave the connection up",
        "handshake_timeout" => {
            "no SYN-ACK came: is the target up, does it have a route and a MAC address for the sources?"
        }
        "timeout" => "the target fell silent; with --close server it has to close",
        "wrong_answer" => "no whole HTTP answer with status 2xx and a Content-Length",
        "closed_early" => "the target closed a connection that was to be held",
        "lost" => "no answer came, and the stateless engine repeats nothing",
        "unfinished" => "the run ended first; a longer --timeout waits for them",
        _ => "",
    }
}

impl fmt::Display for BlastReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Connections { attempted, established, completed, failed } = &self.connections;
        writeln!(f, "target       {} from {} by {}", self.target, self.interface, self.engine)?;
        writeln!(
            f,
            "connections  {attempted} attempted, {established} established, {completed} completed, {} failed",
            self.connections.failed_total()
        )?;
        for (reason, count) in failed {
            writeln!(f, "  failed     {count} {reason} ({})", hint(reason))?;
        }
        writeln!(f, "rate         {:.0} connections/s over {:.2} s", self.connections_per_second, self.duration_s)?;
        let Packets { rx, tx } = self.packets_per_second;
        writeln!(f, "frames       {rx:.0}/s received, {tx:.0}/s sent")?;
        writeln!(f, "latency us        p50       p90       p99     p99.9       max")?;
        let phases = [
            ("handshake", Some(&self.latency_us.handshake)),
            ("first byte", self.latency_us.first_byte.as_ref()),
            ("teardown", Some(&self.latency_us.teardown)),
            ("total", Some(&self.latency_us.total)),
        ];
        for (name, latency) in phases {
            let Some(Latency { p50, p90, p99, p999, max, .. }) = latency.filter(|latency| latency.count > 0) else {
                continue;
            };
            writeln!(f, "  {name:<10} {p50:>9.1} {p90:>9.1} {p99:>9.1} {p999:>9.1} {max:>9.1}")?;
        }
        if let Some(search) = &self.search {
            writeln!(
                f,
                "search       {:.0} connections/s without loss, after {} rates",
                search.rate,
                search.steps.len()
            )?;
        }
        let generator = &self.generator;
        writeln!(
            f,
            "generator    {} worker(s), {}, {:.0} % busy, at most {} in progress, {} starts late (at most {:.0} us)",
            generator.workers,
            generator.mode,
            generator.busy_percent,
            generator.most_in_progress,
            generator.late,
            generator.most_late_us
        )?;
        for (limit, count) in &generator.limits {
            writeln!(f, "  limit      {limit} reached {count} times")?;
        }
        if let Some(bottleneck) = &generator.bottleneck {
            writeln!(f, "bottleneck   {bottleneck}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A report with something in every field.
    pub(crate) fn example() -> BlastReport {
        let mut tally = Tally { attempted: 1_003, established: 1_001, completed: 1_000, ..Tally::default() };
        tally.failed[Reason::Refused.index()] = 2;
        tally.failed[Reason::Reset.index()] = 1;
        for i in 1..=1_000 {
            tally.measured(Phase::Handshake, i * 100);
            tally.measured(Phase::Teardown, i * 200);
            tally.measured(Phase::Total, i * 400);
        }
        let sample = |second: u64, open| Sample {
            t_s: float(second),
            attempted: second * 500,
            established: second * 500,
            completed: second * 499,
            failed: second,
            open,
        };
        BlastReport {
            version: "0.1.0".into(),
            target: "198.18.0.1:80".parse().unwrap(),
            interface: "hf-client".into(),
            engine: "afxdp".into(),
            plan: PlanReport {
                rate: Some(500),
                duration_s: 2.0,
                hold_s: Some(0.0),
                close: "client".into(),
                source: "198.18.1.0/24".into(),
                ports: [1_024, 65_535],
                ..PlanReport::default()
            },
            connections: Connections::of(&tally),
            connections_per_second: 500.0,
            packets_per_second: Packets { rx: 1_000.0, tx: 1_500.0 },
            latency_us: Latencies::of(&tally),
            duration_s: 2.0,
            generator: GeneratorReport {
                workers: 1,
                mode: "native, copy".into(),
                busy_percent: 12.5,
                late: 1,
                most_late_us: 1_200.0,
                most_in_progress: 9,
                limits: [("no_frame".to_owned(), 3)].into(),
                bottleneck: Some("the generator: its core was busy".into()),
            },
            series: vec![sample(1, 3), sample(2, 0)],
            search: None,
        }
    }

    #[test]
    fn the_json_has_the_contracts_fields_and_reads_back_the_same() {
        let report = example();
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<BlastReport>(&text).unwrap(), report);
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        for pointer in [
            "/connections/attempted",
            "/connections/established",
            "/connections/completed",
            "/connections/failed/refused",
            "/connections_per_second",
            "/packets_per_second/rx",
            "/packets_per_second/tx",
            "/latency_us/handshake/p50",
            "/latency_us/teardown/p90",
            "/latency_us/total/p99",
            "/latency_us/total/p999",
            "/latency_us/total/max",
            "/duration_s",
        ] {
            assert!(json.pointer(pointer).is_some(), "{pointer}");
        }
        assert_eq!(json.pointer("/connections/failed/timeout"), None, "reasons that never applied are left out");
    }

    #[test]
    fn the_text_names_failures_with_what_they_mean() {
        let text = example().to_string();
        assert!(text.contains("1003 attempted, 1001 established, 1000 completed, 3 failed"), "{text}");
        assert!(text.contains("2 refused (nothing listens there"), "{text}");
        assert!(text.contains("bottleneck   the generator"), "{text}");
        assert!(!text.contains("first byte"), "{text}");
    }

    #[test]
    fn percentiles_rise_and_end_at_the_longest() {
        let latency = example().latency_us.total;
        assert!(latency.percentiles.windows(2).all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 <= pair[1].1));
        assert_eq!(latency.percentiles.last().map(|(share, _)| *share), Some(1.0));
        assert!((latency.max - 400.0).abs() < 1.0 && (latency.p50 - 200.0).abs() < 1.0);
        assert_eq!(Latency::of(&crate::blast::tally::histogram()).percentiles.len(), 0);
    }
}
