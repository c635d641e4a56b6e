//! What the clients saw: the counts of one thread ([`Tally`]), and the result for people and programs
//! ([`ClientsReport`]).

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::connection::Reason;
use super::{ClientsArgs, Service};

/// Longest latency that is told apart from longer ones, in nanoseconds.
const LONGEST_NS: u64 = 3_600_000_000_000;

/// The counts of one thread, or the sum of several.
#[derive(Debug)]
pub(super) struct Tally {
    pub attempted: u64,
    established: u64,
    completed: u64,
    failed: BTreeMap<String, u64>,
    /// Connections that stood when the hold began, and when it ended.
    pub held: u64,
    pub alive: u64,
    /// Latencies in nanoseconds.
    connect: Histogram<u64>,
    total: Histogram<u64>,
}

impl Default for Tally {
    fn default() -> Self {
        let histogram = || Histogram::new_with_bounds(1, LONGEST_NS, 3).expect("constant bounds that the crate allows");
        let (connect, total) = (histogram(), histogram());
        Self { attempted: 0, established: 0, completed: 0, failed: BTreeMap::new(), held: 0, alive: 0, connect, total }
    }
}

impl Tally {
    pub fn connected(&mut self, ns: u64) {
        self.established += 1;
        self.connect.saturating_record(ns);
    }

    pub fn completed(&mut self, ns: u64) {
        self.completed += 1;
        self.total.saturating_record(ns);
    }

    pub fn failed(&mut self, reason: Reason) {
        *self.failed.entry(reason.name()).or_default() += 1;
    }

    pub fn add(&mut self, other: &Tally) {
        self.attempted += other.attempted;
        self.established += other.established;
        self.completed += other.completed;
        self.held += other.held;
        self.alive += other.alive;
        for (reason, count) in &other.failed {
            *self.failed.entry(reason.clone()).or_default() += count;
        }
        self.connect.add(&other.connect).expect("all histograms have the same bounds");
        self.total.add(&other.total).expect("all histograms have the same bounds");
    }
}

/// What the clients saw.
#[derive(Debug, Serialize)]
pub struct ClientsReport {
    /// The responder's address.
    pub target: SocketAddr,
    /// What it was taken for.
    pub service: Service,
    /// What became of the connections.
    pub connections: Connections,
    /// Completed connections a second. With --hold it includes the time of the hold.
    pub connections_per_second: f64,
    /// Latencies in microseconds.
    pub latency_us: Latencies,
    /// What --hold saw, if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
    /// How long all of it took, in seconds.
    pub duration_s: f64,
}

/// What became of the connections: attempted = completed + sum of failed.
#[derive(Debug, Serialize)]
pub struct Connections {
    /// How many were tried.
    pub attempted: u64,
    /// How many handshakes were completed.
    pub established: u64,
    /// How many conversations went as the service promises, until both sides had closed.
    pub completed: u64,
    /// How many failed, by reason: an errno's name, or a name of ours.
    pub failed: BTreeMap<String, u64>,
}

/// What --hold saw.
#[derive(Debug, Serialize)]
pub struct Hold {
    /// How many connections were open at once when the hold began.
    pub held: u64,
    /// How many of them were still open, without data or error, at its end.
    pub alive: u64,
    /// How long they were held, in seconds.
    pub time_s: f64,
}

/// Latencies by phase, in microseconds.
#[derive(Debug, Serialize)]
pub struct Latencies {
    /// From connect() to ESTABLISHED.
    pub connect: Latency,
    /// The handshake and the conversation until both sides had closed, without the time of a hold.
    pub total: Latency,
}

/// Percentiles of one phase, in microseconds; all 0 if nothing was measured.
#[derive(Debug, Serialize)]
pub struct Latency {
    /// The median.
    pub p50: f64,
    /// 99 of 100 were at most this long.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

impl Latency {
    fn of(histogram: &Histogram<u64>) -> Self {
        let micros = |ns: u64| ns as f64 / 1000.0;
        Self {
            p50: micros(histogram.value_at_quantile(0.5)),
            p99: micros(histogram.value_at_quantile(0.99)),
            max: micros(histogram.max()),
        }
    }
}

impl ClientsReport {
    pub(super) fn new(args: &ClientsArgs, tally: Tally, duration: Duration) -> Self {
        let duration_s = duration.as_secs_f64();
        let hold =
            args.hold.map(|_| Hold { held: tally.held, alive: tally.alive, time_s: args.hold_time.as_secs_f64() });
        Self {
            target: args.target,
            service: args.service,
            connections_per_second: tally.completed as f64 / duration_s.max(1e-9),
            latency_us: Latencies { connect: Latency::of(&tally.connect), total: Latency::of(&tally.total) },
            connections: Connections {
                attempted: tally.attempted,
                established: tally.established,
                completed: tally.completed,
                failed: tally.failed,
            },
            hold,
            duration_s,
        }
    }

    /// How many connections failed, for whatever reason.
    pub fn failed_total(&self) -> u64 {
        self.connections.failed.values().sum()
    }
}

impl fmt::Display for ClientsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Connections { attempted, established, completed, failed } = &self.connections;
        let failed_total = self.failed_total();
        writeln!(
            f,
            "{attempted} connections to {}: {established} established, {completed} completed, {failed_total} failed",
            self.target
        )?;
        writeln!(f, "  in {:.2} s, {:.0} connections/s", self.duration_s, self.connections_per_second)?;
        if let Some(Hold { held, alive, time_s }) = &self.hold {
            writeln!(f, "  {held} open at once, {alive} of them alive after {time_s} s")?;
        }
        for (phase, latency) in [("connect", &self.latency_us.connect), ("total", &self.latency_us.total)] {
            let Latency { p50, p99, max } = latency;
            writeln!(f, "  {phase:<8} p50 {p50:.0} us   p99 {p99:.0} us   max {max:.0} us")?;
        }
        for (reason, count) in failed {
            let hint = match reason.as_str() {
                "EADDRNOTAVAIL" => "  (no local port left: add --source addresses)",
                "ECONNREFUSED" => "  (nothing listens there, or it is full)",
                _ => "",
            };
            writeln!(f, "  failed   {count} {reason}{hint}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally() -> Tally {
        let mut tally = Tally { attempted: 3, ..Tally::default() };
        tally.connected(20_000);
        tally.connected(40_000);
        tally.completed(100_000);
        tally.failed(Reason::ShortAnswer);
        tally.failed(Reason::Os(nix::errno::Errno::EADDRNOTAVAIL));
        tally
    }

    #[test]
    fn tallies_add_up_by_reason() {
        let mut sum = tally();
        sum.add(&tally());
        let report =
            ClientsReport::new(&ClientsArgs::new("198.18.0.1:80".parse().unwrap()), sum, Duration::from_secs(2));
        assert_eq!(report.connections.failed["short_answer"], 2);
        assert_eq!(report.connections.attempted, report.connections.completed + report.failed_total());
        assert!((report.connections_per_second - 1.0).abs() < 1e-6);
        assert!((report.latency_us.connect.max - 40.0).abs() < 0.1, "{:?}", report.latency_us);
    }

    #[test]
    fn the_text_names_reasons_and_the_json_has_the_contracts_fields() {
        let args = ClientsArgs { hold: Some(3), ..ClientsArgs::new("[2001:2::1]:80".parse().unwrap()) };
        let report = ClientsReport::new(&args, tally(), Duration::from_secs(1));
        let text = report.to_string();
        assert!(text.contains("1 EADDRNOTAVAIL  (no local port left"), "{text}");
        let json = serde_json::to_value(&report).unwrap();
        for pointer in ["/connections/failed/short_answer", "/latency_us/total/p99", "/hold/alive", "/duration_s"] {
            assert!(json.pointer(pointer).is_some(), "{pointer} in {json}");
        }
    }

    #[test]
    fn a_latency_without_measurements_is_zero() {
        let latency = Latency::of(&Tally::default().total);
        assert_eq!((latency.p50.to_bits(), latency.max.to_bits()), (0, 0));
    }
}
